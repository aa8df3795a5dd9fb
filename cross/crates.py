"""Which crates are in a binary: asked of cargo for one flavour and one target.

`cargo tree` says which there are, because it resolves features as a build does.
`cargo metadata` does not: it takes in what other members of the workspace and the
tests ask for, and would put the relay's crates into the agent's list. It only
tells what the crates say of themselves; checksums are those of Cargo.lock."""

import json
import re
import subprocess
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import recipe
from problem import Problem

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "kitelet"
# By what binary and archive are called.
FLAVOURS = {flavour.name: flavour for flavour in recipe.FLAVOURS}
# Of `{depth}{name} v{version} (proc-macro) (*)`, where the rest may be missing.
LINE = re.compile(r"(?P<depth>\d+)(?P<name>[A-Za-z0-9_-]+) v(?P<version>\S+)(?P<rest>.*)")


@dataclass
class Crate:
    """One crate of one version."""

    name: str
    version: str
    # As the crate says it, with SPDX's OR for the slash of old.
    licence: str
    repository: str
    authors: tuple
    # Where its sources are unpacked.
    folder: Path
    # SHA-256 of the crate's archive in hexadecimal; empty for our own.
    checksum: str
    # Whether code of it is in the binary; else it only helps to build it.
    linked: bool = True
    # Names and versions of what it needs, of both kinds.
    needs: set = field(default_factory=set)

    @property
    def key(self):
        """What tells it from all others."""
        return self.name, self.version


def cargo(*words):
    """What `cargo` answers, as text."""
    command = ["cargo", words[0], "--locked", *words[1:]]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError as error:
        raise Problem(f"cannot run cargo: {error.strerror}; install Rust by rustup") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        raise Problem(f"cargo {words[0]} failed: {lines[-1].strip()}")
    return done.stdout


def version():
    """The version that Cargo.toml of the workspace names."""
    with open(ROOT / "Cargo.toml", "rb") as file:
        return tomllib.load(file)["workspace"]["package"]["version"]


def checksums():
    """SHA-256 of each crate's archive by name and version, of Cargo.lock."""
    with open(ROOT / "Cargo.lock", "rb") as file:
        packages = tomllib.load(file)["package"]
    return {(package["name"], package["version"]): package.get("checksum", "") for package in packages}


def edges(flavour, triple, kinds):
    """What needs what, by name and version; the first one is ours."""
    answer = cargo("tree", "--package", PACKAGE, "--target", triple, "--edges", kinds, "--prefix", "depth",
                   "--charset", "ascii", *FLAVOURS[flavour].features)
    found, above = {}, []
    for line in answer.splitlines():
        # Headings such as [build-dependencies] are parted from the next by nothing.
        match = LINE.fullmatch(line.strip())
        if match is None:
            continue
        key, depth = (match["name"], match["version"]), int(match["depth"])
        found.setdefault(key, set())
        del above[depth:]
        if above:
            found[above[-1]].add(key)
        above.append(key)
    if not found:
        raise Problem("cargo tree answered nothing that can be read")
    return found


def crates(flavour, triple):
    """All crates of a flavour for a target by name and version, with those that
    only help to build it. Ours is the first; the others are sorted."""
    linked = edges(flavour, triple, "normal,no-proc-macro")
    needed = edges(flavour, triple, "normal,build")
    described = {(package["name"], package["version"]): package for package in
                 json.loads(cargo("metadata", "--format-version", "1", "--filter-platform", triple))["packages"]}
    sums, ours = checksums(), next(iter(linked))
    found = {}
    for key in [ours, *sorted(needed.keys() - {ours})]:
        package = described[key]
        found[key] = Crate(
            *key, licence=re.sub(r"\s*/\s*", " OR ", package["license"] or ""),
            repository=package["repository"] or "", authors=tuple(package["authors"]),
            folder=Path(package["manifest_path"]).parent, checksum=sums[key],
            linked=key in linked, needs=needed[key])
    for crate in found.values():
        if not crate.licence:
            raise Problem(f"{crate.name} {crate.version} names no licence; look what it is before it is passed on")
        if not crate.checksum and crate.key != ours:
            raise Problem(f"Cargo.lock has no checksum of {crate.name} {crate.version}; only crates of a registry "
                          "can be released")
    return found
