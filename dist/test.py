#!/usr/bin/env python3
"""Tests what dist/build.sh made, as an operator gets it:  dist/test.py [DIRECTORY] [-k NAME]

dist/test.sh installs what this needs (root, Debian) and runs it. Every test installs or unpacks into directories of its
own below a temporary directory; nothing is installed into this machine.
"""

import contextlib
import filecmp
import hashlib
import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import unittest
import zlib

PROJECT = pathlib.Path(__file__).resolve().parent.parent
MANIFEST = tomllib.loads((PROJECT / "Cargo.toml").read_text())
NAME, VERSION = MANIFEST["package"]["name"], MANIFEST["package"]["version"]
TARGETS = {"x86_64": "amd64", "aarch64": "arm64"}
STATE = pathlib.Path("var/lib", NAME)
PACKAGES = PROJECT / "target/packages"
SCRATCH = pathlib.Path(tempfile.mkdtemp(prefix="packages-"))
ENVIRONMENT = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "NO_COLOR": "1"}

# The node where any will do, and a file that its migration creates.
NODE = "mirrors/private-http-registry"
HOSTS_FILE = "etc/containerd/certs.d/192.168.0.4:5500/hosts.toml"


def run(*command, code=0, **options):
    """Runs a command to its end with the expected exit code; the result is its stdout."""
    ran = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, text=True, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, env=options.pop("env", ENVIRONMENT), **options)
    if ran.returncode != code:
        raise AssertionError(f"{command}\nends with {ran.returncode}, not {code}\n{ran.stdout}{ran.stderr}")
    return ran.stdout


def archive(machine):
    return PACKAGES / f"{NAME}-{VERSION}-{machine}-unknown-linux-musl.tar.gz"


def deb(machine):
    return PACKAGES / f"{NAME}_{VERSION}-1_{TARGETS[machine]}.deb"


def rpm(machine):
    return PACKAGES / f"{NAME}-{VERSION}-1.{machine}.rpm"


def scratch(name):
    """A new directory."""
    return pathlib.Path(tempfile.mkdtemp(prefix=f"{name}-", dir=SCRATCH))


def unpacked(machine):
    """The directory in the archive, unpacked once."""
    place = SCRATCH / machine
    if not place.exists():
        with tarfile.open(archive(machine)) as tar:
            tar.extractall(place, filter="fully_trusted")
    return place / f"{NAME}-{VERSION}-{machine}-unknown-linux-musl"


def emulator(machine):
    """What runs a binary of that machine here."""
    return [] if machine == os.uname().machine else [shutil.which(f"qemu-{machine}-static")]


def tree(root):
    """What is below a directory, but for the journals."""
    found = {}
    for directory, _, files in os.walk(root):
        for path in (pathlib.Path(directory, file) for file in files):
            place = path.relative_to(root)
            if STATE not in place.parents:
                found[str(place)] = os.readlink(path) if path.is_symlink() else path.read_bytes()
    return found


def fixture(name):
    """The directory of a node, and its first run that migrates it, as case.toml has it; none if there is none."""
    path = PROJECT / "fixtures" / name
    case = tomllib.loads((path / "case.toml").read_text())
    return path, next((one for one in case.get("run", [case]) if one["exit"] == 1), None)


def some_of_each_topic(number):
    """The names of some fixtures that are migrated, of each topic."""
    names = []
    for topic in sorted((PROJECT / "fixtures").iterdir()):
        nodes = (f"{topic.name}/{node.name}" for node in sorted(topic.iterdir()))
        names += [name for name in nodes if fixture(name)[1]][:number]
    return names


def copy_node(name, to):
    shutil.copytree(fixture(name)[0] / "node", to, symlinks=True, dirs_exist_ok=True)


def migrate_and_return(test, name, program, root, seen_as="/"):
    """Plan, apply and rollback of a fixture in a copy at `root`; `program` runs there and sees it as `seen_as`."""
    path, case = fixture(name)
    options = ["--root", seen_as, *case["args"]]
    report = json.loads(run(*program, "plan", "--format", "json", *options, code=1))
    test.assertEqual(tree(root), tree(path / "node"), f"{name}: plan writes nothing")
    run(*program, "apply", "--expect", report["digest"], *options)
    test.assertEqual(tree(root), tree(path / case.get("after", "after")), f"{name}: apply")
    test.assertTrue(any((root / STATE).iterdir()), f"{name}: there is a journal")
    run(*program, "rollback", "--yes", *options)
    test.assertEqual(tree(root), tree(path / "node"), f"{name}: rollback")
    return report


class Elf:
    """The sections of a 64-bit little-endian ELF file."""

    def __init__(self, path):
        self.bytes = path.read_bytes()
        assert self.bytes[:6] == b"\x7fELF\x02\x01", path
        self.machine = struct.unpack_from("<H", self.bytes, 18)[0]
        offset, = struct.unpack_from("<Q", self.bytes, 40)
        size, number, names = struct.unpack_from("<HHH", self.bytes, 58)
        headers = [struct.unpack_from("<IIQQQQ", self.bytes, offset + size * i) for i in range(number)]
        text = self.bytes[headers[names][4]:]
        self.sections = {text[h[0]:text.index(b"\0", h[0])].decode(): self.bytes[h[4]:h[4] + h[5]] for h in headers}


class Files(unittest.TestCase):
    def test_the_checksums_are_those_of_all_files_and_can_be_signed(self):
        sums = dict(reversed(line.split("  ")) for line in (PACKAGES / "SHA256SUMS").read_text().splitlines())
        files = {path.name for path in PACKAGES.iterdir()} - {"SHA256SUMS"}
        self.assertEqual(set(sums), files)
        self.assertEqual(len(files), 2 * 4 + 1)
        for name, digest in sums.items():
            self.assertEqual(hashlib.sha256((PACKAGES / name).read_bytes()).hexdigest(), digest, name)
        home = scratch("gnupg")
        home.chmod(0o700)
        shutil.copy(PACKAGES / "SHA256SUMS", home)
        gpg = ["gpg", "--homedir", home, "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
        run(*gpg, "--quick-generate-key", "release@example.invalid", cwd=home)
        run(*gpg, "--armor", "--detach-sign", "SHA256SUMS", cwd=home)
        run(*gpg, "--verify", "SHA256SUMS.asc", "SHA256SUMS", cwd=home)
        run("gpgconf", "--homedir", home, "--kill", "all")

    def test_a_binary_is_static_small_and_names_no_place_of_the_builder(self):
        for machine, number in ("x86_64", 62), ("aarch64", 183):
            path = unpacked(machine) / NAME
            elf = Elf(path)
            self.assertEqual(elf.machine, number)
            self.assertNotIn(".interp", elf.sections, "no dynamic linker")
            self.assertLessEqual(len(elf.bytes), 4_000_000)
            places = [os.path.expanduser("~"), str(PROJECT), "/registry/src/", ".cargo", "/tmp/"]
            for place in places:
                self.assertIsNone(re.search(rb"[\w./-]*" + re.escape(place.encode()) + rb"[\w./-]{3,}", elf.bytes), place)

    def test_the_binary_and_the_sbom_name_the_same_crates(self):
        lock = tomllib.loads((PROJECT / "Cargo.lock").read_text())
        for machine in TARGETS:
            audit = json.loads(zlib.decompress(Elf(unpacked(machine) / NAME).sections[".dep-v0"]))
            linked = {(p["name"], p["version"]) for p in audit["packages"] if p.get("kind") != "build" and not p.get("root")}
            self.assertLessEqual(linked, {(p["name"], p["version"]) for p in lock["package"]})
            text = (PACKAGES / f"{NAME}-{VERSION}-{machine}-unknown-linux-musl.cdx.json").read_text()
            self.assertNotIn("file:///", text)
            sbom = json.loads(text)
            self.assertEqual((sbom["bomFormat"], sbom["metadata"]["component"]["version"]), ("CycloneDX", VERSION))
            self.assertLessEqual(linked, {(c["name"], c["version"]) for c in sbom["components"]})
            licences = (unpacked(machine) / "THIRD-PARTY-LICENSES").read_text()
            named = {tuple(found) for found in re.findall(r"^([\w-]+) (\d\S*) \(.*\)$", licences, re.MULTILINE)}
            self.assertLessEqual(linked, named, "each has its licence")

    def test_an_archive_has_all_that_a_package_has(self):
        for machine in TARGETS:
            folder = unpacked(machine)
            names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
            self.assertLessEqual({NAME, "LICENSE", "THIRD-PARTY-LICENSES", "README.md", "CHANGELOG.md", f"man/{NAME}.8",
                                  f"man/{NAME}-rollback.8", f"completions/{NAME}.bash"}, names)
            with tarfile.open(archive(machine)) as tar:
                for member in tar:
                    self.assertEqual((member.uid, member.gid, member.mode & 0o022), (0, 0, 0), member.name)
            packed = scratch("deb")
            run("dpkg-deb", "--extract", deb(machine), packed)
            self.assertTrue(filecmp.cmp(packed / "usr/bin" / NAME, folder / NAME, shallow=False))
            documents = {name for name in names if not name.startswith(("man/", "completions/")) and name != NAME}
            self.assertEqual(set(tree(packed / "usr/share/doc" / NAME)),
                             documents | {"changelog.gz", "copyright"})

    def test_the_links_of_documents_lead_to_files_that_are_packed_with_them(self):
        packed = scratch("documents")
        run("dpkg-deb", "--extract", deb("x86_64"), packed)
        for folder in unpacked("x86_64"), packed / "usr/share/doc" / NAME:
            for document in (path.relative_to(folder) for path in folder.rglob("*.md")):
                for target in re.findall(r"\]\(([^):#]+)[)#]", (folder / document).read_text()):
                    target = os.path.normpath(document.parent / target)
                    self.assertTrue((folder / target).exists(), f"{folder}: {document} leads to {target}")

    def test_what_deploys_it_is_that_of_the_repository_without_its_tests(self):
        for part in "ansible", "kubernetes":
            here, packed = PROJECT / "deploy" / part, unpacked("x86_64") / "deploy" / part
            wanted = {path.relative_to(here) for path in here.rglob("*")
                      if path.is_file() and not {"tests", "__pycache__"} & set(path.relative_to(here).parts)}
            self.assertEqual({path.relative_to(packed) for path in packed.rglob("*") if path.is_file()}, wanted)
            for path in wanted:
                self.assertEqual((packed / path).read_bytes(), (here / path).read_bytes(), path)

    def test_the_packages_of_the_readme_are_those_that_there_are(self):
        for name in "README.md", "README.zh-CN.md":
            named = set(re.findall(rf"{NAME}[-_]{re.escape(VERSION)}[\w.-]*\.(?:deb|rpm|tar\.gz|tar)", (PROJECT / name).read_text()))
            self.assertEqual(len(named), 4, f"{name}: {named}")
            self.assertLessEqual(named, {path.name for path in PACKAGES.iterdir()}, name)

    def test_the_archive_command_of_the_readme_installs_the_program(self):
        for name in "README.md", "README.zh-CN.md":
            command = re.search(r"^tar .*?(?=  # )", (PROJECT / name).read_text(), re.M)[0]
            with tempfile.TemporaryDirectory() as folder:
                command = command.replace("/usr/local/bin", folder).split()
                subprocess.run(command, cwd=PACKAGES, check=True)
                self.assertEqual(os.listdir(folder), [NAME], name)
                self.assertEqual((pathlib.Path(folder) / NAME).read_bytes(), (unpacked("x86_64") / NAME).read_bytes(), name)

    def test_the_manual_pages_are_well_formed(self):
        for page in sorted((unpacked("x86_64") / "man").iterdir()):
            run("mandoc", "-T", "lint", "-W", "error", page)
            text = run("man", "--warnings", "--encoding=UTF-8", "--local-file", page)
            self.assertIn("SYNOPSIS", text)

    def test_binstall_finds_the_binary_in_the_archive(self):
        metadata, package = MANIFEST["package"]["metadata"]["binstall"], MANIFEST["package"]
        for machine in TARGETS:
            values = {"repo": package["repository"], "name": NAME, "version": VERSION, "bin": NAME, "binary-ext": "",
                      "target": f"{machine}-unknown-linux-musl"}

            def expanded(template):
                return re.sub(r"\{ ([\w-]+) \}", lambda found: values[found[1]], template)

            url = expanded(metadata["pkg-url"])
            self.assertEqual(url.rsplit("/", 1)[1], archive(machine).name)
            with tarfile.open(archive(machine)) as tar:
                self.assertTrue(tar.getmember(expanded(metadata["bin-dir"])).mode & 0o111)


class Roots(unittest.TestCase):
    """The program in root file systems that are not this machine's."""

    def test_it_runs_in_a_root_that_has_nothing_else(self):
        root = scratch("empty")
        shutil.copy(unpacked("x86_64") / NAME, root)
        copy_node(NODE, root / "node")
        migrate_and_return(self, NODE, ["chroot", root, f"/{NAME}"], root / "node", "/node")

    def test_both_architectures_say_and_write_the_same(self):
        for name in some_of_each_topic(2):
            reports = []
            for machine in TARGETS:
                node = scratch("node") / "node"
                copy_node(name, node)
                report = migrate_and_return(self, name, [*emulator(machine), unpacked(machine) / NAME], node, str(node))
                reports.append(json.dumps(report).replace(str(node), "/node"))
            self.assertEqual(*reports, name)

    def test_the_deb_is_installed_runs_and_leaves_the_journals(self):
        for machine in TARGETS:
            root = scratch(f"dpkg-{machine}")
            for place in "updates", "info":
                (root / "var/lib/dpkg" / place).mkdir(parents=True)
            (root / "var/lib/dpkg/status").touch()
            dpkg = ["dpkg", f"--root={root}", f"--log={root}/dpkg.log", "--force-not-root"]
            if TARGETS[machine] != run("dpkg", "--print-architecture").strip():
                run(*dpkg, "--add-architecture", TARGETS[machine])
            run(*dpkg, "--install", deb(machine))
            self.assertIn("install ok installed", run(*dpkg, "--status", f"{NAME}:{TARGETS[machine]}"))
            self.life_of_a_package(machine, root)
            run(*dpkg, "--purge", f"{NAME}:{TARGETS[machine]}")
            self.removed(root)

    def test_the_rpm_is_installed_runs_and_leaves_the_journals(self):
        for machine in TARGETS:
            root = scratch(f"rpm-{machine}")
            rpm_root = ["rpm", "--root", root, "--dbpath", "/var/lib/rpm"]
            run(*rpm_root, "--initdb")
            run(*rpm_root, "--ignorearch", "--install", rpm(machine))
            self.assertEqual(run(*rpm_root, "--query", NAME).strip(), f"{NAME}-{VERSION}-1.{machine}")
            self.assertEqual(run(*rpm_root, "--verify", NAME), "", "the files are as packaged")
            self.assertEqual(run(*rpm_root, "--query", "--requires", NAME).replace("rpmlib", "\nrpmlib").count("\nrpmlib"),
                             len(run(*rpm_root, "--query", "--requires", NAME).splitlines()), "only rpm itself is needed")
            self.life_of_a_package(machine, root)
            run(*rpm_root, "--erase", NAME)
            self.removed(root)

    def life_of_a_package(self, machine, root):
        program = root / "usr/bin" / NAME
        self.assertEqual(program.stat().st_mode & 0o7777, 0o755)
        self.assertTrue((root / f"usr/share/man/man8/{NAME}.8.gz").exists())
        self.assertTrue((root / f"usr/share/bash-completion/completions/{NAME}").exists())
        self.assertTrue((root / f"usr/share/doc/{NAME}/THIRD-PARTY-LICENSES").exists())
        copy_node(NODE, root)
        runs = [*emulator(machine), program]
        self.assertEqual(run(*runs, "--version").split(), [NAME, VERSION])
        options = ["--root", root, *fixture(NODE)[1]["args"]]
        run(*runs, "apply", "--yes", *options)
        self.journal = tree(root / STATE)
        self.assertTrue(self.journal)

    def removed(self, root):
        for path in "usr/bin", f"usr/share/doc/{NAME}", "usr/share/man":
            self.assertEqual([p for p in (root / path).rglob("*") if p.is_file()], [], path)
        self.assertEqual(tree(root / STATE), self.journal)
        self.assertIn(HOSTS_FILE, tree(root))

    def test_it_runs_on_the_oldest_debian(self):
        root = SCRATCH / "oldest"
        suite = oldest_debian(root)
        shutil.copy(deb("x86_64"), root / "package.deb")
        run("chroot", root, "dpkg", "--install", "/package.deb")
        node = root / "node"
        copy_node(NODE, node)
        migrate_and_return(self, NODE, ["chroot", root, NAME], node, "/node")
        run("chroot", root, "dpkg", "--purge", NAME)
        print(f"oldest Debian: {suite}, kernel of this machine, libc "
              + run("chroot", root, "dpkg-query", "--show", "--showformat=${Version}", "libc6"), file=sys.stderr)


def oldest_debian(root):
    """A minimal system of the oldest suite that the archive of this machine's apt sources has; its name."""
    uri = run("sh", "-c", "apt-get indextargets --format '$(REPO_URI) $(COMPONENT)' 'Created-By: Packages' | "
              "sed -n 's/ main$//p' | head -n 1").strip()
    failed = []
    for suite in "jessie", "stretch", "buster", "bullseye", "bookworm":
        made = subprocess.run(["debootstrap", "--variant=minbase", suite, root, uri], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if made.returncode == 0:
            return suite
        failed.append(f"{suite}: {made.stdout.strip().splitlines()[-1]}")
        shutil.rmtree(root, ignore_errors=True)
    raise AssertionError("\n".join(failed))


class Image(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.layout = SCRATCH / "layout"
        with tarfile.open(PACKAGES / f"{NAME}-{VERSION}-oci.tar") as tar:
            tar.extractall(cls.layout, filter="fully_trusted")

    def unpacked(self, machine):
        """The bundle of an architecture, made by programs that had no part in the image."""
        architecture = TARGETS[machine]
        place = SCRATCH / f"bundle-{architecture}"
        if not place.exists():
            single = f"{SCRATCH}/image-{architecture}:{VERSION}"
            run("skopeo", "copy", "--override-os=linux", f"--override-arch={architecture}",
                f"oci:{self.layout}:{VERSION}", f"oci:{single}")
            run("umoci", "unpack", "--image", single, place)
        return place

    def test_the_image_is_one_name_for_two_architectures(self):
        index = json.loads((self.layout / "index.json").read_text())
        self.assertEqual([m["annotations"]["org.opencontainers.image.ref.name"] for m in index["manifests"]], [VERSION])
        listed = json.loads(run("skopeo", "inspect", "--raw", f"oci:{self.layout}:{VERSION}"))
        self.assertEqual([m["platform"]["architecture"] for m in listed["manifests"]], ["amd64", "arm64"])
        for machine, architecture in TARGETS.items():
            config = json.loads((self.unpacked(machine) / "config.json").read_text())
            self.assertEqual(config["process"]["args"], [f"/usr/bin/{NAME}", "plan", "--root", "/host"])
            self.assertTrue(filecmp.cmp(self.unpacked(machine) / "rootfs/usr/bin" / NAME, unpacked(machine) / NAME, shallow=False))

    def test_it_migrates_the_host_that_is_mounted_at_host(self):
        for machine in TARGETS:
            rootfs = self.unpacked(machine) / "rootfs"
            program = ["chroot", rootfs, f"/usr/bin/{NAME}"]
            if emulator(machine):
                shutil.copy(*emulator(machine), rootfs / "emulator")
                program = ["chroot", rootfs, "/emulator", f"/usr/bin/{NAME}"]
            with self.host(rootfs):
                migrate_and_return(self, NODE, program, rootfs / "host", "/host")

    @contextlib.contextmanager
    def host(self, rootfs):
        copy_node(NODE, rootfs / "host")
        try:
            yield
        finally:
            shutil.rmtree(rootfs / "host")
            (rootfs / "host").mkdir()

    def test_its_restart_command_enters_the_host(self):
        rootfs = self.unpacked("x86_64") / "rootfs"
        for place in "proc", "dev":
            (rootfs / place).mkdir(exist_ok=True)
        restarted = scratch("host") / "restarted"
        enter = "nsenter --target 1 --mount --"
        # Process 1 of the host is a shell in a PID namespace of its own: the machine's may be closed to a sandbox.
        host = 'mount -t proc proc /proc; unshare --mount sh -c "$@"; exit $?'
        # As a privileged container with hostPID: its own mounts, /proc and /dev, and the host's process 1.
        container = ('mount -t proc proc "$1/proc" && mount --rbind /dev "$1/dev" && cd "$1" && shift && '
                     f'exec chroot . /usr/bin/{NAME} "$@"')
        with self.host(rootfs):
            self.assertFalse((rootfs / "host" / restarted.relative_to("/")).exists())
            run("unshare", "--pid", "--fork", "--kill-child", "--mount", "sh", "-c", host, "sh", container, "sh", rootfs,
                "apply", "--root", "/host", "--yes", "--restart", "--restart-command", f"{enter} touch {restarted}",
                "--health-command", f"{enter} test -d {restarted.parent}", *fixture(NODE)[1]["args"])
            self.assertTrue(restarted.exists())
            self.assertIn(HOSTS_FILE, tree(rootfs / "host"))

    def test_its_shell_has_what_it_links_to(self):
        for machine in TARGETS:
            rootfs = self.unpacked(machine) / "rootfs"
            links = [path.name for path in (rootfs / "bin").iterdir() if path.is_symlink()]
            listed = run(*emulator(machine), rootfs / "bin/busybox", "--list").split()
            self.assertIn("nsenter", links)
            self.assertLessEqual(set(links), set(listed))
            self.assertTrue((rootfs / "usr/share/doc/busybox-static/copyright").read_text())


class Closing(unittest.TextTestResult):
    """unittest's own result, which ends with the one line that says how many passed."""

    def printErrors(self):
        super().printErrors()
        failed = len(self.failures) + len(self.errors)
        print(f"packages: {self.testsRun - failed} passed, {failed} failed", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        PACKAGES = pathlib.Path(sys.argv.pop(1)).resolve()
    try:
        unittest.main(verbosity=2, testRunner=unittest.TextTestRunner(verbosity=2, resultclass=Closing))
    finally:
        shutil.rmtree(SCRATCH, ignore_errors=True)
