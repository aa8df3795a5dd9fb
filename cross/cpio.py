"""Writes the archive that a Linux kernel unpacks as its first root file system
("newc", the kernel's Documentation/driver-api/early-userspace/buffer-format.rst),
so that device files need neither root nor a program."""

import gzip
import stat

_TRAILER = "TRAILER!!!"


class Archive:
    """Files for an initramfs, all of them root's."""

    def __init__(self):
        self.entries, self.names = [], set()

    def folder(self, path):
        """A folder, and those above it."""
        path = path.strip("/")
        if path and path not in self.names:
            self.folder(path.rpartition("/")[0])
            self._add(path, stat.S_IFDIR | 0o755)

    def file(self, path, content, mode=0o644):
        self._add(path, stat.S_IFREG | mode, content)

    def link(self, path, target):
        """A symbolic link."""
        self._add(path, stat.S_IFLNK | 0o777, target.encode())

    def character_device(self, path, major, minor, mode=0o600):
        self._add(path, stat.S_IFCHR | mode, device=(major, minor))

    def _add(self, path, mode, content=b"", device=(0, 0)):
        path = path.strip("/")
        self.folder(path.rpartition("/")[0])
        if path in self.names:
            return
        self.names.add(path)
        self.entries.append((path, mode, content, device))

    def packed(self):
        """The whole, compressed by gzip, which every kernel of Debian reads."""
        parts = []
        for number, (path, mode, content, device) in enumerate([*self.entries, (_TRAILER, 0, b"", (0, 0))], 1):
            name = path.encode() + b"\0"
            links = 0 if path == _TRAILER else 1
            fields = (number, mode, 0, 0, links, 0, len(content), 0, 0, *device, len(name), 0)
            head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
            parts += [head, _padding(len(head)), content, _padding(len(content))]
        return gzip.compress(b"".join(parts), 6, mtime=0)


def _padding(length):
    return b"\0" * (-length % 4)
