"""What the tests of the deployments share."""

import json
import os
import subprocess
from functools import lru_cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


@lru_cache
def program():
    """The program under test: PROGRAM names it, else it is built with cargo."""
    named = os.environ.get("PROGRAM")
    if named:
        return Path(named).resolve()
    subprocess.run(["cargo", "build", "--locked", "--quiet"], cwd=REPOSITORY, check=True)
    metadata = subprocess.run(
        ["cargo", "metadata", "--no-deps", "--format-version", "1"],
        cwd=REPOSITORY, check=True, capture_output=True, text=True,
    )
    return Path(json.loads(metadata.stdout)["target_directory"]) / "debug/containerd-registry-migrate"


def daemon(test):
    """The directory of a real containerd 2.3, as tests/containerd.sh puts it. A test that needs it is skipped, or fails in CI."""
    directory = REPOSITORY / "target/containerd/2.3/usr/bin"
    if not (directory / "containerd").exists():
        if os.environ.get("CI"):
            test.fail("no containerd: run tests/containerd.sh")
        test.skipTest("no containerd: run tests/containerd.sh")
    return directory


def tree(root):
    """Every file below a root with its mode and bytes, less the journals, which a rollback keeps, and what is the test's own."""
    found = {}
    for path in sorted(Path(root).rglob("*")):
        name = str(path.relative_to(root))
        if name.startswith(("var/lib/containerd-registry-migrate", "guard")):
            continue
        if path.is_file():
            found[name] = (oct(path.stat().st_mode), path.read_bytes())
    return found


# A fleet of thirty: five kinds of nodes that are migrated, and every kind that is not. The config.toml of each kind,
# and how many there are.
CRI = '[plugins."io.containerd.grpc.v1.cri"'
MIRROR = f'version = 2\n{CRI}.registry.mirrors."docker.io"]\n  endpoint = ["https://mirror.example"]\n'
SECRET = "S3cr3t-of-bob"
MIGRATED = {
    "mirror": (8, MIRROR),
    "private": (
        5,
        f'version = 2\n{CRI}.registry.mirrors."registry.example"]\n  endpoint = ["http://registry.example:5000"]\n'
        f'{CRI}.registry.configs."registry.example:5000".auth]\n  username = "bob"\n  password = "{SECRET}"\n',
    ),
    "tls": (
        4,
        f'version = 2\n{CRI}.registry.mirrors."ghcr.io"]\n  endpoint = ["https://cache.example"]\n'
        f'{CRI}.registry.configs."cache.example".tls]\n  insecure_skip_verify = true\n',
    ),
    "wildcard": (3, f'version = 2\n{CRI}.registry.mirrors."*"]\n  endpoint = ["https://all.example"]\n'),
    "version-3": (
        2,
        "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry.mirrors.'quay.io']\n"
        "  endpoint = ['https://quay-mirror.example']\n",
    ),
}
REFUSED = (2, f'version = 2\n{CRI}.registry.mirrors."docker.io"\n')
DONE = (1, f'version = 2\n{CRI}.registry]\n  config_path = "/etc/containerd/certs.d"\n')
RESTART_FAILS = (1, MIRROR)
