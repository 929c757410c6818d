#!/usr/bin/env python3
"""One node over real SSH, with a real containerd that is restarted under guard.

    deploy/test.sh ansible/tests/test_ssh.py

needs root, ansible-core, sshd, and a containerd that ``tests/containerd.sh`` has put. The daemons listen on loopback only.
"""

import getpass
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

COLLECTION = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(COLLECTION.parent / "tests"))
from support import daemon, program  # noqa: E402

CONFIG = """version = 2
root = "{root}/data"
state = "{root}/state"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = "{root}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]
  endpoint = ["https://mirror.example"]
"""

# What an init system does for the one service of the node.
RESTART = """#!/bin/sh
set -u
if [ -e {root}/pid ]; then
  pid=$(cat {root}/pid)
  kill "$pid"
  while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
fi
setsid {containerd} --config {root}/etc/containerd/config.toml </dev/null >>{root}/log 2>&1 &
echo $! > {root}/pid
echo restart >> {root}/restarts
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def sshd():
    return shutil.which("sshd", path=os.environ["PATH"] + ":/usr/sbin")


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Ssh(unittest.TestCase):
    def setUp(self):
        if not sshd():
            if os.environ.get("CI"):
                self.fail("no sshd")
            self.skipTest("no sshd")
        self.root = Path(tempfile.mkdtemp(prefix="ssh-"))
        self.addCleanup(shutil.rmtree, self.root, ignore_errors=True)
        binaries = self.binaries = daemon(self)
        node = self.root / "node"
        (node / "etc/containerd").mkdir(parents=True)
        self.config = node / "etc/containerd/config.toml"
        self.config.write_text(CONFIG.format(root=node))
        restart = node / "restart"
        restart.write_text(RESTART.format(root=node, containerd=binaries / "containerd"))
        restart.chmod(0o755)
        self.node = node
        self.addCleanup(self.stop_containerd)
        subprocess.run([restart], check=True)
        self.start_sshd()

    def stop_containerd(self):
        pid = self.node / "pid"
        if pid.exists():
            try:
                os.kill(int(pid.read_text()), signal.SIGTERM)
            except ProcessLookupError:
                pass
            time.sleep(0.5)

    def start_sshd(self):
        keys = self.root / "keys"
        keys.mkdir(mode=0o700)
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keys / name], check=True)
        shutil.copy(keys / "user.pub", keys / "authorized_keys")
        os.makedirs("/run/sshd", exist_ok=True)
        self.port = free_port()
        configuration = self.root / "sshd_config"
        configuration.write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {keys}/host\n"
            f"AuthorizedKeysFile {keys}/authorized_keys\nStrictModes no\nPermitRootLogin yes\n"
            f"PasswordAuthentication no\nPidFile none\n"
            f"Subsystem sftp internal-sftp\n"
        )
        daemon = subprocess.Popen([sshd(), "-D", "-e", "-f", configuration], stderr=subprocess.DEVNULL)
        self.addCleanup(daemon.wait)
        self.addCleanup(daemon.terminate)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as connection:
                if connection.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)
        self.fail("sshd does not listen")

    def play(self, playbook, **variables):
        collections = self.root / "ansible_collections" / "fleet"
        if not collections.exists():
            collections.mkdir(parents=True)
            shutil.copytree(COLLECTION, collections / "containerd_registry_migrate")
        binary = program()
        ctr = f"{self.binaries}/ctr --address {self.node}/containerd.sock"
        variables = {
            "ansible_host": "127.0.0.1",
            "ansible_port": self.port,
            "ansible_user": getpass.getuser(),
            "ansible_ssh_private_key_file": str(self.root / "keys/user"),
            "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
            "ansible_python_interpreter": sys.executable,
            "registry_migration_become": False,
            "registry_migration_root": str(self.node),
            "registry_migration_executable": str(self.root / "containerd-registry-migrate"),
            "registry_migration_binary": str(binary),
            "registry_migration_binary_sha256": hashlib.sha256(binary.read_bytes()).hexdigest(),
            "registry_migration_from_version": "2.3.7",
            "registry_migration_to_version": "2.4.2",
            "registry_migration_reports_dir": str(self.root / "reports"),
            "registry_migration_summarize": str(binary),
            "registry_migration_restart_command": str(self.node / "restart"),
            "registry_migration_health_command":
                f"{ctr} plugins ls id==cri | grep -Eq '[[:space:]]ok([[:space:]]|$)'",
            **variables,
        }
        ran = subprocess.run(
            ["ansible-playbook", "-i", "node-1,", "-e", json.dumps(variables),
             collections / "containerd_registry_migrate" / "playbooks" / playbook],
            env={
                **os.environ, "ANSIBLE_COLLECTIONS_PATH": str(self.root), "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_PIPELINING": "1",
            },
            capture_output=True, text=True, check=False,
        )
        self.assertEqual(ran.returncode, 0, ran.stdout + ran.stderr)

    def restarts(self):
        return len((self.node / "restarts").read_text().splitlines())

    def test_a_node_is_planned_applied_restarted_and_rolled_back(self):
        before = self.config.read_bytes()
        self.play("plan.yml")
        self.assertEqual(self.config.read_bytes(), before)
        self.play("apply.yml", registry_migration_approved_file=str(self.root / "reports/digests.txt"))
        self.assertIn(b"config_path", self.config.read_bytes())
        self.assertEqual(self.restarts(), 2)
        dump = subprocess.run(
            [self.binaries / "containerd", "--config", self.config, "config", "dump"],
            capture_output=True, text=True, check=True,
        )
        self.assertIn("/etc/containerd/certs.d", dump.stdout)
        self.play("rollback.yml")
        self.assertEqual(self.config.read_bytes(), before)
        self.assertEqual(self.restarts(), 3)


if __name__ == "__main__":
    unittest.main(verbosity=2)
