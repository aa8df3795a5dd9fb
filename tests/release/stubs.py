"""Stand-ins for the binaries of `cross/build all`, which takes half an hour: the head
of an ELF program of each family and the line that `--version` would print. The one
for x86_64 runs and prints it."""

import os
import platform
import shutil
import struct
import sys
from pathlib import Path

import checks
import crates
from targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]
KITELET = Path(os.environ.get("KITELET") or ROOT / "target/release/kitelet").resolve()
# e_machine of elf.h by readelf's words in the table of targets.
MACHINES = {"AArch64": 183, "ARM": 40, "MIPS R3000": 8, "RISC-V": 243, "Advanced Micro Devices X86-64": 62}
WIDE = ("aarch64", "riscv64", "x86_64")
# Where a program is loaded, and sizes of ELF's headers of 64 bits.
ADDRESS, HEADER, SEGMENT = 0x400000, 64, 56
# What cross/release runs, and python for itself.
TOOLS = ("git", "ssh-keygen", "cargo", "rustc", "rustup", "readelf", "python3", "env")


def host():
    """The target that this machine runs by itself, or None."""
    return next((target for target in TARGETS if target.name == platform.machine()), None)


def program(target, line):
    """The head of a program, and that line."""
    text = line.encode() + b"\n"
    wide, order = target.name in WIDE, ">" if target.order == "big" else "<"
    # write(1, text, length), exit(0) in x86's words.
    code = (b"\xb8\1\0\0\0\xbf\1\0\0\0" + b"\x48\x8d\x35" + struct.pack("<i", 16) + b"\xba" + struct.pack("<I", len(text))
            + b"\x0f\x05\xb8\x3c\0\0\0\x31\xff\x0f\x05") if target.name == "x86_64" else b""
    size = HEADER + SEGMENT + len(code) + len(text)
    head = b"\x7fELF" + bytes([2 if wide else 1, 2 if order == ">" else 1, 1]) + bytes(9)
    head += struct.pack(order + "HHI", 2, MACHINES[target.machine], 1)
    if not wide:
        return head + struct.pack(order + "IIIIHHHHHH", 0, 0, 0, 0, 52, 0, 0, 0, 0, 0) + text
    loaded = bool(code)
    head += struct.pack(order + "QQQIHHHHHH", ADDRESS + HEADER + SEGMENT if loaded else 0, HEADER if loaded else 0, 0, 0,
                        HEADER, SEGMENT, int(loaded), 0, 0, 0)
    if not loaded:
        return head + text
    # One segment, to be read and executed.
    return head + struct.pack("<IIQQQQQQ", 1, 5, 0, ADDRESS, ADDRESS, size, size, 0x1000) + code + text


def exact_program(target, version, commit, flavour="kitelet-agent"):
    """One that says what cross/build would let it say."""
    return program(target, checks.version_line(version, target, crates.FLAVOURS[flavour], commit))


def exact(folder, version, commit):
    """A folder as cross/build leaves it at that commit."""
    for target in TARGETS:
        (folder / target.triple).mkdir(parents=True)
        for flavour in crates.FLAVOURS:
            path = folder / target.triple / flavour
            path.write_bytes(exact_program(target, version, commit[:12], flavour))
            path.chmod(0o755)


def native(folder, version, commit):
    """The same with a real program for this machine."""
    if not KITELET.is_file():
        sys.exit(f"{KITELET} is missing; cargo build --release --locked, or name another in KITELET")
    exact(folder, version, commit)
    if host():
        for flavour in crates.FLAVOURS:
            shutil.copy(KITELET, folder / host().triple / flavour)


def tools(folder):
    """A folder for PATH with what is needed, and no emulators."""
    if not folder.exists():
        folder.mkdir()
        for name in TOOLS:
            found = shutil.which(name)
            if found:
                (folder / name).symlink_to(found)
    return folder
