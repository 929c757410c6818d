#!/bin/sh
# Installs the containerd daemons that the wire tests run, below target/containerd, and nothing into the system:
#
#   bookworm, trixie, forky   Debian's packages of 1.6, 1.7 and 2.x, unpacked
#   1.7, 2.0, 2.2, …          containerd's own releases, one of each line, built by the Go client
#   releases/VERSION          one more release, for tests/release.sh:  tests/containerd.sh VERSION
#
# Each has usr/bin/containerd and usr/bin/ctr. What is there and starts is kept, so a second run needs neither network nor time.
#
# A suite or a line whose daemon cannot be had or does not start here is skipped by name. Under CI=true a missing
# line is a failure.
set -eu

# The newest suites move: whatever they hold now is what comes next for an operator.
suites="bookworm trixie forky sid"

# The newest release of each line that the Go proxy serves, and the go-toml that it links, which decides what is TOML.
# 2.1 is Debian's as long as a suite has it.
releases="
1.7.35 v1.9.5
2.0.14 v2.2.3
2.1.9  v2.2.4
2.2.9  v2.2.4
2.3.7  v2.3.0
2.4.2  v2.4.3
"
# The Go that builds them. It is downloaded where the machine's own is not of this line or is older than a release needs.
go_line=1.26
go_release=go1.26.8

folder=$(cd "$(dirname "$0")/.." && pwd)/target/containerd
apt=$folder/.apt
mkdir -p "$folder"

lines=
missing=

# Prints what the daemon in a folder says about itself, or nothing where it does not start.
says() {
    timeout 20 "$folder/$1/usr/bin/containerd" --version 2>"$folder/.err" || true
}

# The version in such a text, without a distribution's suffix.
version_in() {
    echo "$1" | awk '{ sub(/^v/, "", $3); sub(/[^0-9.].*/, "", $3); print $3 }'
}

# The archive that this machine's own apt sources name for its own release.
archive() {
    release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        awk -v release="$release" '$2 == release && $3 == "main" { print $1; exit }'
}

# apt with nothing of the system's but its configuration and its keys: the only state is in $apt.
private_apt() {
    apt-get -q -q \
        -o Dir::Etc::sourcelist="$apt/sources.list" \
        -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::Etc::preferencesparts=/dev/null \
        -o Dir::State::lists="$apt/lists" \
        -o Dir::Cache="$apt/cache" \
        -o APT::Sandbox::User=root \
        -o Acquire::Languages=none \
        -o Acquire::PDiffs=false \
        -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false \
        -o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false \
        -o Acquire::Retries=2 \
        "$@"
}

# One suite at a time, so that "containerd" can only be that suite's.
fetch() {
    uri=$(archive)
    [ -n "$uri" ] || { echo "the apt sources name no archive for this release"; return 1; }
    rm -rf "$apt" "${folder:?}/$1"
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    options=
    [ ! -e "$keyring" ] || options="[signed-by=$keyring] "
    echo "deb $options$uri $1 main" >"$apt/sources.list"
    private_apt update && (cd "$apt" && private_apt download containerd) || return 1
    # Unpacked beside its place and moved there: an interrupted run leaves no half of a daemon.
    dpkg -x "$apt"/containerd_*.deb "$apt/unpacked" && mv "$apt/unpacked" "$folder/$1"
}

# The Go client with its state below target/ and nothing of the caller's settings that could change a build.
private_go() {
    env -C "$go/main" CGO_ENABLED=0 GOWORK=off GOFLAGS='-modcacherw -mod=mod' GOTOOLCHAIN="$toolchain" \
        GOMODCACHE="$go/modules" GOCACHE="$go/cache" nice -n 10 go "$@"
}

module_of() {
    case $1 in
    1.*) echo github.com/containerd/containerd ;;
    *) echo "github.com/containerd/containerd/v${1%%.*}" ;;
    esac
}

# Builds a release into a folder.
build() {
    release=$1 place=$2 module=$(module_of "$1")
    go=$folder/.go
    rm -rf "$go/main" && mkdir -p "$go/main"
    toolchain=local
    case $(private_go env GOVERSION) in
    "go$go_line" | "go$go_line".*) ;;
    *) toolchain=$go_release ;;
    esac
    # `go install module@version` refuses a go.mod with `exclude` or `replace`, so the release is built as a dependency
    # of a main module which repeats all of its go.mod. The `go` line counts most: it decides how strict URLs are read.
    # A replacement that is a folder is containerd's own API in its repository; its release is required beside it.
    private_go mod download -json "$module@v$release" >"$go/module.json" ||
        { sed -n 's/^\t"Error": "\(.*\)",*$/\1/p' "$go/module.json"; return 1; }
    gomod=$(sed -n 's/^\t"GoMod": "\(.*\)",*$/\1/p' "$go/module.json")
    grep -v '=> \./' "$gomod" | sed 's/^module .*/module daemon/' >"$go/main/go.mod"
    private_go mod edit -require="$module@v$release" || return 1
    rm -rf "$go/built" && mkdir -p "$go/built/usr/bin"
    private_go build -trimpath -ldflags='-s -w' -tags 'no_btrfs no_devmapper no_zfs' \
        -o "$go/built/usr/bin/" "$module/cmd/containerd" "$module/cmd/ctr" || return 1
    private_go version -m "$go/built/usr/bin/containerd" >"$go/built/linked" || return 1
    rm -rf "${folder:?}/$place" && mkdir -p "$(dirname "$folder/$place")" && mv "$go/built" "$folder/$place"
}

# Whether the daemon in a folder is this release, built by this line of Go with this go-toml (any if none is named).
# Says what is wrong.
is_as_pinned() {
    release=$1 toml=$2 place=$3
    said=$(says "$place")
    [ -x "$folder/$place/usr/bin/ctr" ] || { echo "there is no ctr"; return 1; }
    [ "$(version_in "$said")" = "$release" ] || { echo "it says \"$said\" and should be $release"; return 1; }
    linked=$folder/$place/linked
    grep -q "go$go_line" "$linked" || { echo "it is built by $(head -n 1 "$linked")"; return 1; }
    grep -q "[[:space:]]$(module_of "$release")[[:space:]]v$release\([[:space:]]\|$\)" "$linked" ||
        { echo "another release is linked"; return 1; }
    [ -z "$toml" ] || grep -q "pelletier/go-toml\(/v2\)\{0,1\}[[:space:]]$toml[[:space:]]" "$linked" ||
        { echo "it links $(grep pelletier/go-toml "$linked")"; return 1; }
}

# Builds a release unless it is there, and says what is there then or why it is not.
provide() {
    release=$1 toml=$2 place=$3
    if ! is_as_pinned "$release" "$toml" "$place" >/dev/null 2>&1; then
        command -v go >/dev/null || { echo "containerd $release: skipped, there is no Go"; return 1; }
        echo "containerd $release: building"
        if ! why=$(build "$release" "$place" 2>&1); then
            echo "containerd $release: skipped, it cannot be built: $(echo "$why" | grep . | tail -n 1)"
            return 1
        fi
        if ! why=$(is_as_pinned "$release" "$toml" "$place" 2>&1); then
            echo "containerd $release: not as pinned: $why"
            exit 1
        fi
    fi
    echo "containerd $release: $(head -n 1 "$folder/$place/linked" | sed 's/.*: //'), $(
        sed -n 's/.*pelletier\/\(go-toml[^[:space:]]*\)[[:space:]]\([^[:space:]]*\).*/\1 \2/p' "$folder/$place/linked" | head -n 1)"
}

trap 'rm -f "$folder/.err"' EXIT

if [ $# -gt 0 ]; then
    provide "${1#v}" "" "releases/${1#v}"
    exit
fi

newest=
for suite in $suites; do
    # sid is where to look when forky's does not start on this libc or is not to be had.
    [ "$suite" != sid ] || [ -z "$newest" ] || continue
    said=
    [ ! -x "$folder/$suite/usr/bin/containerd" ] || said=$(says "$suite")
    # A daemon that is there and does not start will not start next time either.
    if [ -z "$said" ] && [ ! -d "$folder/$suite" ]; then
        if why=$(fetch "$suite" 2>&1); then
            said=$(says "$suite")
        else
            echo "containerd of $suite: skipped, it cannot be fetched: $(echo "$why" | grep . | tail -n 1)"
            rm -rf "$apt"
            continue
        fi
        rm -rf "$apt"
    fi
    if [ -n "$said" ]; then
        echo "containerd of $suite: $said"
        version=$(version_in "$said")
        lines="$lines ${version%.*}"
        [ "$suite" != forky ] || newest=$version
    else
        # The tests name what they skip.
        echo "containerd of $suite: skipped, it does not start here: $(head -n 1 "$folder/.err")"
    fi
done

while read -r release toml; do
    [ -n "$release" ] || continue
    line=${release%.*}
    # Debian's 1.7 is an old one and says nothing about the newest; its 2.1 is the newest.
    case "$line $lines " in
    2.1*" 2.1 "*) continue ;;
    esac
    if provide "$release" "$toml" "$line"; then
        lines="$lines $line"
    fi
done <<end
$releases
end

for line in 1.6 1.7 2.0 2.1 2.2 2.3 2.4; do
    case " $lines " in
    *" $line "*) ;;
    *) missing="$missing $line" ;;
    esac
done
[ -n "$lines" ] || echo "no containerd can be had: the wire tests are skipped"
if [ -n "$missing" ]; then
    echo "no containerd of the lines$missing is here"
    [ "${CI:-}" != true ] || exit 1
fi
