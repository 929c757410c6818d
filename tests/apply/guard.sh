# Becomes a node of its own with a containerd, in mount, process and network namespaces made by unshare: everything is
# gone when the last command ends, and nothing of the system is written to.
# Arguments: an empty directory, the node's tree, the daemon's /usr/bin, the program, what to run on the node.
set -eu
root=$1 node=$2 binaries=$3 program=$4 script=$5

mount -t tmpfs node "$root"
cp -a "$node/." "$root"
cd "$root"
mkdir -p etc proc sys dev tmp run usr opt/bin var/lib
mount -t proc node proc
mount -t sysfs node sys
mount -o remount,ro sys
mount --rbind /dev dev
mount --rbind /usr usr
for name in bin lib lib64 sbin; do ln -s "usr/$name" "$name"; done
touch opt/bin/containerd-registry-migrate etc/hosts
mount --bind "$program" opt/bin/containerd-registry-migrate
cp "$binaries/containerd" "$binaries/ctr" opt/bin

# What systemd would do: restarts the daemon, and is content when it runs. `started` counts.
cat >opt/bin/restart-containerd <<'END'
#!/bin/sh
[ ! -e /run/pid ] || { kill "$(cat /run/pid)"; while kill -0 "$(cat /run/pid)" 2>/dev/null; do sleep 0.1; done; }
echo started >>/run/started
[ ! -e /opt/spoil ] || . /opt/spoil
containerd --config /etc/containerd/config.toml >>/run/log 2>&1 &
echo $! >/run/pid
END
# Waits until the daemon answers and prints the state of its CRI.
cat >opt/bin/cri <<'END'
#!/bin/sh
for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
  row=$(ctr --address /run/own/containerd.sock --connect-timeout 1s plugins ls id==cri 2>/dev/null | grep grpc.v1) && break
  sleep 0.25
done
for word in $row; do :; done
echo "cri: $word"
END
chmod +x opt/bin/*
exec env -i PATH=/opt/bin:/usr/bin:/usr/sbin chroot "$root" /bin/sh -c "$script"
