#!/usr/bin/env bash
# Makes everything that is released, from the commit that is checked out and from nothing else of this directory:
#
#   dist/build.sh [DIRECTORY]        default: target/packages
#
#   NAME-VERSION-TARGET.tar.gz       static binary, manual pages, completions, documents, what deploys it, licences
#   NAME_VERSION-1_ARCH.deb, NAME-VERSION-1.ARCH.rpm
#   NAME-VERSION-oci.tar             an OCI layout with the image of both architectures
#   NAME-VERSION-TARGET.cdx.json     the SBOM (CycloneDX)
#   SHA256SUMS                       of all these; the last line printed says how to sign it
#
# The same commit gives the same bytes, wherever it is checked out. What decides them besides the commit has a fixed
# version: Rust and the tools in dist/tools.sh, busybox below.
# Needs what dist/tools.sh needs, Python 3, Debian's apt (for busybox) and an x86_64 or aarch64 machine.
set -euo pipefail
cd "$(dirname "$0")/.."
here=$PWD

mkdir -p "${1:-target/packages}"
out=$(cd "${1:-target/packages}" && pwd)
rm -f "$out"/*.tar* "$out"/*.deb "$out"/*.rpm "$out"/*.cdx.json "$out/SHA256SUMS"
work=${DIST_WORK:-$here/target/dist-build} # kept: a second run compiles only what changed
tools=${DIST_TOOLS:-$here/target/tools}

rust=$(sed -n 's/^rust=//p' dist/tools.sh)
targets=(x86_64-unknown-linux-musl aarch64-unknown-linux-musl)
declare -A arch=([x86_64-unknown-linux-musl]=amd64 [aarch64-unknown-linux-musl]=arm64)

# The static shell of the image. The guarded restart runs commands by `sh -c`, and in a container they have to enter the
# host (`nsenter --target 1 --mount -- systemctl restart containerd`), as a Job that waits or copies needs a shell, too.
# Debian's is built from the sources of Debian, and is of a release whose packages do not change any more.
busybox_suite=bookworm
busybox_version=1:1.35.0-4+deb12u1+b1
declare -A busybox_sha256=(
  [amd64]=3d3fdbe91d4660c873e14b092c213fe81c1da6362daa236eb25d0171eb108744
  [arm64]=732c9135564fc71337e0e05fb4da4d11e6c28c1834bce3e405e575afef2a52f5
)
applets="[ cat chmod chroot cp date env grep id ls mkdir mv nsenter printf rm sed sh sleep sync test timeout touch true"

step() { echo "dist/build.sh: $*"; }

dist/tools.sh "$tools"
export PATH="$tools/bin:$PATH" RUSTUP_TOOLCHAIN="$rust" LC_ALL=C TZ=UTC
umask 022

# --- the sources: the commit as it is, so that nothing that only lies around gets in
[ -z "$(git status --porcelain)" ] || step "note: changes that are not committed are left out"
revision=$(git rev-parse HEAD)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
created=$(date --utc --date="@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)
source=$work/source
rm -rf "$source" "$work/stage"
mkdir -p "$source" "$work/stage" "$work/cargo"
git archive HEAD | tar -x -C "$source" -m # the time of now: cargo builds what is newer than its last build
cd "$source"
field() { sed -n "s/^$1 = \"\(.*\)\"/\1/p" Cargo.toml | head -n 1; }
name=$(field name) version=$(field version) homepage=$(field repository)

# --- the binaries
step "$name $version of $revision"
cargo fetch --quiet --locked --target "${targets[0]}" --target "${targets[1]}"
# Paths of this machine get into messages of panics, and so into the bytes.
flags=(-Clinker=rust-lld "--remap-path-prefix=$source=.")
for crates in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/; do
  flags+=("--remap-path-prefix=${crates%/}=crates")
done
encoded=$(printf '%s\x1f' "${flags[@]}")
env -u RUSTFLAGS CARGO_ENCODED_RUSTFLAGS="${encoded%?}" CARGO_INCREMENTAL=0 CARGO_TARGET_DIR="$work/cargo" \
  cargo auditable build --quiet --locked --profile dist --bin "$name" --target "${targets[0]}" --target "${targets[1]}"
native=$work/cargo/$(uname -m)-unknown-linux-musl/dist/$name

# --- what packages and archives have in common
common=$work/stage/common
mkdir -p "$common/completions" "$common/docs"
"$native" generate man "$common/man"
"$native" generate completions bash >"$common/completions/$name.bash"
"$native" generate completions zsh >"$common/completions/_$name"
"$native" generate completions fish >"$common/completions/$name.fish"
cp README.md README.zh-CN.md SECURITY.md CHANGELOG.md LICENSE "$common/"
cp docs/*.* "$common/docs/"
# What is only in the repository is linked to there.
sed -i -E "s#\]\((\.\./)?(CONTRIBUTING\.md|benches/)#](${homepage%.git}/blob/v$version/\2#g" "$common"/*.md "$common"/docs/*.md
# What docs/fleet.md leads to: the Ansible collection and the Kubernetes manifests.
mkdir "$common/deploy"
cp -r deploy/ansible deploy/kubernetes "$common/deploy/"
rm -r "$common"/deploy/*/tests
cp "$(rustc --print sysroot)/share/doc/rust/COPYRIGHT-library.html" "$common/rust-standard-library.html"

# A directory as a tar whose bytes depend on names, contents and modes alone.
pack() { # pack DIRECTORY NAME...
  tar --create --directory="$1" --format=gnu --sort=name --owner=0 --group=0 --numeric-owner \
    --mtime="@$SOURCE_DATE_EPOCH" --mode='u=rwX,go=rX' "${@:2}"
}

archive() { # archive TARGET
  local folder=$name-$version-$1
  local stage=$work/stage/$folder
  cp -r "$common" "$stage"
  cp "$work/cargo/$1/dist/$name" "$stage/"
  "$source/dist/licences.py" Cargo.toml "$1" >"$stage/THIRD-PARTY-LICENSES"
  pack "$work/stage" "$folder" | gzip -9n >"$out/$folder.tar.gz"
}

packages() { # packages TARGET
  local from=$work/stage/$name-$version-$1 stage=$work/stage/packages-$1 format
  mkdir -p "$stage/doc"
  cp -r "$from/$name" "$from/completions" "$from/man" "$stage/"
  gzip -9n "$stage"/man/*
  cp "$from"/{README.md,README.zh-CN.md,SECURITY.md,CHANGELOG.md,LICENSE,THIRD-PARTY-LICENSES,rust-standard-library.html} "$source/dist/copyright" "$stage/doc/"
  cp -r "$from/docs" "$from/deploy" "$stage/doc/"
  gzip -9nc "$from/CHANGELOG.md" >"$stage/doc/changelog.gz"
  chmod -R u=rwX,go=rX "$stage" # the modes of a tree in a package
  find "$stage" -exec touch --date="@$SOURCE_DATE_EPOCH" {} +
  for format in deb rpm; do
    STAGE=$stage ARCH=${arch[$1]} VERSION=$version HOMEPAGE=$homepage \
      nfpm package --config "$source/dist/nfpm.yaml" --packager "$format" --target "$out/" >/dev/null
  done
}

sbom() { # sbom TARGET
  rm -f ./*.cdx.json
  cargo cyclonedx --quiet --format json --spec-version 1.5 --describe binaries --target "$1"
  # The program itself is named by the path of this directory.
  sed "s|path+file://$source#|pkg:cargo/|" "${name}_bin.cdx.json" >"$out/$name-$version-$1.cdx.json"
  rm -f ./*.cdx.json
}

# Debian's busybox of an architecture, and nothing else of apt's state. It prints the path of the package.
busybox() { # busybox ARCH
  local apt=$work/apt-$1 uri package
  package=$work/busybox-static_${busybox_version/:/%3a}_$1.deb
  if ! echo "${busybox_sha256[$1]}  $package" | sha256sum --check --status 2>/dev/null; then
    uri=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
      awk -v release="$(. /etc/os-release && echo "${VERSION_CODENAME:-}")" '$2 == release && $3 == "main" { print $1; exit }')
    rm -rf "$apt"
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $busybox_suite main" >"$apt/sources.list"
    local options=(
      -qq -o APT::Architecture="$1" -o APT::Architectures="$1" -o APT::Sandbox::User=root
      -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::Etc::preferencesparts=/dev/null
      -o Dir::State::lists="$apt/lists" -o Dir::State::status=/dev/null -o Dir::Cache="$apt/cache"
      -o Acquire::Languages=none -o Acquire::Retries=2
      -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false
    )
    apt-get "${options[@]}" update >&2
    (cd "$work" && apt-get "${options[@]}" download "busybox-static=$busybox_version" >&2)
    rm -rf "$apt"
    echo "${busybox_sha256[$1]}  $package" | sha256sum --check --quiet >&2
  fi
  echo "$package"
}

# The image of one architecture: from scratch, with the program, the shell and the licences of both.
image() { # image TARGET
  local stage=$work/stage/$name-$version-$1 root=$work/stage/image-$1 applet
  mkdir -p "$root"/{bin,host,usr/bin,"usr/share/doc/$name"}
  dpkg-deb --fsys-tarfile "$(busybox "${arch[$1]}")" |
    tar -x -C "$root" ./bin/busybox ./usr/share/doc/busybox-static/copyright
  for applet in $applets; do
    ln -s busybox "$root/bin/$applet"
  done
  cp "$stage/$name" "$root/usr/bin/"
  cp "$stage"/{LICENSE,THIRD-PARTY-LICENSES,rust-standard-library.html} "$root/usr/share/doc/$name/"
  pack "$root" . >"$root.tar"
  regctl image create "ocidir://$work/stage/oci:${arch[$1]}" --platform "linux/${arch[$1]}" --created "$created"
  regctl image mod "ocidir://$work/stage/oci:${arch[$1]}" --replace \
    --layer-add "tar=$root.tar" \
    --config-entrypoint "[\"/usr/bin/$name\"]" --config-cmd '["plan", "--root", "/host"]' --env PATH=/usr/bin:/bin \
    --label "org.opencontainers.image.title=$name" \
    --label "org.opencontainers.image.version=$version" \
    --label "org.opencontainers.image.revision=$revision" \
    --label "org.opencontainers.image.source=$homepage" \
    --label "org.opencontainers.image.licenses=Apache-2.0 AND GPL-2.0-only AND LGPL-2.1-or-later" \
    --label "org.debian.source=busybox ($busybox_version)" >/dev/null
}

for target in "${targets[@]}"; do
  step "$target"
  archive "$target"
  packages "$target"
  sbom "$target"
  image "$target"
done

step "image"
layout=ocidir://$work/stage/oci
regctl index create "$layout:$version" --ref "$layout:amd64" --ref "$layout:arm64"
# The layout that is released has one name only, with the time of the commit instead of now.
regctl image copy "$layout:$version" "ocidir://$work/stage/released:$version" >/dev/null
sed -i "s|\(image.created\":\"\)[^\"]*|\1$created|" "$work/stage/released/index.json"
pack "$work/stage/released" . >"$out/$name-$version-oci.tar"

cd "$out"
sha256sum "$name"[-_]"$version"* >SHA256SUMS
step "$out"
ls -l --no-group "$out"
echo "To sign: gpg --armor --detach-sign SHA256SUMS"
