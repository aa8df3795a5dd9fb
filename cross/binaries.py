"""The binaries that `cross/build all` left, and whether they are what is to be
released: for the device family of their folder, of this version, of this commit."""

import os
import platform
import re
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

from problem import Problem
from targets import TARGETS

# e_machine of ELF (elf.h) by readelf's words in the table of targets.
MACHINES = {"AArch64": 183, "ARM": 40, "MIPS R3000": 8, "RISC-V": 243, "Advanced Micro Devices X86-64": 62}
# ELF's class and byte order: 64 bits, and the most significant byte first.
WIDE = ("aarch64", "riscv64", "x86_64")
BIG_ENDIAN = ("mips",)
# A program that prints its version is done at once, under an emulator as well.
VERSION_SECONDS = 60


def collect(folder, flavours):
    """All binaries by flavour and target, as bytes. All that are missing are told
    at once."""
    found, missing = {}, []
    for flavour in flavours:
        for target in TARGETS:
            path = folder / target.triple / flavour
            try:
                found[flavour, target] = path.read_bytes()
            except FileNotFoundError:
                missing.append(f"{target.triple}/{flavour}")
    if missing:
        some = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise Problem(f"{folder} lacks {some}; run cross/build all")
    for (flavour, target), content in found.items():
        check_machine(folder / target.triple / flavour, target, content)
    return found


def check_machine(path, target, content):
    """That it is an ELF program for the processor of the target."""
    big, wide = target.name in BIG_ENDIAN, target.name in WIDE
    if len(content) < 20 or content[:4] != b"\x7fELF":
        raise Problem(f"{path} is no ELF program; run cross/build all")
    (machine,) = struct.unpack_from(">H" if big else "<H", content, 18)
    if (content[4], content[5], machine) != (2 if wide else 1, 2 if big else 1, MACHINES[target.machine]):
        raise Problem(f"{path} is not for {target.machine} ({target.name}); run cross/build all")


def runner(target):
    """The words before a program of that target: none where this machine runs it,
    qemu-user where that is installed, None where nothing does."""
    if target.name == platform.machine():
        return []
    qemu = shutil.which(f"qemu-{target.qemu}-static") or shutil.which(f"qemu-{target.qemu}")
    return [qemu] if qemu else None


def check_version(flavour, target, content, version, commit, dirty):
    """That `--version` names the version and, where it names them, the target and
    the commit. Says whether the program could be run."""
    words = runner(target)
    if words is None:
        return False
    with tempfile.TemporaryDirectory(prefix="kitelet-release-") as folder:
        program = Path(folder) / "kitelet"
        program.write_bytes(content)
        os.chmod(program, 0o755)
        try:
            done = subprocess.run([*words, program, "--version"], stdin=subprocess.DEVNULL, capture_output=True,
                                  text=True, errors="replace", timeout=VERSION_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Problem(f"{target.triple}/{flavour} does not run: {error}") from error
    what, said = f"{target.triple}/{flavour}", done.stdout.strip()
    if done.returncode:
        raise Problem(f"{what} --version ends with {done.returncode}: {done.stderr.strip()[-200:] or 'nothing said'}")
    if version not in re.split(r"[\s(),]+", said):
        raise Problem(f"{what} --version says {said!r}, not {version}; run cross/build all")
    others = [other.triple for other in TARGETS if other is not target and other.triple in re.split(r"[\s(),]+", said)]
    if others:
        raise Problem(f"{what} says that it is for {others[0]}; run cross/build all")
    built = re.search(r"\bcommit ([0-9a-f]{7,40})\b", said)
    if built and not commit.startswith(built[1]) and not dirty:
        raise Problem(f"{what} was built from commit {built[1]}, and this is {commit[:12]}; run cross/build all")
    return True
