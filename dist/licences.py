#!/usr/bin/env python3
"""Prints the licences of every crate that the binary is made of, for one target.

    dist/licences.py MANIFEST TARGET > THIRD-PARTY-LICENSES

The crates are those of `cargo tree` without build scripts; macros are among them, as what they generate is in the
binary. The texts are the files that each crate ships. A crate without such a file is an error: then someone has to
look. cargo-about does more and compiles for minutes.
"""

import pathlib
import subprocess
import sys
import json

RULE = "=" * 79


def cargo(*arguments):
    return subprocess.run(("cargo", *arguments), check=True, stdout=subprocess.PIPE, text=True).stdout


def ingredients(manifest, target):
    """Name and version of each crate."""
    tree = cargo("tree", "--locked", "--manifest-path", manifest, "--target", target,
                 "--edges", "normal", "--prefix", "none", "--format", "{p}")
    return sorted({tuple(line.split()[:2]) for line in tree.splitlines() if line})


def texts(directory):
    """The licence files of a crate. Where MIT is one of the choices it is chosen: it has the copyright line."""
    beginnings = ("licen", "copying", "copyright", "notice", "unlicense")
    files = sorted(path for path in directory.iterdir() if path.is_file() and path.name.lower().startswith(beginnings))
    chosen = [path for path in files if "mit" in path.name.lower()] or files
    return [path.read_text(encoding="utf-8").strip() for path in chosen]


def main():
    manifest, target = sys.argv[1:]
    metadata = json.loads(cargo("metadata", "--locked", "--format-version", "1", "--manifest-path", manifest,
                                "--filter-platform", target))
    packages = {(package["name"], "v" + package["version"]): package for package in metadata["packages"]}
    root = metadata["resolve"]["root"]

    crates_with = {}  # text -> crates, in the order of their names
    for key in ingredients(manifest, target):
        package = packages[key]
        if package["id"] == root:
            continue
        found = texts(pathlib.Path(package["manifest_path"]).parent)
        if not found:
            sys.exit(f"dist/licences.py: {' '.join(key)} ships no licence file")
        line = f"{key[0]} {package['version']} ({package['license']})"
        for text in found:
            # Copies differ in line ends and indentation.
            crates_with.setdefault(" ".join(text.split()), (text, []))[1].append(line)

    print("""\
The binary is made of the crates below, each under the licence that follows its name; where a crate offers a choice
that includes MIT, this is MIT. It contains parts of Rust's standard library (MIT OR Apache-2.0; see
rust-standard-library.html) and of musl libc (MIT; Copyright 2005-2020 Rich Felker, et al.), too.""")
    for text, lines in crates_with.values():
        print(f"\n{RULE}\n" + "\n".join(lines) + f"\n{RULE}\n\n{text}")


main()
