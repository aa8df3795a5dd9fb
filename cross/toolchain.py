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


def check():
    """Checks what has to be here; the toolchain, of which `install` brings the rest."""
    _without_spaces(ROOT, "move the clone to a folder without")
    for program, mend in (("cargo", "install Rust by rustup"), ("rustc", "install Rust by rustup"),
                          ("git", "install the package git"), ("readelf", "install the package binutils")):
        if shutil.which(program) is None:
            raise Problem(f"{program} is missing: {mend}")
    work = Path(os.environ.get("KITELET_CACHE") or ROOT / "target/cross").absolute()
    for folder, name in ((work, "KITELET_CACHE"), (Path.home(), "HOME"), (cargo_home(), "CARGO_HOME")):
        _without_spaces(folder, f"name a folder without in {name}")
    try:
        work.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=work).close()
    except OSError as error:
        raise Problem(f"cannot write to {work}: {error.strerror}; name another folder in KITELET_CACHE") from error
    free = shutil.disk_usage(work).free
    if free < LEAST_FREE_BYTES:
        raise Problem(f"{work} has {free >> 20} MB free, and building needs {LEAST_FREE_BYTES >> 20}: make room, "
                      "or name a folder elsewhere in KITELET_CACHE")
    toolchain = _rust(work)
    _without_spaces(toolchain.sysroot, "name a folder without in RUSTUP_HOME")
    return toolchain


def prepare():
    """Both; the toolchain."""
    toolchain = check()
    install(toolchain)
    return toolchain


def install(toolchain):
    """What is missing, for one build at a time."""
    _standard_library(toolchain)
    _tools(toolchain)


def cargo_home():
    """Where cargo keeps the crates."""
    return Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo").absolute()


def _without_spaces(folder, mend):
    """RUSTFLAGS and CFLAGS are split at spaces."""
    if len(str(folder).split()) != 1:
        raise Problem(f"the compilers' options cannot name {str(folder)!r}, for its spaces: {mend}")


def _rust(work):
    pinned = re.search(r'channel = "([^"]*)"', (ROOT / "rust-toolchain.toml").read_text(encoding="utf-8"))[1]
    words = output("rustc", "--version", "--verbose")
    release, host = (found[1] if (found := re.search(rf"^{word}: (.*)$", words, re.M)) else None for word in ("release", "host"))
    if release is None or host is None:
        raise Problem(f"{shutil.which('rustc')} is no rustc: --version --verbose says {words[:80]!r}; install Rust by rustup")
    if release != pinned:
        raise Problem(f"rustc is {release}, and rust-toolchain.toml names {pinned}: rustup toolchain install {pinned}, "
                      "and see that RUSTUP_TOOLCHAIN is not set and rustup's cargo comes first in PATH")
    toolchain = Toolchain(release, Path(output("rustc", "--print", "sysroot")), host, work)
    if not toolchain.objcopy[0].exists():
        raise Problem(f"{toolchain.objcopy[0]} is missing: use the toolchain of rustup, which brings it")
    return toolchain


def _standard_library(toolchain):
    """Its source, which is compiled anew for each target."""
    place = toolchain.sysroot / "lib/rustlib/src/rust/library"
    if (place / "Cargo.lock").exists():
        return
    if place.exists():
        raise Problem(f"{place} is not whole: remove it, and start again")
    say(f"the toolchain lacks the source of its standard library; adding it there (outside target/): {place}")
    done = subprocess.run(["rustup", "component", "add", "rust-src", "--toolchain", toolchain.version],
                          capture_output=True, text=True, check=False) if shutil.which("rustup") else None
    if done is not None and done.returncode == 0 and (place / "Cargo.lock").exists():
        return
    say("rustup cannot fetch it; looking for Debian's package of the same version")
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(toolchain.host.split("-")[0], "amd64")
    tried, trouble = [], ""
    for suite in RUST_SRC_SUITES:
        try:
            with View(suite, architecture) as view:
                found = view.versions("rust-src")
                tried.append(f"{suite} has {', '.join(found) or 'none'}")
                fitting = next((one for one in found if re.split(r"[+~-]", one)[0] == toolchain.version), None)
                if fitting:
                    say(f"rust-src {fitting} of {suite}")
                    return _unpack(view.deb("rust-src", fitting), place)
        except PackageError as error:
            trouble = trouble or str(error)
            tried.append(f"{suite}: no answer")
    raise Problem(f"no source of the standard library {toolchain.version}: neither rustup nor Debian has it ("
                  + "; ".join([*tried, *([trouble] if trouble else [])])
                  + "): rustup component add rust-src with a network that reaches rustup's server")


def _unpack(package, place):
    """Takes the library out of Debian's package."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="partial-", dir=place.parent) as folder:
            output("dpkg-deb", "-x", package, folder)
            found = next(Path(folder).glob("usr/src/*/library/Cargo.lock"), None)
            if found is None:
                raise Problem(f"{package.name} has no library/Cargo.lock where it was once")
            found.parent.rename(place)
    except OSError as error:
        raise Problem(f"cannot put the source of the standard library into {place.parent}: {error.strerror}; "
                      "use a toolchain of rustup's that is yours") from error


def _tools(toolchain):
    """zig and cargo-zigbuild, pinned by version and content."""
    stamp = toolchain.work / "tools/requirements.txt"
    if stamp.exists() and stamp.read_bytes() == REQUIREMENTS.read_bytes() and _runs(toolchain.tools / "python-zig"):
        return
    say(f"zig and cargo-zigbuild into {stamp.parent}")
    # What another zig compiled is no part of what this one builds.
    shutil.rmtree(toolchain.work / "build", ignore_errors=True)
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


def _runs(program):
    """Whether it does; not after its folder was moved, or the Python below it."""
    try:
        output(program, "version")
    except Problem:
        return False
    return True
