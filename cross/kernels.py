"""The kernel and the few programs that a booted device needs, out of Debian's
packages, kept in a cache by name and version."""

import hashlib
import io
import itertools
import json
import lzma
import os
import re
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from packages import PackageError, View, cache_folder

# A shell with everything around it, and an SSH server.
PROGRAMS = ("busybox-static", "dropbear-bin")
# What of them is of no use in there.
_UNUSED = re.compile(r"^(usr/share|usr/lib/[^/]*/(gconv|audit|engines-3|ossl-modules)|etc|lib/systemd)(/|$)")
_NOTE = "contents.json"


@dataclass(frozen=True)
class Kernel:
    """A kernel in the cache."""

    suite: str
    package: str
    version: str
    # What a reader should know of where it comes from, if anything.
    remark: str
    image: Path
    # In the order in which they are loaded.
    modules: tuple
    # The device tree, where a machine needs one.
    device_tree: Path


def kernel(suites, architecture, package, modules, device_tree=""):
    """The newest kernel of a metapackage in the first of the suites that can be
    had, with `modules` and what they need. A module that is built in is left
    out."""
    missed = []
    for suite in suites:
        try:
            return _kernel(suite, architecture, package, modules, device_tree, missed)
        except PackageError as error:
            missed.append(str(error))
    raise PackageError("; ".join(missed))


def _kernel(suite, architecture, package, modules, device_tree, missed):
    with View(suite, architecture) as view:
        if view.newest(package) is None:
            raise PackageError(f"{suite} for {architecture} has no {package}")
        name, parts = view.kernel_of(package)
        version = view.newest(name)
        words = "-".join(modules) + (f"-{Path(device_tree).name}" if device_tree else "")
        folder = cache_folder() / "kernels" / f"{name}_{version}_{words}".replace(":", "%3a")
        if not (folder / _NOTE).exists():
            _unpack_kernel(view, [view.deb(part) for part in parts], folder, modules, device_tree)
        remark = "; ".join([*missed, view.remark] if view.remark else missed)
    note = json.loads((folder / _NOTE).read_text())
    tree = folder / note["device_tree"] if note["device_tree"] else None
    found = tuple(folder / one for one in note["modules"])
    return Kernel(suite, name, version, remark, folder / "kernel", found, tree)


def _unpack_kernel(view, debs, folder, modules, device_tree):
    paths, needs, image, tree = {}, {}, None, None
    for member, read in itertools.chain.from_iterable(map(_members, debs)):
        if re.match(r"boot/vmlinu|usr/lib/modules/[^/]*/vmlinu", member):
            image = read()
        elif device_tree and member.endswith("/" + device_tree):
            tree = read()
        elif re.search(r"\.ko(\.xz)?$", member):
            content = _module(member, read())
            name = _module_name(member)
            paths[name] = member
            found = re.search(rb"\0depends=([^\0]*)\0", content)
            needs[name] = [one.replace("-", "_") for one in found[1].decode().split(",") if one] if found else []
    if image is None or (device_tree and tree is None):
        raise PackageError(f"{debs[0].name} has no {'kernel' if image is None else device_tree}")
    wanted = []

    def want(name):
        if name in paths and name not in wanted:
            for other in needs[name]:
                want(other)
            wanted.append(name)

    for name in modules:
        want(name)
    taken = {paths[name] for name in wanted}
    contents = {_module_name(member): _module(member, read())
                for member, read in itertools.chain.from_iterable(map(_members, debs)) if member in taken}
    new = view.partial()
    (new / "kernel").write_bytes(image)
    for name in wanted:
        (new / f"{name}.ko").write_bytes(contents[name])
    if tree is not None:
        (new / "device-tree").write_bytes(tree)
    note = {"modules": [f"{name}.ko" for name in wanted], "device_tree": "device-tree" if tree else ""}
    (new / _NOTE).write_text(json.dumps(note))
    # It is there as a whole or not at all.
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    new.replace(folder)


def _module_name(member):
    return Path(member).name.split(".")[0].replace("-", "_")


def _module(member, content):
    return lzma.decompress(content) if member.endswith(".xz") else content


def programs(suite, architecture):
    """Files of busybox and dropbear: a path and its bytes, or the target of a
    symbolic link as text; and the packages that they come from."""
    with View(suite, architecture) as view:
        debs = [view.deb(name, version) for name, version in view.with_needs(*PROGRAMS)]
        sources = [deb.stem for deb in debs]
        key = hashlib.sha256("\n".join(sources).encode()).hexdigest()[:16]
        path = cache_folder() / "programs" / f"{suite}-{architecture}-{key}.tar"
        if not path.exists():
            _gather(view, debs, path)
    files = {}
    with tarfile.open(path) as archive:
        for member in archive:
            files[member.name] = member.linkname if member.issym() else archive.extractfile(member).read()
    return files, sources


def _gather(view, debs, path):
    """What of the packages a device needs, in one uncompressed file."""
    new = view.partial() / "programs.tar"
    with tarfile.open(new, "w") as archive:
        for name, read in itertools.chain.from_iterable(_members(deb, links=True) for deb in debs):
            if _UNUSED.match(name):
                continue
            member, content = tarfile.TarInfo(name), read()
            if isinstance(content, str):
                member.type, member.linkname, content = tarfile.SYMTYPE, content, b""
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    path.parent.mkdir(parents=True, exist_ok=True)
    new.replace(path)
    new.parent.rmdir()


def _members(deb, links=False):
    """Paths of a package's files, each with a function that reads it, valid
    until the next one."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE) as unpacking:
        with tarfile.open(fileobj=io.BufferedReader(unpacking.stdout, 1 << 20), mode="r|") as archive:
            for member in archive:
                path = os.path.normpath(member.name)
                if member.isfile():
                    yield path, lambda member=member: archive.extractfile(member).read()
                elif links and member.issym():
                    yield path, lambda member=member: member.linkname
    if unpacking.returncode != 0:
        raise PackageError(f"{deb} cannot be unpacked; remove it and try again")
