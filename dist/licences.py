#!/usr/bin/env python3
"""Prints the licences of every crate that the binary is made of, for one target.

    dist/licences.py MANIFEST TARGET > THIRD-PARTY-LICENSES

The crates are those that cargo-auditable lists in the binary: what `cargo metadata` resolves without dependencies of
builds and tests alone. Macros are among them, as what they generate is in the binary. The texts are the files that each
crate ships. A crate without such a file is an error: then someone has to look. cargo-about does more and compiles for
minutes.
"""

import json
import pathlib
import subprocess
import sys

RULE = "=" * 79


def crates(metadata):
    """The packages that the root's normal dependencies lead to, in the order of their names."""
    dependencies = {node["id"]: [dependency["pkg"] for dependency in node["deps"]
                                 if any(kind["kind"] is None for kind in dependency["dep_kinds"])]
                    for node in metadata["resolve"]["nodes"]}
    found, waiting = set(), list(dependencies[metadata["resolve"]["root"]])
    while waiting:
        crate = waiting.pop()
        if crate not in found:
            found.add(crate)
            waiting += dependencies[crate]
    return sorted((package for package in metadata["packages"] if package["id"] in found),
                  key=lambda package: (package["name"], package["version"]))


def texts(directory):
    """The licence files of a crate. Where MIT is one of the choices it is chosen: it has the copyright line."""
    beginnings = ("licen", "copying", "copyright", "notice", "unlicense")
    files = sorted(path for path in directory.iterdir() if path.is_file() and path.name.lower().startswith(beginnings))
    chosen = [path for path in files if "mit" in path.name.lower()] or files
    return [path.read_text(encoding="utf-8").strip() for path in chosen]


def main():
    manifest, target = sys.argv[1:]
    metadata = json.loads(subprocess.run(
        ("cargo", "metadata", "--locked", "--format-version", "1", "--manifest-path", manifest, "--filter-platform", target),
        check=True, stdout=subprocess.PIPE, text=True).stdout)

    lines_with = {}  # text -> lines that name the crates with it
    for package in crates(metadata):
        found = texts(pathlib.Path(package["manifest_path"]).parent)
        if not found:
            sys.exit(f"dist/licences.py: {package['name']} {package['version']} ships no licence file")
        line = f"{package['name']} {package['version']} ({package['license']})"
        for text in found:
            # Copies differ in line ends and indentation.
            lines_with.setdefault(" ".join(text.split()), (text, []))[1].append(line)

    print("""\
The binary is made of the crates below, each under the licence that follows its name; where a crate offers a choice
that includes MIT, this is MIT. It contains parts of Rust's standard library (MIT OR Apache-2.0; see
rust-standard-library.html) and of musl libc (MIT; Copyright 2005-2020 Rich Felker, et al.), too.""")
    for text, lines in lines_with.values():
        print(f"\n{RULE}\n" + "\n".join(lines) + f"\n{RULE}\n\n{text}")


main()
