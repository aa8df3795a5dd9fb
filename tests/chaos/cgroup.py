"""A limit of memory around a program, by cgroups of either version."""

import os
from pathlib import Path

from harness import wait_until

V1 = Path("/sys/fs/cgroup/memory")
V2 = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))


class MemoryLimit:
    """A cgroup that may have so many bytes."""

    def __init__(self, size):
        self.size = size
        self.path = None
        self.is_v1 = V1.is_dir()

    def start(self):
        if self.is_v1:
            root, limit = V1, "memory.limit_in_bytes"
        else:
            root = next((one for one in V2 if "memory" in _read(one / "cgroup.controllers").split()), None)
            if root is None:
                raise AssertionError("no cgroup can limit memory here")
            (root / "cgroup.subtree_control").write_text("+memory")
            limit = "memory.max"
        self.path = root / f"kitelet-chaos-{os.getpid()}"
        self.path.mkdir()
        (self.path / limit).write_text(str(self.size))

    def enter(self):
        """For `before`: the calling process is in it."""
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def peak(self):
        """Most bytes that were in use, kernel and file cache included."""
        text = _read(self.path / ("memory.max_usage_in_bytes" if self.is_v1 else "memory.peak"))
        return int(text or 0)

    def stop(self):
        """Its processes have ended."""
        if self.path is not None and self.path.exists():
            wait_until(lambda: not _read(self.path / "cgroup.procs").strip(), 5, "processes in the cgroup")
            self.path.rmdir()


def _read(path):
    try:
        return path.read_text()
    except OSError:
        return ""
