"""The licence texts that a binary has to carry: those of the crates in it, of the
C library and of Rust's own library. Equal texts are written once."""

import re
import subprocess
import textwrap
from pathlib import Path

from problem import Problem

HERE = Path(__file__).resolve().parent
NAMES = re.compile(r"(un)?licen[cs]e|copying|copyright|notice", re.IGNORECASE)
# A sub-folder of a crate with code of others (ring: third_party/fiat) is this deep at most.
DEPTH = 3
# No licence is longer; what is longer is no licence text.
MAX_BYTES = 100_000
# No crates: what zig links from its own copies, with the texts it comes with.
OTHERS = (
    ("musl, the C library", "MIT", HERE / "licenses/musl.txt"),
    ("LLVM libunwind", "Apache-2.0 WITH LLVM-exception", HERE / "licenses/libunwind.txt"),
    ("Zig's compiler-rt", "MIT", HERE / "licenses/zig.txt"),
)
RULE = "=" * 78
MIT = """\
MIT License

Copyright (c) {authors}

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""


def texts_of(crate):
    """The licence files of a crate, in the order of their names."""
    found = []
    for path in sorted(crate.folder.rglob("*")):
        inside = path.relative_to(crate.folder)
        if (len(inside.parts) > DEPTH or not NAMES.match(inside.name) or inside.parts[0] in ("src", "tests")
                or not path.is_file()):
            continue
        text = path.read_bytes()[:MAX_BYTES + 1]
        if len(text) > MAX_BYTES:
            raise Problem(f"{path} is too long for a licence; look at it")
        found.append(text.decode("utf-8", errors="replace"))
    if not found and "MIT" in re.split(r"[\s()]+", crate.licence):
        # The few that bring no file: the licence they name, with their authors.
        found.append(MIT.format(authors=", ".join(crate.authors) or f"the authors of {crate.name}"))
    if not found:
        raise Problem(f"{crate.name} {crate.version} brings no licence text ({crate.licence}); add one to "
                      "cross/licenses and say so in cross/notices.py")
    return found


def third_parties(crates):
    """One text: what is in the binary under which licence, and the licences."""
    users, wording = {}, {}
    listed = []
    entries = [(f"{crate.name} {crate.version}", crate.licence, texts_of(crate)) for crate in crates if crate.checksum]
    entries += [(name, licence, [path.read_text()]) for name, licence, path in OTHERS]
    for name, licence, texts in entries:
        listed.append(f"  {name:32}  {licence}")
        for text in texts:
            # How lines are broken says nothing.
            same = " ".join(text.split())
            wording.setdefault(same, text.replace("\r\n", "\n").strip())
            if name not in users.setdefault(same, []):
                users[same].append(name)
    parts = ["The program contains, besides Kitelet and Rust's standard library\n"
             "(RUST-LIBRARY-LICENSES.html), under the licences named:\n", "\n".join(listed) + "\n"]
    for same, names in users.items():
        whose = textwrap.fill(", ".join(names), width=len(RULE))
        parts.append(f"{RULE}\n{whose}\n{RULE}\n\n{wording[same]}\n")
    return "\n".join(parts).encode()


def rust_library():
    """The notices of Rust's standard library and of the crates inside it, as the
    toolchain brings them."""
    try:
        done = subprocess.run(["rustc", "--print", "sysroot"], cwd=HERE, capture_output=True, text=True, check=True)
        return (Path(done.stdout.strip()) / "share/doc/rust/COPYRIGHT-library.html").read_bytes()
    except (OSError, subprocess.CalledProcessError) as error:
        raise Problem("the toolchain's share/doc/rust/COPYRIGHT-library.html cannot be read; install the toolchain "
                      f"of rust-toolchain.toml by rustup ({error})") from error
