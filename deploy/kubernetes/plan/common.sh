# What plan and apply share. `from` is the containerd of the node, or empty if it is not known.
stopping=
child=
trap 'stopping=1; [ -z "$child" ] || kill -TERM "$child"' TERM INT

from=
while IFS='=' read -r name version; do
  [ "$name" != "$NODE_NAME" ] || from=$version
done </versions/versions.txt
# containerd://2.1.4-k3s1 is 2.1.4.
from=${from#containerd://}
from=${from%%[!0-9.]*}

migrate() { # migrate COMMAND [OPTION]...
  containerd-registry-migrate "$@" --format json --root /host --node "$NODE_NAME" ${from:+--from "$from"} ${TO:+--to "$TO"}
}

# A pod of a DaemonSet that ends is started again, and its log would hold the report many times.
idle() {
  while [ -z "$stopping" ]; do
    sleep 86400 &
    wait $!
  done
  exit 0
}
