# Becomes a containerd daemon whose / is a copy of a node's tree, in mount and network namespaces of
# its own (made by unshare): the node's paths are the daemon's, no packet leaves, nothing of the
# system is written to, and everything is gone when the daemon is.
# Arguments: an empty directory, the node's tree, the daemon's /usr/bin, the directory shared with
# the test, the path of config.toml. Says "ready" when the network is up, and goes on when it is told to.
set -eu
root=$1 node=$2 binaries=$3 shared=$4 config=$5

mount -t tmpfs wire "$root"
cp -a "$node/." "$root"
mkdir -p "$root/etc" "$root/proc" "$root/sys" "$root/dev" "$root/tmp" "$root/usr/bin" "$root/wire"
[ -e "$root/etc/hosts" ] || printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"

# A sysfs mounted in here is that of the new network namespace, and has no cgroups to write to.
mount -t sysfs wire "$root/sys"
echo 0x9 >"$root/sys/class/net/lo/flags"
mount -o remount,ro "$root/sys"
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"

# What the dynamic linker needs, and nothing more of the system.
for name in /lib /lib32 /lib64 /libx32; do
    if [ -L "$name" ]; then
        [ -e "$root$name" ] || cp -a "$name" "$root$name"
    elif [ -d "$name" ]; then
        mkdir -p "$root$name" && mount --bind "$name" "$root$name"
    fi
done
for name in /usr/lib /usr/lib32 /usr/lib64 /usr/libx32; do
    [ ! -d "$name" ] || { mkdir -p "$root$name" && mount --bind "$name" "$root$name"; }
done
mount --bind "$binaries" "$root/usr/bin"
mount --bind "$shared" "$root/wire"

echo ready
read -r _
# However the test ends, the daemon ends with it.
exec setpriv --pdeathsig KILL chroot "$root" /usr/bin/containerd --config "$config" \
    --root /var/lib/containerd --state /run/containerd --address /wire/socket
