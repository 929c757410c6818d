#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Runs containerd-registry-migrate on a node and returns its report."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: registry_migration
short_description: Migrate the registry settings of a node's containerd
version_added: "0.1.0"
description:
  - Runs C(containerd-registry-migrate), which moves the legacy registry settings of C(config.toml) to C(hosts.toml)
    files, and returns its report.
  - The program decides and writes. This module gives Ansible the report, the diff, and whether anything changed, and
    leaves nodes alone whose C(config.toml) something else renders.
options:
  command:
    description:
      - C(check) judges whether containerd can be upgraded as the node is.
      - C(plan) shows what would change and writes nothing.
      - C(apply) plans, and writes the plan if its digest is one of O(expect).
      - C(rollback) restores the files of a run.
    type: str
    choices: [check, plan, apply, rollback]
    default: plan
  executable:
    description: The program, as a path or a name that is looked up in C(PATH).
    type: str
    default: containerd-registry-migrate
  root:
    description: The directory that is the root of the node's file system.
    type: path
    default: /
  config:
    description: The config.toml to migrate; the program finds it if this is not set.
    type: path
  certs_dir:
    description: The certs directory.
    type: path
  from_version:
    description: The containerd whose pulls are preserved; the installed one if this is not set.
    type: str
  to_version:
    description: The target version; the newest release of each later line if this is not set.
    type: str
  existing:
    description:
      - What happens to a hosts file that exists and differs, as C(keep), C(replace), or C(HOST=keep), C(HOST=replace)
        for one registry.
    type: list
    elements: str
    default: []
  inert:
    description: What happens to settings that have no effect on the installed containerd and would have one later.
    type: str
    choices: [drop, carry]
  v1:
    description: What happens to a version-1 file.
    type: str
    choices: [auto, convert, keep]
  keep_local_pull:
    description: Whether CRI's own puller is kept on containerd 2.1 and later.
    type: bool
    default: false
  allow:
    description: The codes of findings that are accepted.
    type: list
    elements: str
    default: []
  state_dir:
    description: The directory for journals.
    type: path
  node:
    description: A label for the node, written into the report.
    type: str
  with_check:
    description: Whether C(plan) also judges the node as C(check) does, and returns that report as RV(check).
    type: bool
    default: false
  markers:
    description: Files that show that something else renders C(config.toml), as paths on the node.
    type: list
    elements: dict
    default: []
    suboptions:
      renderer:
        description: What renders the file.
        type: str
        required: true
      path:
        description: The file that shows it.
        type: path
        required: true
  renderers:
    description: What is known from elsewhere to render C(config.toml).
    type: list
    elements: str
    default: []
  rendered:
    description:
      - What happens to a node whose C(config.toml) something else renders, going by O(markers), O(renderers) and the
        comment at the head of the file. C(skip) leaves it alone, C(migrate) goes on.
    type: str
    choices: [skip, migrate]
    default: migrate
  expect:
    description: The digests of the plans that were reviewed and approved.
    type: list
    elements: str
    default: []
  refused:
    description: Whether a plan that the program refuses fails the task, or is only reported.
    type: str
    choices: [report, fail]
    default: report
  unapproved:
    description: Whether a plan that is not approved fails the task, or skips the node.
    type: str
    choices: [fail, skip]
    default: fail
  run:
    description: The run to roll back; the last one that is in effect if this is not set.
    type: int
  restart:
    description: Whether the program restarts containerd and puts the old files back if CRI does not come up.
    type: bool
    default: false
  restart_command:
    description: The command that restarts containerd.
    type: str
  health_command:
    description: The command that succeeds if containerd serves CRI.
    type: str
  health_timeout:
    description: How many seconds containerd has to become healthy.
    type: int
attributes:
  check_mode:
    description:
      - C(apply) and C(rollback) report what they would do and write nothing. C(plan) never writes; in check mode it
        reports a node with changes as changed, so that their diff is shown.
    support: full
  diff_mode:
    description: The diff is the one of the report, with secrets masked.
    support: full
author:
  - The containerd-registry-migrate authors
"""

EXAMPLES = r"""
- name: Plan
  fleet.containerd_registry_migrate.registry_migration:
    command: plan
    to_version: "2.3"
  register: planned

- name: Apply what was approved, and restart containerd under guard
  fleet.containerd_registry_migrate.registry_migration:
    command: apply
    to_version: "2.3"
    expect: "{{ approved_digests }}"
    restart: true
"""

RETURN = r"""
verdict:
  description:
    - What came of the node. The outcome in the report, or C(rendered) if something else renders C(config.toml), or
      C(unapproved) if the digest of the plan is not approved.
  type: str
  returned: when the program made a report
  sample: changes
report:
  description: The program's report; its schema is docs/report.schema.json.
  type: dict
  returned: when the program made one
check:
  description: The report of C(check).
  type: dict
  returned: with O(with_check)
digest:
  description: The digest of the plan, if there is one that changes something.
  type: str
  returned: when the program made a report
renderers:
  description: What renders C(config.toml).
  type: list
  elements: str
  returned: for C(plan) and C(apply)
run:
  description: The number of the run in the journal.
  type: int
  returned: when a run was made or rolled back
exit_code:
  description: The exit code of the program.
  type: int
  returned: always
"""

import json
import os

from ansible.module_utils.basic import AnsibleModule

# Exit codes of the program.
USAGE = 2
REFUSED = 3
FAILED = 4
# The states of a run that a rollback would undo.
IN_EFFECT = ("unfinished", "applied", "restart-pending", "going-back")

COMMON = {"--config": "config", "--state-dir": "state_dir", "--node": "node"}
PLANNING = {
    "--certs-dir": "certs_dir",
    "--from": "from_version",
    "--to": "to_version",
    "--inert": "inert",
    "--v1": "v1",
}
RESTARTING = {
    "--restart-command": "restart_command",
    "--health-command": "health_command",
    "--health-timeout": "health_timeout",
}


def valued(params, options):
    """The options that have a value. `=` keeps a value that begins with a dash from being an option."""
    return [
        "%s=%s" % (option, params[name])
        for option, name in options.items()
        if params[name] is not None
    ]


def command_line(params, command):
    """The arguments of a command that writes nothing by itself."""
    words = [command, "--format", "json", "--root", params["root"]]
    words += valued(params, COMMON)
    words += ["--allow=%s" % code for code in params["allow"]]
    if command != "rollback":
        words += valued(params, PLANNING)
        words += ["--existing=%s" % answer for answer in params["existing"]]
        if params["keep_local_pull"]:
            words.append("--keep-local-pull")
    return words


def restarting(params):
    return ["--restart"] + valued(params, RESTARTING) if params["restart"] else []


def explanation(report, stderr):
    """Why the program did not do what was asked, in one line."""
    errors = [
        "%s [%s]" % (finding["message"], finding["code"])
        for finding in report.get("findings", [])
        if finding.get("severity") == "error"
    ]
    if report.get("error"):
        errors.insert(0, report["error"])
    errors += report.get("notes", []) if errors else []
    if not errors and stderr.strip():
        errors = [stderr.strip()]
    return "; ".join(errors) or "the program gave no reason"


def renderers(params, report):
    """What renders config.toml: what the inventory tells, what files on the node tell, and what the file itself tells."""
    found = list(params["renderers"])
    for marker in params["markers"]:
        if os.path.lexists(
            os.path.join(params["root"], marker["path"].lstrip("/"))
        ):
            found.append(marker["renderer"])
    found += [
        finding["message"]
        for finding in report.get("findings", [])
        if finding.get("code") == "generated-file"
    ]
    return sorted(set(found), key=found.index)


class Migration(object):
    def __init__(self, module):
        self.module = module
        self.params = module.params
        self.executable = module.get_bin_path(
            self.params["executable"], required=True
        )
        self.result = {"changed": False}

    def program(self, words):
        """Runs the program; the result is its report. Fails if there is none."""
        code, stdout, stderr = self.module.run_command(
            [self.executable] + words, environ_update={"LC_ALL": "C.UTF-8"}
        )
        self.result["exit_code"] = code
        try:
            report = json.loads(stdout)
        except ValueError:
            self.fail(explanation({}, stderr or stdout), cmd=words)
        self.result.update(
            report=report,
            verdict=report.get("outcome"),
            digest=report.get("digest"),
            run=report.get("run"),
            changed=bool(report.get("changed")),
            msg=explanation(report, stderr) if code >= USAGE else "",
        )
        if report.get("files"):
            self.result["diff"] = {
                "prepared": "".join(
                    change.get("diff") or "" for change in report["files"]
                )
            }
        return report

    def fail(self, msg, **more):
        self.result.update(more, msg=msg)
        self.module.fail_json(**self.result)

    def done(self, **more):
        self.result.update(more)
        self.module.exit_json(**self.result)

    def check(self):
        self.program(command_line(self.params, "check"))
        if self.result["exit_code"] > REFUSED:
            self.fail(self.result["msg"])
        self.done()

    def plan(self):
        """Plans, and ends here where nothing is to be written."""
        params = self.params
        if params["with_check"]:
            self.result["check"] = self.program(
                command_line(params, "check")
            )
        report = self.program(command_line(params, "plan"))
        self.result["renderers"] = found = renderers(params, report)
        # Where nothing is to be done, it does not matter who renders the file; k3s and RKE2 have theirs elsewhere.
        elsewhere = report.get("config", {}).get("found") == "built-in"
        idle = self.result["verdict"] == "nothing" and not elsewhere
        if found and not idle and params["rendered"] == "skip":
            self.result.pop("diff", None)
            self.done(
                verdict="rendered",
                skipped=True,
                msg="config.toml is rendered by something else: %s"
                % "; ".join(found),
            )
        code = self.result["exit_code"]
        if code >= FAILED or code == REFUSED and params["refused"] == "fail":
            self.fail(self.result["msg"])
        changes = self.result["verdict"] == "changes"
        if params["command"] == "plan":
            # So that a check mode counts the node, and `--diff` shows what would be written.
            self.done(changed=changes and self.module.check_mode)
        if not changes:
            self.done()

    def apply(self):
        self.plan()
        digest = self.result["digest"]
        if digest not in self.params["expect"]:
            self.result.update(
                verdict="unapproved",
                msg="the digest %s is not approved; nothing was written"
                % digest,
            )
            if self.params["unapproved"] == "skip":
                self.done(skipped=True)
            self.fail(self.result["msg"])
        if self.module.check_mode:
            self.done(changed=True)
        words = command_line(self.params, "apply")
        self.program(words + ["--expect", digest] + restarting(self.params))
        self.end()

    def rollback(self):
        words = command_line(self.params, "rollback")
        asked = self.params["run"]
        if self.module.check_mode:
            runs = self.program(words + ["--list"]).get("runs", [])
            self.result["changed"] = any(
                run["state"] in IN_EFFECT and asked in (None, run["run"])
                for run in runs
            )
        else:
            words += ["--yes"] + restarting(self.params)
            self.program(words + ([] if asked is None else [str(asked)]))
        self.end()

    def end(self):
        if self.result["exit_code"] >= USAGE:
            self.fail(self.result["msg"])
        self.done()


def main():
    module = AnsibleModule(
        argument_spec=dict(
            command=dict(
                type="str",
                choices=["check", "plan", "apply", "rollback"],
                default="plan",
            ),
            executable=dict(type="str", default="containerd-registry-migrate"),
            root=dict(type="path", default="/"),
            config=dict(type="path"),
            certs_dir=dict(type="path"),
            from_version=dict(type="str"),
            to_version=dict(type="str"),
            existing=dict(type="list", elements="str", default=[]),
            inert=dict(type="str", choices=["drop", "carry"]),
            v1=dict(type="str", choices=["auto", "convert", "keep"]),
            keep_local_pull=dict(type="bool", default=False),
            allow=dict(type="list", elements="str", default=[]),
            state_dir=dict(type="path"),
            node=dict(type="str"),
            with_check=dict(type="bool", default=False),
            markers=dict(
                type="list",
                elements="dict",
                default=[],
                options=dict(
                    renderer=dict(type="str", required=True),
                    path=dict(type="path", required=True),
                ),
            ),
            renderers=dict(type="list", elements="str", default=[]),
            rendered=dict(
                type="str", choices=["skip", "migrate"], default="migrate"
            ),
            expect=dict(type="list", elements="str", default=[]),
            refused=dict(
                type="str", choices=["report", "fail"], default="report"
            ),
            unapproved=dict(
                type="str", choices=["fail", "skip"], default="fail"
            ),
            run=dict(type="int"),
            restart=dict(type="bool", default=False),
            restart_command=dict(type="str"),
            health_command=dict(type="str"),
            health_timeout=dict(type="int"),
        ),
        supports_check_mode=True,
    )
    migration = Migration(module)
    getattr(migration, module.params["command"])()
    migration.done()


if __name__ == "__main__":
    main()
