"""What building for other machines needs: checks that it is here, and installs
what can be installed, below target/ with one announced exception."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from packages import PackageError, View
from problem import Problem

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / "cross/requirements.txt"
# Where Debian may have the source of the standard library, the likeliest first.
RUST_SRC_SUITES = ("trixie-backports", "trixie", "forky", "sid")
# What a build of one binary writes, and the least that is left for it.
LEAST_FREE_BYTES = 3 << 30


@dataclass(frozen=True)
class Toolchain:
    """What was found."""

    version: str
    sysroot: Path
    host: str
    # Everything that is kept between builds: target/cross, or $KITELET_CACHE.
    work: Path

    @property
    def tools(self):
        """The folder of zig and cargo-zigbuild."""
        return self.work / "tools/bin"

    @property
    def objcopy(self):
        """rustc's own, which knows every target: the command and its environment."""
        program = self.sysroot / "lib/rustlib" / self.host / "bin/rust-objcopy"
        return program, {"LD_LIBRARY_PATH": str(self.sysroot / "lib")}


def say(text):
    """One line of what is being done."""
    # In one piece, since several builds talk at once.
    sys.stdout.write(f"cross/build: {text}\n")
    sys.stdout.flush()


def output(*command, cwd=ROOT):
    """What a program prints; in words what keeps it from that."""
    try:
        done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False)
    except OSError as error:
        raise Problem(f"cannot run {command[0]}: {error.strerror}") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise Problem(f"{' '.join(map(str, command))} failed: {last}")
    return done.stdout.strip()


def prepare():
    """Checks and installs; the toolchain."""
    if " " in str(ROOT):
        raise Problem(f"the compilers' options cannot name {ROOT}; move the clone to a folder without spaces")
    for program, mend in (("cargo", "install Rust by rustup"), ("rustc", "install Rust by rustup"),
                          ("git", "install the package git"), ("readelf", "install the package binutils")):
        if shutil.which(program) is None:
            raise Problem(f"{program} is missing: {mend}")
    work = Path(os.environ.get("KITELET_CACHE") or ROOT / "target/cross")
    work.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(work).free
    if free < LEAST_FREE_BYTES:
        raise Problem(f"{work} has {free >> 20} MB free, and building needs {LEAST_FREE_BYTES >> 20}: make room, "
                      "or name a folder elsewhere in KITELET_CACHE")
    toolchain = _rust(work)
    _standard_library(toolchain)
    _tools(toolchain)
    return toolchain


def _rust(work):
    pinned = re.search(r'channel = "([^"]*)"', (ROOT / "rust-toolchain.toml").read_text(encoding="utf-8"))[1]
    words = output("rustc", "--version", "--verbose")
    release = re.search(r"^release: (.*)$", words, re.M)[1]
    if release != pinned:
        raise Problem(f"rustc is {release}, and rust-toolchain.toml names {pinned}: rustup toolchain install {pinned}, "
                      "and see that RUSTUP_TOOLCHAIN is not set and rustup's cargo comes first in PATH")
    host = re.search(r"^host: (.*)$", words, re.M)[1]
    toolchain = Toolchain(release, Path(output("rustc", "--print", "sysroot")), host, work)
    if not toolchain.objcopy[0].exists():
        raise Problem(f"{toolchain.objcopy[0]} is missing: use the toolchain of rustup, which brings it")
    return toolchain


def _standard_library(toolchain):
    """Its source, which is compiled anew for each target."""
    place = toolchain.sysroot / "lib/rustlib/src/rust/library"
    if (place / "Cargo.lock").exists():
        return
    say(f"the toolchain lacks the source of its standard library; adding it there (outside target/): {place}")
    done = subprocess.run(["rustup", "component", "add", "rust-src", "--toolchain", toolchain.version],
                          capture_output=True, text=True, check=False) if shutil.which("rustup") else None
    if done is not None and done.returncode == 0 and (place / "Cargo.lock").exists():
        return
    say("rustup cannot fetch it; looking for Debian's package of the same version")
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(toolchain.host.split("-")[0], "amd64")
    tried = []
    for suite in RUST_SRC_SUITES:
        try:
            with View(suite, architecture) as view:
                found = view.newest("rust-src")
                tried.append(f"{suite} has {found}")
                if found and re.split(r"[+~-]", found)[0] == toolchain.version:
                    say(f"rust-src {found} of {suite}")
                    return _unpack(view.deb("rust-src"), place)
        except PackageError as error:
            tried.append(str(error))
    raise Problem(f"no source of the standard library {toolchain.version}: neither rustup nor Debian has it "
                  f"({'; '.join(tried)}); rustup component add rust-src with a network that reaches rustup's server")


def _unpack(package, place):
    """Takes the library out of Debian's package."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="partial-", dir=place.parent) as folder:
        output("dpkg-deb", "-x", package, folder)
        (found,) = [path.parent for path in Path(folder).glob("usr/src/*/library/Cargo.lock")] or [None]
        if found is None:
            raise Problem(f"{package.name} has no library/Cargo.lock where it was once")
        found.rename(place)


def _tools(toolchain):
    """zig and cargo-zigbuild, pinned by version and content."""
    stamp = toolchain.work / "tools/requirements.txt"
    if stamp.exists() and stamp.read_bytes() == REQUIREMENTS.read_bytes():
        return
    say(f"zig and cargo-zigbuild into {stamp.parent}")
    shutil.rmtree(stamp.parent, ignore_errors=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", stamp.parent], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Problem("cannot make a virtual environment of Python: install the package python3-venv") from error
    done = subprocess.run([toolchain.tools / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                           "--require-hashes", "--only-binary=:all:", "-r", REQUIREMENTS],
                          capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["pip says nothing"])[-1]
        raise Problem(f"pip cannot install cross/requirements.txt ({last}); is PyPI reachable, by pip's configuration?")
    stamp.write_bytes(REQUIREMENTS.read_bytes())
