#!/usr/bin/env python3
"""Thirty nodes as local roots go through plan, approval, apply, a second run and rollback, as a fleet would.

    deploy/test.sh ansible/tests/test_fleet.py

needs ansible-core and the program.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

COLLECTION = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(COLLECTION.parent / "tests"))
from support import DONE, MIGRATED, MIRROR, REFUSED, RESTART_FAILS, SECRET, program, tree  # noqa: E402

# Nodes whose config.toml something else renders, by how that shows.
RENDERED = {
    "kubespray": (1, MIRROR),  # a file on the node
    "inventory": (1, MIRROR),  # a variable of the inventory
    "managed": (1, f"# Ansible managed\n{MIRROR}"),  # the head of the file
    "k3s": (1, None),  # it has its own elsewhere
}
KINDS = {**MIGRATED, "refused": REFUSED, "migrated": DONE, "restart-fails": RESTART_FAILS, **RENDERED}
ONE_OF_EACH = ("--limit", "*-00")


class Fleet(unittest.TestCase):
    """One fleet, in the order of a migration: each test goes on where the one before it ended."""

    @classmethod
    def setUpClass(cls):
        cls.scratch = Path(tempfile.mkdtemp(prefix="fleet-"))
        cls.addClassCleanup(shutil.rmtree, cls.scratch, ignore_errors=True)
        cls.program = program()
        cls.checksum = hashlib.sha256(cls.program.read_bytes()).hexdigest()
        collections = cls.scratch / "ansible_collections" / "fleet"
        collections.mkdir(parents=True)
        shutil.copytree(COLLECTION, collections / "containerd_registry_migrate")
        cls.playbooks = collections / "containerd_registry_migrate" / "playbooks"
        cls.reports = cls.scratch / "reports"
        hosts = {}
        cls.roots = {}
        cls.kind_of = {}
        for kind, (count, text) in KINDS.items():
            for number in range(count):
                name = f"{kind}-{number:02}"
                root = cls.scratch / "nodes" / name
                (root / "etc/containerd").mkdir(parents=True)
                (root / "guard").mkdir()
                if text is not None:
                    (root / "etc/containerd/config.toml").write_text(text)
                if kind == "kubespray":
                    (root / "etc/containerd/cri-base.json").write_text("{}\n")
                if kind == "k3s":
                    rendered = root / "var/lib/rancher/k3s/agent/etc/containerd/config.toml"
                    rendered.parent.mkdir(parents=True)
                    rendered.write_text(MIRROR)
                cls.roots[name] = root
                cls.kind_of[name] = kind
                hosts[name] = cls.variables(kind, root)
        assert len(hosts) == 30, len(hosts)
        cls.before = {name: tree(root) for name, root in cls.roots.items()}
        cls.inventory = cls.scratch / "inventory.json"
        cls.inventory.write_text(json.dumps({"all": {"hosts": hosts}}))

    @classmethod
    def variables(cls, kind, root):
        """The variables of a node: a root of this machine, and a daemon that is only a counter."""
        count = root / "guard" / "restarts"
        # The daemon is down after the first restart, and up again after the second, which has the old files.
        healthy = f'test "$(cat {count} 2>/dev/null)" != 1' if kind == "restart-fails" else "true"
        variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "registry_migration_become": False,
            "registry_migration_root": str(root),
            "registry_migration_from_version": "2.1.4" if kind == "version-3" else "1.7.24",
            "registry_migration_executable": str(cls.program),
            "registry_migration_restart_command": (
                f"n=$(cat {count} 2>/dev/null || echo 0); echo $((n + 1)) > {count}"
            ),
            "registry_migration_health_command": healthy,
            "registry_migration_health_timeout": 2,
        }
        if kind == "version-3":
            # These nodes get the program from the controller; the others share one, which saves minutes.
            variables["registry_migration_binary"] = str(cls.program)
            variables["registry_migration_executable"] = str(root / "guard" / "containerd-registry-migrate")
        if kind == "inventory":
            variables["containerd_config_default_write"] = True
        return variables

    def play(self, stage, *arguments, expected=0, **variables):
        """Runs a playbook; the result is what it printed, and the counts of each node."""
        variables = {
            "registry_migration_to_version": "2.3.7",
            "registry_migration_reports_dir": str(self.reports),
            "registry_migration_summarize": str(self.program),
            "registry_migration_binary_sha256": self.checksum,
            **variables,
        }
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(self.scratch),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_FORKS": "4",
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_RETRY_FILES_ENABLED": "0",
            "ANSIBLE_LOCALHOST_WARNING": "0",
        }
        ran = subprocess.run(
            ["ansible-playbook", "-i", self.inventory, "-e", json.dumps(variables), *arguments,
             self.playbooks / f"{stage}.yml"],
            env=environment, capture_output=True, text=True, check=False,
        )
        text = ran.stdout + ran.stderr
        self.assertEqual(ran.returncode, expected, text)
        counts = {}
        for line in ran.stdout.split("PLAY RECAP", 1)[-1].splitlines():
            found = re.match(r"(\S+)\s+: (.*)", line)
            if found:
                pairs = (word.split("=") for word in found[2].split())
                counts[found[1]] = {key: int(value) for key, value in pairs}
        self.assertNotIn(SECRET, text, "no secret is shown")
        return text, counts

    def nodes(self, *kinds):
        return [name for name, kind in self.kind_of.items() if kind in kinds]

    def assert_untouched(self, *names):
        for name in names or self.roots:
            self.assertEqual(tree(self.roots[name]), self.before[name], name)

    def assert_counts(self, counts, expected):
        """What the recap says of each node, by kind: (changed, failed). Of a kind that is not named, both are 0."""
        found = {name: (count["changed"], count["failed"]) for name, count in counts.items()}
        self.assertEqual(found, {name: expected.get(self.kind_of[name], (0, 0)) for name in counts})

    def test_1_check_mode_shows_the_plan_of_each_node_and_writes_nothing(self):
        text, counts = self.play("plan", "--check", "--diff")
        self.assert_untouched()
        self.assertFalse(self.reports.exists())
        self.assertEqual(len(counts), 30)
        # What it would write is the plan and, where it has to be copied, the program.
        pending = {kind: (1, 0) for kind in (*MIGRATED, "restart-fails")}
        self.assert_counts(counts, {**pending, "version-3": (2, 0)})
        for name in self.nodes("version-3"):
            self.assertEqual(list((self.roots[name] / "guard").iterdir()), [], "it ran from a temporary copy")
        self.assertEqual(text.count('-  endpoint = ["https://mirror.example"]'), 8 + 1, "one on each node")
        self.assertEqual(text.count("+++ b/etc/containerd/certs.d/docker.io/hosts.toml"), 8 + 1)
        self.assertIn("+++ b/etc/containerd/certs.d/quay.io/hosts.toml", text)

    def test_2_plan_writes_one_ticket_for_all_nodes(self):
        text, counts = self.play("plan")
        self.assert_untouched()
        changed = {name for name, count in counts.items() if count["changed"]}
        # The reports are written once, in the name of the first node.
        self.assertEqual(changed, {"mirror-00", *self.nodes("version-3")}, "and where the program is copied")
        self.assertEqual({count["failed"] for count in counts.values()}, {0})
        skipped = {name for name, count in counts.items() if "skipping: [" + name + "]" in text}
        self.assertLessEqual(set(self.nodes(*RENDERED)), skipped)
        for renderer in ("kubespray", "geerlingguy.containerd", "k3s", ".*/etc/containerd/config.toml"):
            self.assertRegex(text, f'"config.toml is rendered by something else: {renderer}')
        self.assertEqual(self.labels("plan"), set(self.roots) - set(self.nodes(*RENDERED)))
        self.assertEqual(self.labels("skipped"), set(self.nodes(*RENDERED)))
        self.assertEqual(self.labels("check"), set(self.roots))
        digests = (self.reports / "digests.txt").read_text().splitlines()
        self.assertEqual(len(digests), 5, "one for each distinct plan")
        ticket = (self.reports / "ticket.md").read_text()
        for digest in digests:
            self.assertIn(digest, ticket)
        for name in self.roots:
            self.assertIn(f"`{name}`", ticket)
        self.assertIn("- `kubespray-00`: kubespray\n", ticket)
        self.assertNotIn(SECRET, ticket)

    def test_3_a_plan_that_is_not_approved_is_not_written(self):
        limit = ("--limit", "mirror-00,private-00,migrated-00")
        nobody = {"registry_migration_approved": ["0" * 64], "registry_migration_serial": 30}
        text, counts = self.play("apply", *limit, expected=2, **nobody)
        self.assert_counts(counts, {"mirror": (0, 1), "private": (0, 1)})
        self.assertIn("is not approved; nothing was written", text)
        _, counts = self.play("apply", *limit, registry_migration_unapproved="skip", **nobody)
        self.assert_counts(counts, {})
        self.assert_untouched()

    def test_4_check_mode_of_apply_says_which_nodes_would_change(self):
        text, counts = self.play("apply", "--check", "--diff", *ONE_OF_EACH, registry_migration_serial=30, **self.approved())
        self.assert_untouched()
        self.assert_counts(counts, {kind: (1, 0) for kind in (*MIGRATED, "restart-fails")})
        self.assertIn("+++ b/etc/containerd/certs.d/docker.io/hosts.toml", text)

    def test_5_apply_writes_what_was_approved_and_a_failed_node_is_as_it_was(self):
        text, counts = self.play(
            "apply", expected=2, registry_migration_serial="50%", registry_migration_max_fail_percentage=50,
            **self.approved(),
        )
        self.assert_counts(counts, {**{kind: (1, 0) for kind in MIGRATED}, "restart-fails": (0, 1)})
        totals = {state: sum(bool(count[state]) for count in counts.values()) for state in ("ok", "changed", "failed")}
        self.assertEqual(totals, {"ok": 30, "changed": 22, "failed": 1})
        self.assertEqual(len(counts) - totals["changed"] - totals["failed"], 7, "nothing was to be done on the others")
        for name in self.nodes(*MIGRATED):
            self.assertNotEqual(tree(self.roots[name]), self.before[name], name)
            self.assertEqual((self.roots[name] / "guard/restarts").read_text().strip(), "1", name)
        self.assert_untouched(*self.nodes("refused", "migrated", "restart-fails", *RENDERED))
        self.assertEqual((self.roots["restart-fails-00"] / "guard/restarts").read_text().strip(), "2")

    def test_6_a_second_run_changes_nothing(self):
        after = {name: tree(root) for name, root in self.roots.items()}
        _, counts = self.play(
            "apply", "--limit", "!restart-fails-00", registry_migration_serial=30, **self.approved(),
        )
        self.assertEqual(len(counts), 29)
        self.assert_counts(counts, {})
        self.assertEqual({name: tree(root) for name, root in self.roots.items()}, after)
        for name in self.nodes(*MIGRATED):
            self.assertEqual((self.roots[name] / "guard/restarts").read_text().strip(), "1", name)

    def test_7_a_play_goes_on_after_a_failed_node_if_it_is_told_to(self):
        (self.roots["restart-fails-00"] / "guard/restarts").unlink()
        text, counts = self.play(
            "apply", "--limit", "restart-fails-00", registry_migration_on_failure="continue", **self.approved(),
        )
        self.assertEqual((counts["restart-fails-00"]["rescued"], counts["restart-fails-00"]["failed"]), (1, 0))
        self.assertIn('"msg": "failed: ', text)
        self.assert_untouched("restart-fails-00")

    def test_7_2_a_node_that_does_not_come_up_again_is_rolled_back_once_more(self):
        count = self.roots["restart-fails-00"] / "guard/restarts"
        count.unlink()
        # containerd is down after every restart.
        text, counts = self.play(
            "apply", "--limit", "restart-fails-00", expected=2, registry_migration_health_command=f"test ! -e {count}",
            **self.approved(),
        )
        self.assert_counts(counts, {"restart-fails": (0, 1)})
        self.assertIn("Restore the files of the run", text)
        self.assert_untouched("restart-fails-00")

    def test_8_a_play_stops_where_too_many_nodes_fail(self):
        (self.roots["restart-fails-00"] / "guard/restarts").unlink()
        _, counts = self.play(
            "apply", "--limit", "restart-fails-00,migrated-00,refused-00", expected=2,
            registry_migration_serial=1, registry_migration_max_fail_percentage=0,
            **{**self.approved(), "registry_migration_refused": "fail"},
        )
        # The inventory's order: refused, migrated, restart-fails. The first failure is the last node that is reached.
        self.assertEqual(set(counts), {"refused-00"})
        self.assertEqual(counts["refused-00"]["failed"], 1)

    def test_9_rollback_restores_every_byte(self):
        _, counts = self.play("rollback", "--check", *ONE_OF_EACH, registry_migration_serial=30)
        self.assert_counts(counts, {kind: (1, 0) for kind in MIGRATED})
        for name in self.nodes(*MIGRATED):
            self.assertNotEqual(tree(self.roots[name]), self.before[name], name)
        _, counts = self.play("rollback", registry_migration_serial=30)
        self.assert_untouched()
        self.assert_counts(counts, {kind: (1, 0) for kind in MIGRATED})
        for name in self.nodes(*MIGRATED):
            self.assertEqual((self.roots[name] / "guard/restarts").read_text().strip(), "2", name)
        _, counts = self.play("rollback", *ONE_OF_EACH, registry_migration_serial=30)
        self.assert_counts(counts, {})

    def labels(self, name):
        """The nodes of the reports in a file."""
        lines = (self.reports / f"{name}.json").read_text().splitlines()
        return {json.loads(line)["node"] for line in lines if line}

    def approved(self):
        """The approval, as the person who read the ticket gives it."""
        return {"registry_migration_approved_file": str(self.reports / "digests.txt")}


if __name__ == "__main__":
    unittest.main(verbosity=2)
