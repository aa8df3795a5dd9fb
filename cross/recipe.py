"""How a binary is made: the words for cargo, rustc, the C compiler and the linker.
cross/SIZE.md says what each of them gains."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from problem import Problem

ROOT = Path(__file__).resolve().parents[1]
LINK = ROOT / "cross/link"
# Whose small P-256 cross/link/p256_small.c serves.
RING = "0.17.14"

# What every binary is compiled with. musl comes from zig, not from rustc.
# Nothing unwinds where a panic ends the program, so the tables for it go.
COMMON_RUSTFLAGS = (
    "-Clink-self-contained=no",
    "-Ctarget-feature=+crt-static",
    "-Crelocation-model=static",
    "-Cforce-unwind-tables=no",
)
COMMON_CFLAGS = ("-fno-unwind-tables", "-fno-asynchronous-unwind-tables")
# A panic ends the router's agent at once and without words; its supervisor
# starts it again.
SMALL_RUSTFLAGS = (
    "-Zunstable-options",
    "-Cpanic=immediate-abort",
    "-Zfmt-debug=none",
    "-Zlocation-detail=none",
)


@dataclass(frozen=True)
class Flavour:
    """One choice of what is in the program."""

    # The file's name in target/dist/TRIPLE/.
    name: str
    # What `tests/run` and the table call it.
    word: str
    profile: str
    features: tuple
    is_small: bool


FLAVOURS = (
    Flavour("kitelet", "full", "release", (), False),
    Flavour("kitelet-agent", "agent", "router", ("--no-default-features",), True),
)


def rustflags(target, flavour, remapped):
    """Words for rustc; `remapped` are folders of this machine and what the
    binary is to call them."""
    words = [*COMMON_RUSTFLAGS, target.times, *target.rustflags]
    if flavour.is_small:
        words += SMALL_RUSTFLAGS
    return words + [f"--remap-path-prefix={old}={new}" for old, new in remapped]


def cflags(target, flavour, remapped):
    """Words for the C compiler, which compiles ring's C and assembly."""
    words = [*COMMON_CFLAGS, *target.cflags]
    if flavour.is_small:
        words.append("-Os")
    if is_p256_small(target, flavour):
        words.append("-DOPENSSL_SMALL")
    return words + [f"-ffile-prefix-map={old}={new}" for old, new in remapped]


def is_p256_small(target, flavour):
    """Whether the table of P-256 is left out; elsewhere there is none."""
    return flavour.is_small and target.has_p256_table


def link_sources(target, flavour):
    """C files of ours that are linked in."""
    files = [LINK / "pthread_setname_np.c"]
    if target.machine == "ARM" and flavour.is_small:
        files.append(LINK / "unwind_arm.c")
    if is_p256_small(target, flavour):
        check_ring()
        files.append(LINK / "p256_small.c")
    return files


def link_command(zig, target, words, source, path):
    """Compiles one of our C files; `words` are those of `cflags`."""
    return [zig, "cc", "-target", target.zig, *target.zig_cpu, "-Oz", *words, "-g0", "-c", source, "-o", path]


def check_ring():
    """That the lock file holds the version of ring that our C code knows."""
    lock = (ROOT / "Cargo.lock").read_text(encoding="utf-8")
    found = re.search(r'name = "ring"\nversion = "([^"]*)"', lock)
    if not found or found[1] != RING:
        raise Problem(
            f"Cargo.lock has ring {found[1] if found else 'of no version'}, and cross/link/p256_small.c is for {RING}: "
            "see that its reason still holds, and mend the names there and RING in cross/recipe.py"
        )


def cargo_words(target, flavour):
    """The command, from `zigbuild` on."""
    # ChaCha20 takes 1.7 times as long at "s" (cross/bench-ciphers); 20 KB.
    level = ["--config", "profile.router.package.ring.opt-level=2"] if flavour.is_small and not target.has_assembly else []
    return [
        "zigbuild", "--locked", "--package", "kitelet", "--bin", "kitelet", *level,
        "--profile", flavour.profile, *flavour.features, "--target", target.triple,
        "-Zbuild-std=std,panic_abort", "-Zbuild-std-features=optimize_for_size",
    ]


def environment(settings):
    """The environment of a build: this machine's, less what would change the
    outcome, and with `settings`."""
    stray = re.compile(r"^(RUSTFLAGS|CARGO_ENCODED_RUSTFLAGS|RUSTC\w*|CARGO_(BUILD|PROFILE|TARGET)_?\w*|"
                       r"(TARGET_|HOST_)?(CC|CXX|AR|CFLAGS|CXXFLAGS|CPPFLAGS|LDFLAGS)(_\w+)?|KITELET_COMMIT)$")
    kept = {name: value for name, value in os.environ.items() if not stray.match(name)}
    return {**kept, "RUSTC_BOOTSTRAP": "1", "LC_ALL": "C.UTF-8", **settings}
