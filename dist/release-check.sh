#!/usr/bin/env bash
# Whether a commit can be released under a tag: the version, the changelog and the place that Cargo.toml names agree.
#
#   dist/release-check.sh TAG [REPOSITORY]
set -euo pipefail
cd "$(dirname "$0")/.."

[ $# -gt 0 ] || { echo "usage: dist/release-check.sh TAG [REPOSITORY]" >&2; exit 2; }
field() { sed -n "s/^$1 = \"\(.*\)\"/\1/p" Cargo.toml | head -n 1; }
wrong() { echo "dist/release-check.sh: $*" >&2; exit 1; }

version=$(field version)
[ "$1" = "v$version" ] || wrong "the tag is $1, Cargo.toml has version $version"
grep -Eqx "## ${version//./\\.} \([0-9]{4}-[0-9]{2}-[0-9]{2}\)" CHANGELOG.md ||
  wrong "CHANGELOG.md has no heading '## $version (YYYY-MM-DD)'"
! grep -q '^## Unreleased' CHANGELOG.md || wrong "CHANGELOG.md still has '## Unreleased'"
# cargo-binstall downloads from there.
[ $# -lt 2 ] || [ "$2" = "$(field repository)" ] || wrong "Cargo.toml names $(field repository), this is $2"
