#!/usr/bin/env bash
# Tests the packages that dist/build.sh made, after installing what that needs: root on Debian.
#
#   dist/test.sh [DIRECTORY]         default: target/packages
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
need() { # need COMMAND PACKAGE
  command -v "$1" >/dev/null || missing+=("$2")
}
need debootstrap debootstrap
need gpg gnupg
need man man-db
need mandoc mandoc
need python3 python3
need qemu-aarch64-static qemu-user-static
need rpm rpm
need skopeo skopeo
need umoci umoci
need unshare util-linux
if [ ${#missing[@]} -gt 0 ]; then
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || { echo "dist/test.sh: install these packages: ${missing[*]}" >&2; exit 1; }
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
exec dist/test.py "$@"
