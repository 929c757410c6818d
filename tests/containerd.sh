#!/bin/sh
# Fetches the containerd daemons that the wire tests run: Debian's packages of three generations
# (1.6, 1.7 and 2.x), unpacked under target/containerd/SUITE. Nothing is installed into the system.
# What is there and starts is kept, so a second run needs neither network nor time.
#
# A suite whose daemon cannot be had or cannot start on this machine's libc is skipped by name.
# Without any daemon the exit status is 0 and the wire tests skip themselves, except under CI=true.
set -eu

# The newest suites move: whatever they hold now is what comes next for an operator.
suites="bookworm trixie forky sid"

folder=$(cd "$(dirname "$0")/.." && pwd)/target/containerd
apt=$folder/.apt
mkdir -p "$folder"

started=0

# Prints the version of the suite's daemon, or nothing where it does not start.
version_of() {
    timeout 20 "$folder/$1/usr/bin/containerd" --version 2>"$folder/$1.err" || true
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

newest=
for suite in $suites; do
    # sid is where to look when forky's does not start on this libc or is not to be had.
    [ "$suite" != sid ] || [ -z "$newest" ] || continue
    version=
    [ ! -x "$folder/$suite/usr/bin/containerd" ] || version=$(version_of "$suite")
    # A daemon that is there and does not start will not start next time either.
    if [ -z "$version" ] && [ ! -d "$folder/$suite" ]; then
        if why=$(fetch "$suite" 2>&1); then
            version=$(version_of "$suite")
        else
            echo "containerd of $suite: skipped, it cannot be fetched: $(echo "$why" | grep . | tail -n 1)"
            rm -rf "$apt"
            continue
        fi
        rm -rf "$apt"
    fi
    if [ -n "$version" ]; then
        echo "containerd of $suite: $version"
        started=$((started + 1))
        [ "$suite" != forky ] || newest=$version
        rm -f "$folder/$suite.err"
    else
        # The message stays in SUITE.err: the tests name what they skip.
        echo "containerd of $suite: skipped, it does not start here: $(head -n 1 "$folder/$suite.err")"
    fi
done

if [ "$started" -eq 0 ]; then
    echo "no containerd can be had: the wire tests are skipped"
    [ "${CI:-}" != true ] || exit 1
fi
