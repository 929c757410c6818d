#!/usr/bin/env python3
"""docs/fleet.md, command by command, as someone with thirty nodes would follow it.

    deploy/test.sh tests/test_document.py

Every command of the document is run, in one shell. Only the nodes are not real: ``ssh`` enters a root of this machine,
which has a containerd that says its version and listens at its socket.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent))
from support import DONE, MIGRATED, MIRROR, REFUSED, REPOSITORY, RESTART_FAILS, program, tree  # noqa: E402

DOCUMENT = REPOSITORY / "docs/fleet.md"
RENDERED = (4, f"# Ansible managed\n{MIRROR}")
KINDS = {**MIGRATED, "migrated": DONE, "restart-fails": RESTART_FAILS, "refused": REFUSED, "rendered": RENDERED}

# Runs a command in the root of a node, as sshd would.
SSH = r"""#!/bin/sh
set -eu
while [ "${{1#-}}" != "$1" ]; do shift; done
root={nodes}/${{1#root@}}
shift
exec unshare --mount --propagation private sh -c '
  set -eu
  root=$1; shift
  for directory in usr bin sbin lib lib64 dev proc {python}; do
    [ -e "/$directory" ] || continue
    mkdir -p "$root/$directory"
    mount --rbind "/$directory" "$root/$directory"
  done
  mount --bind "$root/guard/bin" "$root/usr/local/bin"
  exec env -i PATH=/usr/local/bin:/usr/bin:/bin /usr/sbin/chroot "$root" /bin/sh -c "$*"
' ssh "$root" "$@"
"""

SCP = """#!/bin/sh
set -eu
[ "$#" = 3 ] && [ "$1" = -q ]
node=${{3%%:*}}
[ "${{3#*:}}" = /usr/local/bin/ ]
exec ln -f "$2" "{nodes}/${{node#root@}}/guard/bin/"
"""

# The containerd of a node: it says its version, and listens.
CONTAINERD = """#!{python}
import socket, sys
if sys.argv[1:] == ["--version"]:
    print("containerd github.com/containerd/containerd v{version} 0000000000000000000000000000000000000000")
    sys.exit()
listener = socket.socket(socket.AF_UNIX)
listener.bind("/run/containerd/containerd.sock")
listener.listen()
while True:
    listener.accept()[0].close()
"""

SYSTEMCTL = """#!/bin/sh
[ "$*" = "restart containerd" ] || exit 1
[ ! -e /guard/pid ] || kill "$(cat /guard/pid)"
mkdir -p /run/containerd
rm -f /run/containerd/containerd.sock
setsid containerd </dev/null >/dev/null 2>&1 &
echo $! >/guard/pid
echo restart >>/guard/restarts
"""

CTR = """#!/bin/sh
case $* in *"plugins ls id==cri") ;; *) exit 1 ;; esac
[ -S /run/containerd/containerd.sock ] || exit 1
state=ok
[ ! -e /guard/fails ] || ! grep -q config_path /etc/containerd/config.toml || state=error
echo "TYPE                      ID     PLATFORMS      STATUS"
echo "io.containerd.grpc.v1     cri    linux/amd64    $state"
"""


def sections():
    """The headings of the document, each with its fenced blocks: (language, text)."""
    found, heading, block = {}, None, None
    for line in DOCUMENT.read_text().splitlines():
        if block is not None:
            if line == "```":
                found[heading].append((block[0], "\n".join(block[1:])))
                block = None
            else:
                block.append(line)
        elif line.startswith("```"):
            block = [line[3:]]
        elif line.startswith("#"):
            heading = line.lstrip("#").strip()
            found[heading] = []
    return found


def commands(blocks):
    """The commands of the console blocks: after `$`, and after `>` what goes on."""
    found = []
    for language, text in blocks:
        if language != "console":
            continue
        for line in text.splitlines():
            if line.startswith("$ "):
                found.append(line[2:])
            else:
                assert line.startswith("> ") and found, line
                found[-1] += "\n" + line[2:]
    return found


@unittest.skipUnless(os.geteuid() == 0, "mount namespaces need root")
class Document(unittest.TestCase):
    def setUp(self):
        self.scratch = Path(tempfile.mkdtemp(prefix="document-"))
        self.addCleanup(shutil.rmtree, self.scratch, ignore_errors=True)
        self.nodes = self.scratch / "nodes"
        self.desk = self.scratch / "desk"
        self.desk.mkdir()
        tools = self.scratch / "bin"
        tools.mkdir()
        python = Path(sys.executable).resolve()
        for name, text in (("ssh", SSH), ("scp", SCP)):
            (tools / name).write_text(text.format(nodes=self.nodes, python=sys.base_prefix.lstrip("/")))
            (tools / name).chmod(0o755)
        (tools / "containerd-registry-migrate").symlink_to(program())
        self.python = python
        self.environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "NO_COLOR": "1"}
        self.kind_of = {}
        # The node whose restart fails is in the second of three waves.
        order = [kind for kind, (count, _) in KINDS.items() for _ in range(count)]
        order.remove("restart-fails")
        order.insert(14, "restart-fails")
        for number, kind in enumerate(order, start=1):
            self.node(f"node-{number:02}", kind)
            self.kind_of[f"node-{number:02}"] = kind
        assert len(self.kind_of) == 30
        (self.desk / "nodes").write_text("".join(f"{name}\n" for name in self.kind_of))
        shutil.copy(program(), self.scratch / "desk/containerd-registry-migrate")
        self.node("image", "mirror", self.desk)

    def node(self, name, kind, below=None):
        root = (below or self.nodes) / name
        tools = root / "guard/bin"
        tools.mkdir(parents=True)
        (root / "etc/containerd").mkdir(parents=True)
        (root / "etc/containerd/config.toml").write_text(KINDS[kind][1])
        version = "2.1.4" if kind == "version-3" else "1.7.24"
        stubs = {"containerd": CONTAINERD, "systemctl": SYSTEMCTL, "ctr": CTR, "sudo": '#!/bin/sh\nexec "$@"\n'}
        for stub, text in stubs.items():
            text = text.replace("{python}", str(self.python)).replace("{version}", version)
            (tools / stub).write_text(text)
            (tools / stub).chmod(0o755)
        if kind == "restart-fails":
            (root / "guard/fails").touch()
        if below is None:
            self.addCleanup(self.stop, root)
        return root

    @staticmethod
    def stop(root):
        pid = root / "guard/pid"
        if pid.exists():
            try:
                os.kill(int(pid.read_text()), signal.SIGKILL)
            except ProcessLookupError:
                pass

    def of(self, *kinds):
        return {name for name, kind in self.kind_of.items() if kind in kinds}

    def tree(self, name):
        """The files of a node's /etc: the rest is the machine's, or the test's."""
        return tree(self.nodes / name / "etc")

    def run_section(self, heading):
        """Runs its commands; the result is the output and the exit code of each."""
        results = []
        for command in commands(self.sections.pop(heading)):
            self.shell.stdin.write(f"{command}\ncode=$?; echo; echo \"=== $code\"\n")
            self.shell.stdin.flush()
            lines = []
            for line in self.shell.stdout:
                if line.startswith("=== "):
                    results.append(("".join(lines), int(line[4:])))
                    break
                lines.append(line)
            else:
                self.fail(f"the shell ended: {command}\n{''.join(lines)}")
        return results

    def lines(self, name):
        return (self.desk / name).read_text().split()

    def test_every_command_does_what_the_document_says(self):
        self.sections = sections()
        for name in self.kind_of:
            subprocess.run([self.scratch / "bin/ssh", name, "systemctl restart containerd"], check=True, env=self.environment)
        before = {name: self.tree(name) for name in self.kind_of}
        self.shell = subprocess.Popen(
            ["bash"], cwd=self.desk, env=self.environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        self.addCleanup(self.shell.stdout.close)
        self.addCleanup(self.shell.wait)
        self.addCleanup(self.shell.stdin.close)

        self.assertEqual([code for _, code in self.run_section("1. Reach the nodes")], [0, 0])

        results = self.run_section("2. Collect the plans")
        self.assertEqual([code for _, code in results], [0, 0, 0, 0, 1, 0], results)
        self.assertIn("docker.io/hosts.toml", results[4][0])
        plans = {path.stem: json.loads(path.read_text()) for path in (self.desk / "plans").iterdir()}
        self.assertEqual(set(plans), set(self.kind_of))
        for name, plan in plans.items():
            version = "2.1.4" if self.kind_of[name] == "version-3" else "1.7.24"
            self.assertEqual((plan["node"], plan["versions"]["from"]), (name, {"version": version, "assumed": False}))

        results = self.run_section("3. Group them")
        self.assertEqual([code for _, code in results], [3, 0, 0], results)
        self.assertEqual(set(self.lines("rendered")), self.of("rendered"))
        ours = set(self.lines("ours"))
        self.assertEqual(ours, set(self.kind_of) - self.of("rendered"))

        (collect, again) = commands(self.sections["4. Answer questions"])
        self.sections["4. Answer questions"] = [("console", f"$ {collect}")]
        self.assertEqual([code for _, code in self.run_section("4. Answer questions")], [0])
        self.assertEqual(set(self.lines("refused")), self.of("refused"))
        for name in self.of("refused"):
            # The bracket that is missing.
            config = self.nodes / name / "etc/containerd/config.toml"
            config.write_text(MIRROR)
            before[name] = self.tree(name)
        self.sections["4. Answer questions"] = [("console", f"$ {again}")]
        self.assertEqual([code for _, code in self.run_section("4. Answer questions")], [0])

        results = self.run_section("5. Approve")
        self.assertEqual([code for _, code in results], [1, 1], results)
        digests = self.lines("digests.txt")
        self.assertEqual(len(digests), len(MIGRATED), "one for each kind")
        for digest in digests:
            self.assertIn(digest, (self.desk / "ticket.md").read_text())
        self.assertEqual({name: self.tree(name) for name in self.kind_of}, before, "nothing is written so far")

        kept = self.sections["6. Apply, in waves"]
        self.sections["6. Apply, in waves"] = kept[:1]
        results = self.run_section("6. Apply, in waves")
        self.assertEqual([code for _, code in results], [0, 0, 0, 0, 0], results)
        migrated = self.of(*MIGRATED, "refused")
        first = set(self.lines("wave-0000")) | set(self.lines("wave-0001"))
        last = set(self.lines("wave-0002"))
        self.assertIn(self.of("restart-fails").pop(), self.lines("wave-0001"))
        for name in migrated & first:
            self.assertNotEqual(self.tree(name), before[name], name)
            self.assertEqual(self.restarts(name), 2, name)
        for name in last | self.of("restart-fails", "migrated", "rendered"):
            self.assertEqual(self.tree(name), before[name], name)
        self.assertTrue(migrated & last)

        # One that has nothing to do was cut off while it sent its report.
        (cut_off,) = self.of("migrated")
        (self.desk / f"applied/{cut_off}.json").write_text('{"schema')
        self.sections["6. Apply, in waves"] = kept[1:]
        results = self.run_section("6. Apply, in waves")
        self.assertEqual([code for _, code in results], [0, 0, 0, 0, 0], results)
        self.assertEqual(set(self.lines("left-out")), self.of("restart-fails") | {cut_off})
        for name in migrated:
            self.assertNotEqual(self.tree(name), before[name], name)
            self.assertEqual(self.restarts(name), 2, "one by the test, one by apply")
        self.assertEqual(self.restarts(*self.of("restart-fails")), 3)

        results = self.run_section("7. Verify")
        self.assertEqual([code for _, code in results], [0, 0, 0, 0], results)
        self.assertIn("mirror.example", results[3][0])

        results = self.run_section("8. Roll back")
        self.assertEqual([code for _, code in results], [0, 0, 0], results)
        self.assertEqual({name: self.tree(name) for name in self.kind_of}, before)

        self.golden_images(digests)
        left = {heading: blocks for heading, blocks in self.sections.items() if blocks}
        self.assertEqual(left, {}, "every block of the document is tried")

    def restarts(self, name):
        return len((self.nodes / name / "guard/restarts").read_text().splitlines())

    def golden_images(self, digests):
        image = self.desk / "image"
        config = image / "etc/containerd/config.toml"
        results = self.run_section("Golden images and cloud-init")
        self.assertEqual([code for _, code in results], [0, 0, 0], results)
        self.assertIn("config_path", config.read_text())
        self.assertFalse((image / "var/lib/containerd-registry-migrate").exists())

        # Packer: the commands are run in an image, the files where the first provisioner puts them.
        ((language, text),) = self.sections.pop("Packer")
        self.assertEqual(language, "hcl")
        image = self.node("packer", "mirror")
        (image / "tmp").mkdir()
        shutil.copy(program(), image / "tmp/containerd-registry-migrate")
        shutil.copy(self.desk / "digests.txt", image / "tmp/digests.txt")
        self.assertIn('sources     = ["containerd-registry-migrate", "digests.txt"]', text)
        lines = re.findall(r'^    "(.*)",$', text, re.MULTILINE)
        self.assertEqual(len(lines), 3)
        for line in lines:
            self.ssh("packer", line)
        self.assertIn("config_path", (image / "etc/containerd/config.toml").read_text())
        self.assertEqual(list((image / "tmp").iterdir()), [])

        # image-builder: the variables are those of the role.
        ((language, text),) = self.sections.pop("image-builder")
        settings = json.loads(text)
        specs = REPOSITORY / "deploy/ansible/roles/registry_migration/meta/argument_specs.yml"
        options = yaml.safe_load(specs.read_text())["argument_specs"]["main"]["options"]
        given = dict(pair.split("=") for pair in settings["ansible_user_vars"].split())
        self.assertLessEqual(set(given), set(options))
        for name in ("registry_migration_stage", "registry_migration_restart"):
            self.assertIn(given[name], options[name]["choices"])

        ((language, text),) = self.sections.pop("cloud-init")
        image = self.node("cloud", "mirror")
        os.link(self.desk / "containerd-registry-migrate", image / "guard/bin/containerd-registry-migrate")
        (words,) = yaml.safe_load(text)["bootcmd"]
        digest = self.digest_of("mirror")
        self.assertIn(digest, digests)
        for _ in range(2):
            self.ssh("cloud", " ".join(digest if word == "DIGEST" else word for word in words))
        self.assertIn("config_path", (image / "etc/containerd/config.toml").read_text())

    def digest_of(self, kind):
        name = min(self.of(kind))
        return json.loads((self.desk / f"plans/{name}.json").read_text())["digest"]

    def ssh(self, name, command):
        ran = subprocess.run(
            [self.scratch / "bin/ssh", name, command], env=self.environment, capture_output=True, text=True, check=False,
        )
        self.assertEqual(ran.returncode, 0, f"{command}\n{ran.stdout}{ran.stderr}")


if __name__ == "__main__":
    unittest.main(verbosity=2)
