#!/usr/bin/env bash
# Installs the programs that make the packages, each at a fixed version, into one directory and nothing into the system:
#
#   dist/tools.sh [DIRECTORY]        default: target/tools
#
# Needs rustup, a C compiler for the host (build scripts and macros), and Go. What is installed at its version is kept.
set -euo pipefail
cd "$(dirname "$0")/.."

# The compiler of the packages and of the tools. Another release of Rust makes other bytes.
rust=1.95.0
targets=(x86_64-unknown-linux-musl aarch64-unknown-linux-musl)

# Built without optimisation: compiling is what costs, they run for seconds.
crates=(
  cargo-auditable@0.7.7  # the crates in the binary, as data
  cargo-cyclonedx@0.5.9  # the SBOM
  cargo-deny@0.20.2      # licences, sources, duplicates
)
# Go: these two take two minutes together, while cargo-deb and cargo-generate-rpm compile longer, and umoci and crane make
# no index of two architectures in a layout.
modules=(
  github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.48.0           # .deb and .rpm from one description
  github.com/regclient/regclient/cmd/regctl@v0.11.7        # an OCI layout without an engine
)

directory=${1:-target/tools}
mkdir -p "$directory"
directory=$(cd "$directory" && pwd)
bin=$directory/bin
mkdir -p "$bin"

if ! rustup run "$rust" rustc --version >/dev/null 2>&1; then
  rustup toolchain install "$rust" --profile minimal --no-self-update
fi
for target in "${targets[@]}"; do
  if ! rustup target list --toolchain "$rust" --installed | grep -qx "$target"; then
    rustup target add --toolchain "$rust" "$target"
  fi
done

for crate in "${crates[@]}"; do
  name=${crate%@*} version=${crate#*@}
  [ "$(cat "$directory/$name.version" 2>/dev/null)" != "$version" ] || continue
  echo "dist/tools.sh: $name $version"
  features=()
  # What cargo-deny has by default is for its advisory database.
  [ "$name" != cargo-deny ] || features=(--no-default-features)
  env -u RUSTFLAGS CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR="$directory/build" RUSTUP_TOOLCHAIN="$rust" \
    cargo install --quiet --locked --debug --force "${features[@]}" --root "$directory" "$crate"
  echo "$version" >"$directory/$name.version"
done

for module in "${modules[@]}"; do
  package=${module%@*} version=${module#*@} name=$(basename "${module%@*}")
  [ "$(cat "$directory/$name.version" 2>/dev/null)" != "$version" ] || continue
  echo "dist/tools.sh: $name $version"
  # A directory of its own, so that no go.mod and no setting of the caller decides anything.
  (cd "$directory" && GOBIN=$bin GOFLAGS=-modcacherw GOWORK=off CGO_ENABLED=0 go install -trimpath "$package@$version")
  echo "$version" >"$directory/$name.version"
done
