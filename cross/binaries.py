"""The binaries that `cross/build all` left, and whether they are what is to be
released: for the device family of their folder, of this version, of this commit."""

import checks
from problem import Problem
from targets import TARGETS


def collect(folder, flavours):
    """All binaries by flavour's name and target, as bytes. All that are missing
    are told at once."""
    found, missing = {}, []
    for flavour in flavours:
        for target in TARGETS:
            try:
                found[flavour, target] = (folder / target.triple / flavour).read_bytes()
            except FileNotFoundError:
                missing.append(f"{target.triple}/{flavour}")
    if missing:
        some = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise Problem(f"{folder} lacks {some}; run cross/build all")
    return found


def check(path, target, content, version, line):
    """That it is for the target and is what is to be released, by its `--version`:
    that very line, or with None for it any of the version. Says whether the program
    could be run."""
    try:
        checks.check_machine(path, target)
        if line is not None:
            return checks.check_version(path, target, line, content)
        said = checks.said_version(path, target)
        if said is not None and said.split()[:2] != ["kitelet", version]:
            raise Problem(f"{path} --version says {said!r}, not {version}")
        return said is not None
    except Problem as problem:
        raise Problem(f"{problem}; run cross/build all") from problem
