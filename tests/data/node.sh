# Becomes the node that the documents show, in mount and process namespaces made by unshare: everything is gone when the
# last command ends, and nothing of the system is written to.
# Arguments: an empty directory, the node's tree, the program, a directory with the commands. The commands are
# 1.command, 2.command and so on; what becomes of each is in 1.stdout, 1.stderr and 1.code.
set -eu
root=$1 node=$2 program=$3 commands=$4

mount -t tmpfs node "$root"
cp -RP "$node/." "$root"
cd "$root"
mkdir -p etc proc sys dev tmp run usr opt/bin commands var/lib
mount -t proc node proc
mount --rbind /dev dev
mount --rbind /usr usr
mount --bind "$commands" commands
for name in bin lib lib64 sbin; do ln -s "usr/$name" "$name"; done
touch opt/bin/containerd-registry-migrate
mount --bind "$program" opt/bin/containerd-registry-migrate

# What a node has, as far as the documents need it. The real daemons are in tests/wire and tests/apply/guard.rs.
stub() { # stub NAME TEXT
  printf '#!/bin/sh\n%s\n' "$2" >"opt/bin/$1"
  chmod +x "opt/bin/$1"
}
stub containerd 'echo "containerd github.com/containerd/containerd v1.7.24 88bf19b2105c8b17560993bee28a01ddc2f97182"'
stub ctr 'printf "TYPE ID PLATFORMS STATUS\nio.containerd.grpc.v1 cri linux/amd64 ok\n"'
stub crictl 'exit 0'
stub systemctl 'test "$*" = "restart containerd"'

cat >opt/run <<'END'
cd /root 2>/dev/null || cd /tmp
number=1
while [ -e "/commands/$number.command" ]; do
  code=0
  sh "/commands/$number.command" >"/commands/$number.stdout" 2>"/commands/$number.stderr" </dev/null || code=$?
  echo "$code" >"/commands/$number.code"
  number=$((number + 1))
done
END
exec env -i PATH=/opt/bin:/usr/bin:/usr/sbin NO_COLOR=1 LC_ALL=C.UTF-8 chroot "$root" /bin/sh /opt/run
