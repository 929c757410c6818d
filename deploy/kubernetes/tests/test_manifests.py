#!/usr/bin/env python3
"""The manifests, and what their containers do to a node.

    deploy/test.sh kubernetes/tests/test_manifests.py

needs root, ``kubectl`` or ``kustomize``, a static ``busybox``, PyYAML and kubernetes-validate. The restart is a real one
where ``tests/containerd.sh`` has put a containerd; elsewhere that test is skipped.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

import kubernetes_validate
import yaml

MANIFESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(MANIFESTS.parent / "tests"))
from support import REPOSITORY, daemon, program  # noqa: E402

VERSIONS = [f"1.{minor}" for minor in range(31, 38)]
NODE = "node-1"
# The programs of the image.
APPLETS = re.search(r'^applets="(.*)"$', (REPOSITORY / "dist/build.sh").read_text(), re.MULTILINE)[1].split()

CONFIG = """version = 2
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]
  endpoint = ["https://mirror.example"]
"""


def build(directory):
    """The resources of a kustomization."""
    tool = ["kubectl", "kustomize"] if shutil.which("kubectl") else ["kustomize", "build"]
    text = subprocess.run([*tool, directory], check=True, capture_output=True, text=True).stdout
    return [resource for resource in yaml.safe_load_all(text) if resource]


def one(resources, kind):
    found = [resource for resource in resources if resource["kind"] == kind]
    assert len(found) == 1, found
    return found[0]


class Manifests(unittest.TestCase):
    def test_they_are_valid_for_every_supported_kubernetes(self):
        for overlay in ("plan", "apply"):
            for resource in build(MANIFESTS / overlay):
                for version in VERSIONS:
                    with self.subTest(overlay=overlay, kind=resource["kind"], version=version):
                        kubernetes_validate.validate(resource, version, strict=True)

    def test_everything_that_is_deployed_has_the_version_of_the_program(self):
        version = re.search(r'^version = "(.*)"$', (REPOSITORY / "Cargo.toml").read_text(), re.MULTILINE)[1]
        (image,) = yaml.safe_load((MANIFESTS / "plan/kustomization.yaml").read_text())["images"]
        self.assertEqual(image["newTag"], version)
        plan = yaml.safe_load((MANIFESTS / "system-upgrade-controller/plan.yaml").read_text())["spec"]
        self.assertEqual(plan["version"], version)
        galaxy = yaml.safe_load((MANIFESTS.parent / "ansible/galaxy.yml").read_text())
        self.assertEqual(galaxy["version"], version)
        for resource in build(MANIFESTS / "apply"):
            if resource["kind"] == "DaemonSet":
                (container,) = resource["spec"]["template"]["spec"]["containers"]
                self.assertEqual(container["image"], f"{image['newName']}:{version}")
                self.assertEqual(plan["upgrade"]["image"], image["newName"])

    def test_a_change_of_the_approval_rolls_out(self):
        with tempfile.TemporaryDirectory() as scratch:
            shutil.copytree(MANIFESTS, scratch, dirs_exist_ok=True)
            overlay = Path(scratch) / "apply"
            before = one(build(overlay), "DaemonSet")["spec"]["template"]
            (overlay / "digests.txt").write_text("0" * 64 + "\n")
            self.assertNotEqual(one(build(overlay), "DaemonSet")["spec"]["template"], before)

    def test_the_plan_can_write_nothing_on_the_node(self):
        spec = one(build(MANIFESTS / "plan"), "DaemonSet")["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        host = {volume["name"] for volume in spec["volumes"] if "hostPath" in volume}
        mounts = [mount for mount in container["volumeMounts"] if mount["name"] in host]
        self.assertTrue(mounts and all(mount.get("readOnly") for mount in mounts))
        self.assertFalse(container["securityContext"]["allowPrivilegeEscalation"])
        self.assertNotIn("hostPID", spec)

    def test_every_capability_and_mount_of_the_node_has_its_reason(self):
        text = (MANIFESTS / "README.md").read_text()
        spec = one(build(MANIFESTS / "apply"), "DaemonSet")["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        reasons = container["securityContext"]["capabilities"]["add"]
        reasons += [volume["hostPath"]["path"] for volume in spec["volumes"] if "hostPath" in volume and volume["name"] != "host"]
        self.assertGreater(len(reasons), 5)
        for reason in (*reasons, "/host", "hostPID"):
            self.assertIn(f"`{reason}`", text)
        self.assertNotIn("privileged", container["securityContext"])
        self.assertFalse(spec["automountServiceAccountToken"])

    def test_the_plan_of_the_upgrade_controller_has_its_fields_only(self):
        # pkg/apis/upgrade.cattle.io/v1/types.go of the controller.
        plan = yaml.safe_load((MANIFESTS / "system-upgrade-controller/plan.yaml").read_text())
        self.assertEqual((plan["apiVersion"], plan["kind"]), ("upgrade.cattle.io/v1", "Plan"))
        self.assertLessEqual(set(plan["spec"]), {
            "concurrency", "jobActiveDeadlineSecs", "nodeSelector", "serviceAccountName", "channel", "version", "secrets",
            "tolerations", "exclusive", "window", "prepare", "upgrade", "cordon", "drain", "imagePullSecrets",
            "postCompleteDelay", "priorityClassName", "postCompleteLabels",
        })
        for part in ("prepare", "upgrade"):
            self.assertLessEqual(
                set(plan["spec"][part]),
                {"image", "command", "args", "envs", "envFrom", "volumes", "securityContext"},
            )
        for secret in plan["spec"]["secrets"]:
            self.assertLessEqual(set(secret), {"name", "path", "ignoreUpdates", "defaultMode"})

    def test_the_files_of_a_node_are_mounted_as_directories(self):
        spec = one(build(MANIFESTS / "apply"), "DaemonSet")["spec"]["template"]["spec"]
        kinds = {volume["hostPath"]["type"] for volume in spec["volumes"] if "hostPath" in volume}
        self.assertLessEqual(kinds, {"Directory", "DirectoryOrCreate"})


# Process 1 of the node: its root is a tree of the test, with this machine's programs in it. It starts containerd, and
# then the container, in a mount namespace of its own, as a kubelet would.
NODE_INIT = r"""
set -eu
root=$1 container=$2 script=$3
mount --make-rprivate /
mount -t proc proc /proc
mount --bind "$root" "$root"
for directory in usr bin sbin lib lib64 dev sys; do
  [ -e "/$directory" ] || continue
  mkdir -p "$root/$directory"
  mount --rbind "/$directory" "$root/$directory"
done
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/var/lib/containerd"
mount --bind "$root/bin-of-node" "$root/usr/local/bin"
unshare --mount --propagation private sh -c ': >"$1/run/unshared"; eval "$2"' pod "$root" "$script" &
pod=$!
# A pivot_root moves whoever is still in this mount namespace.
until [ -e "$root/run/unshared" ]; do sleep 0.05; done
cd "$root"
mkdir -p run/old
pivot_root . run/old
export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
if command -v containerd >/dev/null; then systemctl restart containerd; fi
touch run/booted
code=0
wait $pod || code=$?
exit $code
"""

# What a systemd does for this one unit.
SYSTEMCTL = r"""#!/bin/sh
set -u
[ "$*" = "restart containerd" ] || exit 1
echo restart >> /var/log/restarts
if [ -e /run/containerd.pid ]; then
  pid=$(cat /run/containerd.pid)
  kill "$pid"
  while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
fi
setsid containerd --config /etc/containerd/config.toml </dev/null >>/var/log/containerd.log 2>&1 &
echo $! > /run/containerd.pid
"""

# What a container runtime does for recursiveReadOnly.
READ_ONLY = """awk -v top="PATH" '$5 == top || index($5, top "/") == 1 { print $5 }' /proc/self/mountinfo |
  while read -r mount; do mount -o remount,bind,ro "$mount"; done"""


class Pod:
    """A node, and a pod on it."""

    def __init__(self, scratch, binaries=None):
        self.scratch = Path(scratch)
        self.root = self.scratch / "node"
        for directory in ("etc/containerd", "proc", "run", "var/log", "var/lib/containerd", "tmp", "bin-of-node", "opt"):
            (self.root / directory).mkdir(parents=True)
        self.config = self.root / "etc/containerd/config.toml"
        self.config.write_text(CONFIG)
        systemctl = self.root / "bin-of-node/systemctl"
        systemctl.write_text(SYSTEMCTL)
        systemctl.chmod(0o755)
        if binaries:
            for binary in binaries.iterdir():
                shutil.copy(binary, self.root / "bin-of-node")
        # The image, as dist/build.sh makes it.
        self.image = self.scratch / "image"
        for directory in ("bin", "host", "usr/bin", "proc", "dev", "tmp"):
            (self.image / directory).mkdir(parents=True)
        shutil.copy(shutil.which("busybox"), self.image / "bin/busybox")
        for applet in APPLETS:
            (self.image / "bin" / applet).symlink_to("busybox")
        shutil.copy(program(), self.image / "usr/bin/containerd-registry-migrate")
        self.process = None

    def of_overlay(self, overlay, digests="", versions=f"{NODE}=containerd://2.3.7\n"):
        """The pod of the DaemonSet."""
        manifests = self.scratch / "manifests"
        shutil.rmtree(manifests, ignore_errors=True)
        shutil.copytree(MANIFESTS, manifests)
        (manifests / "plan/versions.txt").write_text(versions)
        (manifests / "apply/digests.txt").write_text(digests)
        resources = build(manifests / overlay)
        spec = one(resources, "DaemonSet")["spec"]["template"]["spec"]
        (self.container,) = spec["containers"]
        self.volumes = {volume["name"]: volume for volume in spec["volumes"]}
        self.files = {
            resource["metadata"]["name"]: resource["data"]
            for resource in resources if resource["kind"] == "ConfigMap"
        }
        return self

    def of_job(self, part, digests):
        """The pod of a Job of the system-upgrade-controller, as its pkg/upgrade/job makes it."""
        plan = yaml.safe_load((MANIFESTS / "system-upgrade-controller/plan.yaml").read_text())["spec"]
        (secret,) = plan["secrets"]
        self.container = {
            **plan[part],
            "env": [],
            "volumeMounts": [
                {"name": "host-root", "mountPath": "/host"},
                {"name": "secret", "mountPath": secret["path"], "readOnly": True},
            ],
            "securityContext": {"privileged": True},
        }
        self.volumes = {
            "host-root": {"hostPath": {"path": "/", "type": "Directory"}},
            "secret": {"configMap": {"name": secret["name"]}},
        }
        self.files = {secret["name"]: {"digests.txt": digests}}
        return self

    def script(self):
        """What a container runtime does for the container: mounts, capabilities, environment, command."""
        container = self.container
        lines = ["set -eu", f"image={self.image}", f"root={self.root}"]
        # A binary of the test may be linked dynamically; the image's is not.
        for directory in ("lib", "lib64", "usr/lib"):
            if Path("/", directory).exists():
                lines += [f"mkdir -p $image/{directory}", f"mount --bind /{directory} $image/{directory}"]
        lines += ["mount -t proc proc $image/proc", "mount --bind /dev $image/dev"]
        for mount in sorted(container["volumeMounts"], key=lambda mount: mount["mountPath"].count("/")):
            volume, path = self.volumes[mount["name"]], "$image" + mount["mountPath"]
            if "hostPath" in volume:
                source = self.root / volume["hostPath"]["path"].lstrip("/")
                if volume["hostPath"]["type"] == "DirectoryOrCreate":
                    source.mkdir(parents=True, exist_ok=True)
                # A bind of the node's root has the node's mounts below it.
                bind = ["mount --rbind" if volume["hostPath"]["path"] == "/" else "mount --bind", str(source)]
            elif "configMap" in volume:
                source = self.scratch / "volumes" / mount["name"]
                source.mkdir(parents=True, exist_ok=True)
                for name, text in self.files[volume["configMap"]["name"]].items():
                    (source / name).write_text(text)
                bind = ["mount --bind", str(source)]
            else:
                bind = ["mount -t tmpfs tmpfs", ""]
            if not mount["mountPath"].startswith("/host/"):
                lines.append(f"mkdir -p {path}")
            lines.append(f"{bind[0]} {bind[1]} {path}")
            if mount.get("recursiveReadOnly") == "IfPossible":
                lines.append(READ_ONLY.replace("PATH", path))
            elif mount.get("readOnly"):
                lines.append(f"mount -o remount,bind,ro {path}")
        environment = {"PATH": "/usr/bin:/bin"}
        environment.update((variable["name"], variable.get("value", NODE)) for variable in container["env"])
        words = ["env", "-i", *(f"{name}={value}" for name, value in environment.items())]
        security = container["securityContext"]
        if not security.get("privileged"):
            # setpriv drops from the bounding set, so that chroot's program gets what is left and no more.
            capabilities = [name.lower() for name in security["capabilities"]["add"]]
            bounding = ",".join(["-all", "+setpcap", "+sys_chroot", *("+" + name for name in capabilities)])
            words = ["setpriv", "--bounding-set", bounding, "--", *words]
        words += ["/usr/sbin/chroot", "IMAGE", *container["command"], *container.get("args", [])]
        lines += [
            "until [ -e $root/run/booted ]; do sleep 0.1; done",
            "exec " + shlex.join(words).replace("IMAGE", "$image"),
        ]
        return "\n".join(lines)

    def __enter__(self):
        log = open(self.scratch / "log", "wb")
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "sh", "-c", NODE_INIT, "init",
             self.root, self.image, self.script()],
            stdout=log, stderr=subprocess.STDOUT,
        )
        log.close()
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def log(self):
        return (self.scratch / "log").read_text()

    def report(self, seconds=60):
        """The report, when it is there, and whether the container is ready."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                report = json.loads(self.log())
            except ValueError:
                assert self.process.poll() is None, self.log()
                time.sleep(0.2)
                continue
            time.sleep(1)
            return report, self.ready()
        raise AssertionError(f"no report: {self.log()}")

    def says(self, message, seconds=60):
        """Waits until the log has the message; the result is whether the container is ready."""
        deadline = time.monotonic() + seconds
        while message not in self.log():
            assert time.monotonic() < deadline and self.process.poll() is None, self.log()
            time.sleep(0.2)
        return self.ready()

    def ended(self, seconds=150):
        """The exit code of the container."""
        return self.process.wait(seconds)

    def ready(self):
        """What the readiness probe says."""
        return self.succeeds(*self.container["readinessProbe"]["exec"]["command"])

    def succeeds(self, *command):
        """Runs a command where the container is."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        (init,) = children
        for pid in Path(f"/proc/{init}/task/{init}/children").read_text().split():
            if Path(f"/proc/{pid}/root").resolve() == self.image.resolve():
                words = ["nsenter", "-t", pid, "-m", "-r", *command]
                return subprocess.run(words, stderr=subprocess.DEVNULL, check=False).returncode == 0
        raise AssertionError(f"no container: {self.log()}")

    def restarts(self):
        log = self.root / "var/log/restarts"
        return len(log.read_text().splitlines()) if log.exists() else 0


@unittest.skipUnless(os.geteuid() == 0, "mount namespaces need root")
class Containers(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.mkdtemp(prefix="pod-")
        self.addCleanup(shutil.rmtree, self.scratch, ignore_errors=True)

    def pod(self, **options):
        return Pod(tempfile.mkdtemp(dir=self.scratch), **options)

    def planned(self, pod):
        """The digest of the plan of a node."""
        before = pod.config.read_bytes()
        with pod.of_overlay("plan"):
            report, ready = pod.report()
            for place in ("/host/etc/containerd", "/host/run"):
                self.assertFalse(pod.succeeds("touch", f"{place}/written"), place)
        self.assertTrue(ready)
        self.assertEqual((report["outcome"], report["node"]), ("changes", NODE))
        self.assertEqual(report["versions"]["from"], {"version": "2.3.7", "assumed": False})
        self.assertEqual(pod.config.read_bytes(), before)
        return report["digest"]

    def test_the_plan_prints_the_report_and_writes_nothing(self):
        pod = self.pod()
        self.planned(pod)
        self.assertFalse((pod.root / "var/lib/containerd-registry-migrate").exists())

    def test_an_approved_digest_is_applied_once_and_containerd_restarted(self):
        pod = self.pod(binaries=daemon(self))
        digest = self.planned(pod)
        restarts = pod.restarts()
        with pod.of_overlay("apply", digests=f"{digest}\n"):
            report, ready = pod.report()
            self.assertEqual((report["outcome"], report["restarted"]), ("applied", True), report)
            self.assertTrue(ready)
            self.assertEqual(pod.restarts(), restarts + 2, "one by the node, one by the container")
        self.assertIn("config_path", pod.config.read_text())
        self.assertTrue((pod.root / "etc/containerd/certs.d/docker.io/hosts.toml").exists())
        # The pod is started again, as after a reboot: nothing to do.
        with pod.of_overlay("apply", digests=f"{digest}\n"):
            report, ready = pod.report()
            self.assertEqual(report["outcome"], "nothing", report)
            self.assertTrue(ready)
        # Someone rolled the node back: the same digest is not applied again.
        (pod.root / "etc/containerd/certs.d/docker.io/hosts.toml").unlink()
        pod.config.write_text(CONFIG)
        restarts = pod.restarts()
        with pod.of_overlay("apply", digests=f"{digest}\n"):
            self.assertFalse(pod.says("this plan was applied here before, with exit code 0"))
            self.assertEqual(pod.restarts(), restarts + 1, "that of the node")
        self.assertEqual(pod.config.read_text(), CONFIG)

    def test_a_digest_that_is_not_approved_is_not_applied(self):
        pod = self.pod(binaries=daemon(self))
        with pod.of_overlay("apply", digests="0" * 64 + "\n"):
            report, ready = pod.report()
            self.assertEqual(report["outcome"], "refused", report)
            self.assertFalse(ready)
            self.assertEqual(pod.restarts(), 1, "that of the node")
        self.assertEqual(pod.config.read_text(), CONFIG)

    def test_a_node_whose_containerd_does_not_come_up_is_as_it_was(self):
        pod = self.pod(binaries=daemon(self))
        digest = self.planned(pod)
        # CRI is well with the old file only.
        (pod.root / "bin-of-node/ctr").write_text("#!/bin/sh\ngrep -q mirrors /etc/containerd/config.toml && echo 'cri ok'\n")
        with pod.of_overlay("apply", digests=f"{digest}\n"):
            next(variable for variable in pod.container["env"] if variable["name"] == "HEALTH_TIMEOUT")["value"] = "3"
            report, ready = pod.report(seconds=150)
            self.assertEqual((report["outcome"], report["exit_code"]), ("failed", 4), report)
            self.assertFalse(ready)
        self.assertEqual(pod.config.read_text(), CONFIG)

    def test_a_node_without_a_known_version_is_left_alone(self):
        pod = self.pod()
        with pod.of_overlay("apply", digests="0" * 64 + "\n", versions="node-10=containerd://2.3.7\n"):
            self.assertFalse(pod.says(f"versions.txt has no containerd for the node {NODE}: run versions.sh again"))
        self.assertEqual(pod.config.read_text(), CONFIG)

    def test_the_upgrade_controller_checks_and_applies_in_the_root_of_the_node(self):
        pod = self.pod(binaries=daemon(self))
        digest = self.planned(pod)
        with pod.of_job("prepare", "0" * 64 + "\n"):
            self.assertEqual(pod.ended(), 0, pod.log())
        self.assertRegex(pod.log(), r"pulls? as 2\.3\.7 does")
        with pod.of_job("upgrade", "0" * 64 + "\n"):
            self.assertEqual(pod.ended(), 3, pod.log())
        self.assertEqual(pod.config.read_text(), CONFIG)
        restarts = pod.restarts()
        with pod.of_job("upgrade", f"{digest}\n"):
            self.assertEqual(pod.ended(), 0, pod.log())
        self.assertEqual(pod.restarts(), restarts + 2, "one by the node, one by the program")
        self.assertIn("config_path", pod.config.read_text())


if __name__ == "__main__":
    unittest.main(verbosity=2)
