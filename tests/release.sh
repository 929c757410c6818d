#!/usr/bin/env bash
# Builds one release of containerd and runs every claim of the wire tests against it. What fails is what differs from
# the model of its line:
#
#   tests/release.sh 2.3.5                       all of it
#   tests/release.sh 2.3.5 fixture/imports       the tests whose names contain this
#
# Nodes are migrated from the newest 1.x below target/containerd, or from the release itself if it is a 1.x.
# The releases that the Go proxy serves: go list -m -versions github.com/containerd/containerd/v2@latest
set -euo pipefail
cd "$(dirname "$0")/.."

[ $# -gt 0 ] || { echo "usage: tests/release.sh VERSION [FILTER]..." >&2; exit 2; }
version=${1#v}
shift
case $version in
1.*) ;;
*) ls -d target/containerd/*/usr/bin/containerd >/dev/null 2>&1 || tests/containerd.sh ;;
esac
tests/containerd.sh "$version"
# What is linked decides which TOML and which URLs are read.
grep -E '^[[:space:]]+(mod|dep)[[:space:]].*(containerd/containerd|pelletier/go-toml)|go1\.|DefaultGODEBUG' \
  "target/containerd/releases/$version/linked"
WIRE_RELEASE=$version cargo test --locked --test wire -- "$@"
