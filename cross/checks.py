"""What must be true of a binary before it gets its name: that it needs nothing
of the device, fits its processor, gives nothing of the build machine away, says
what it is, and is within its budget."""

import gzip
import lzma
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

from problem import Problem

BUDGET = Path(__file__).resolve().parent / "budget"
# A program that prints its version is done at once, under an emulator as well.
VERSION_SECONDS = 60


def check(path, target, flavour, line, private):
    """All checks. `line` is what `--version` has to print, `private` are paths
    that may not occur."""
    content = path.read_bytes()
    check_machine(path, target)
    _check_elf(path, target)
    for folder in private:
        if f"{folder}/".encode() in content:
            raise Problem(f"{path} holds the path {folder} of this machine; see the remapping in cross/build")
    check_version(path, target, line, content)
    return sizes(content)


def sizes(content):
    """Bytes as they are, by gzip (an .ipk) and by xz (a squashfs)."""
    return len(content), len(gzip.compress(content, 9, mtime=0)), len(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME))


def _readelf(path, *options):
    try:
        done = subprocess.run(["readelf", *options, path], capture_output=True, text=True, check=False,
                              env={**os.environ, "LC_ALL": "C"})
    except OSError as error:
        raise Problem(f"cannot run readelf: {error.strerror}; install the package binutils") from error
    if done.returncode:
        raise Problem(f"readelf cannot read {path}: {done.stderr.strip()}")
    return done.stdout


def check_machine(path, target):
    """That it is an ELF program for the processor of the target."""
    header = _readelf(path, "-hW")
    if not re.search(rf"Machine:\s+{re.escape(target.machine)}\s*$", header, re.M):
        raise Problem(f"{path} is not for {target.machine}")
    if f"{target.order} endian" not in header:
        raise Problem(f"{path} is not {target.order} endian")


def _check_elf(path, target):
    segments, attributes = _readelf(path, "-lW"), _readelf(path, "-A")
    if re.search(r"^\s*(INTERP|DYNAMIC)\b", segments, re.M):
        raise Problem(f"{path} is not static")
    if re.search(r"^\s*GNU_STACK\s.*\bRWE\b", segments, re.M) or "GNU_STACK" not in segments:
        raise Problem(f"{path} has an executable stack")
    for word in target.attributes:
        if not re.search(rf"{re.escape(word)}\s*$", attributes, re.M):
            raise Problem(f"{path}: readelf -A does not say {word!r}, which {target.name} devices need")
    for word in target.no_attributes:
        if word in attributes:
            raise Problem(f"{path}: readelf -A says {word!r}, which not all {target.name} devices have")


def emulator(target):
    """The words before a program of that target: none where this machine runs
    it, qemu-user where that is installed, None where nothing does."""
    if target.name == platform.machine():
        return []
    qemu = shutil.which(f"qemu-{target.qemu}-static") or shutil.which(f"qemu-{target.qemu}")
    return [qemu] if qemu else None


def version_line(version, target, flavour, commit):
    """What `--version` of a binary of cross/build prints. `commit` has 12 digits,
    and `-dirty` behind them where the sources were not committed."""
    only = ", agent only" if flavour.is_small else ""
    return f"kitelet {version} ({target.triple}{only}, commit {commit})"


def said_version(path, target):
    """What `--version` prints; None where nothing here runs the program."""
    words = emulator(target)
    if words is None:
        return None
    try:
        done = subprocess.run([*words, path, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="replace", timeout=VERSION_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Problem(f"{path} does not run: {error}") from error
    if done.returncode:
        raise Problem(f"{path} --version ends with {done.returncode}")
    return done.stdout.strip()


def check_version(path, target, line, content):
    """That `--version` prints that line. Says whether the program could be run;
    if not, the line is in it at least."""
    if line.encode() not in content:
        raise Problem(f"{path} does not hold {line!r}")
    said = said_version(path, target)
    if said not in (None, line):
        raise Problem(f"{path} --version says {said!r}, not {line!r}")
    return said is not None


def budget():
    """The largest size and gzip size of each binary, by flavour's word and target."""
    found = {}
    for line in BUDGET.read_text(encoding="utf-8").splitlines():
        words = line.split("#")[0].split()
        if words:
            word, target, largest, largest_gzip = words
            found[word, target] = (int(largest), int(largest_gzip))
    return found


def check_budget(target, flavour, measured):
    """That the binary is no larger than its budget allows."""
    limits = budget().get((flavour.word, target.name))
    if limits is None:
        raise Problem(f"cross/budget has no line for {flavour.word} {target.name}; it has {measured[0]:,} bytes, "
                      f"{measured[1]:,} by gzip")
    for what, size, limit in zip(("bytes", "bytes by gzip"), measured, limits):
        if size > limit:
            raise Problem(f"{target.name} {flavour.word} has {size:,} {what}, {size - limit:,} more than cross/budget allows: "
                          "make it smaller, or raise the line there and say why in the commit")
