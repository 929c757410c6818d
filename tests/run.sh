#!/usr/bin/env bash
# Runs all tests, after installing what they need: root on Debian, or everything installed already.
set -euo pipefail
cd "$(dirname "$0")/.."

need() { # need COMMAND PACKAGE
  command -v "$1" >/dev/null && return
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || { echo "tests/run.sh: $1 is missing (package $2)" >&2; exit 1; }
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "$2" >/dev/null
}
need git git
need sha256sum coreutils
need script bsdutils
need strace strace
need setfacl acl
need unshare util-linux

# The daemons that the wire tests and the guarded restart run; without network those tests skip themselves, and without
# Go the lines that Debian does not have are skipped.
tests/containerd.sh

cargo test --locked
