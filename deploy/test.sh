#!/usr/bin/env bash
# Tests the Ansible collection, the Kubernetes manifests and docs/fleet.md, after installing what that needs: root on Debian.
#
#   deploy/test.sh                                  all; the program is built into target/debug
#   deploy/test.sh --program PATH                   all, with this program; PROGRAM=PATH is the same
#   deploy/test.sh ansible/tests/test_fleet.py      one file; what follows it goes to unittest, as -k NAME
#
# What comes from pip is at fixed versions in target/deploy-venv; nothing else of Python is touched. The tests with a real
# containerd need tests/containerd.sh before them: without it they skip themselves, and under CI=true they fail.
set -euo pipefail
cd "$(dirname "$0")/.."
here=$PWD

if [ "${1:-}" = --program ]; then
  PROGRAM=$2
  shift 2
fi
if [ -z "${PROGRAM:-}" ]; then
  cargo build --locked --quiet
  PROGRAM=${CARGO_TARGET_DIR:-target}/debug/containerd-registry-migrate
fi
# A copy: someone may build again while the tests run. It is copied to nodes, too, and small without debug information.
scratch=$(mktemp -d)
kubernetes=
trap '[ -z "$kubernetes" ] || kill "$kubernetes" 2>/dev/null || true; rm -rf "$scratch"' EXIT
objcopy --strip-debug "$PROGRAM" "$scratch/containerd-registry-migrate" 2>/dev/null ||
  cp "$PROGRAM" "$scratch/containerd-registry-migrate"
export PROGRAM=$scratch/containerd-registry-migrate

missing=()
need() { # need COMMAND PACKAGE
  PATH=$PATH:/usr/sbin command -v "$1" >/dev/null || missing+=("$2")
}
need busybox busybox-static
need jq jq
need nsenter util-linux
need python3 python3
need setpriv util-linux
need ssh openssh-client
# Where systemd runs, the package would start an sshd for everyone: install it yourself, or the test with it is skipped.
[ -d /run/systemd/system ] || need sshd openssh-server
need xargs findutils
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
if [ ${#missing[@]} -gt 0 ]; then
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || { echo "deploy/test.sh: install these packages: ${missing[*]}" >&2; exit 1; }
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# This ansible-core needs Python 3.11.
tools=$here/target/deploy-venv
versions="ansible-core==2.19.14 ansible-lint==26.10.1 kubernetes-validate==1.37.0 PyYAML==6.0.4"
if [ "$(cat "$tools/versions" 2>/dev/null)" != "$versions" ]; then
  rm -rf "$tools"
  mkdir -p "$here/target"
  python3 -m venv "$tools"
  # shellcheck disable=SC2086
  "$tools/bin/pip" install --quiet --disable-pip-version-check $versions
  echo "$versions" >"$tools/versions"
fi
export PATH=$tools/bin:$PATH

# kustomize: kubectl has it built in; else it is built from the Go proxy, as the daemons are.
kustomize=$here/target/tools/bin/kustomize
export PATH=$PATH:$here/target/tools/bin
if ! kubectl kustomize deploy/kubernetes/plan >/dev/null 2>&1 && [ ! -x "$kustomize" ]; then
  mkdir -p "$here/target/tools/bin"
  (cd "$here/target/tools" && GOBIN=$PWD/bin GOWORK=off CGO_ENABLED=0 go install sigs.k8s.io/kustomize/kustomize/v5@v5.7.1)
fi

if [ $# -gt 0 ]; then
  "$tools/bin/python" "deploy/$1" "${@:2}"
  exit
fi

step() { echo "deploy/test.sh: $1 (${SECONDS} s so far)"; }

step "ansible-lint"
collections=$scratch/collections
mkdir -p "$collections/ansible_collections/fleet"
cp -r deploy/ansible "$collections/ansible_collections/fleet/containerd_registry_migrate"
(
  cd "$collections/ansible_collections/fleet/containerd_registry_migrate"
  rm -rf tests
  ANSIBLE_COLLECTIONS_PATH=$collections ansible-lint --offline --nocolor -q --profile production
  ansible-galaxy collection build --output-path "$collections/built" >/dev/null
  ANSIBLE_COLLECTIONS_PATH=$collections ansible-doc --type module fleet.containerd_registry_migrate.registry_migration >/dev/null
)
# The pods wait more than they work: they do so beside the others.
step "Kubernetes, docs/fleet.md"
"$tools/bin/python" deploy/kubernetes/tests/test_manifests.py >"$scratch/kubernetes.log" 2>&1 &
kubernetes=$!
"$tools/bin/python" deploy/tests/test_document.py
step "Ansible over ssh"
"$tools/bin/python" deploy/ansible/tests/test_ssh.py
step "Kubernetes"
code=0
wait "$kubernetes" || code=$?
cat "$scratch/kubernetes.log"
[ "$code" = 0 ] || exit "$code"
step "Ansible, thirty nodes"
"$tools/bin/python" deploy/ansible/tests/test_fleet.py
step "done"
