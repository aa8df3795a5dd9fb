"""Network namespaces of our own, and sockets in them: the tests' own servers
and visitors stand in one process, each socket in the namespace it belongs to.

The name of each namespace begins with `kc` and the process id of who made it,
so that whoever started that process can remove what it left (`remove_left`).
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import threading
from pathlib import Path

PREFIX = "kc"
# <sched.h>, <sys/prctl.h>
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
# What a program in a namespace has to find in /etc besides the names of hosts.
KEPT_OF_ETC = (
    "passwd", "group", "shadow", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "ssl", "services",
    "protocols", "localtime", "alternatives", "python3", "python3.11", "gai.conf", "mime.types", "environment",
)

_libc = ctypes.CDLL(None, use_errno=True)


def command(*words, given=None, check=True):
    """Runs a program of the system and returns its output."""
    done = subprocess.run([str(word) for word in words], input=given, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, words))}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def die_with_parent():
    """For `preexec_fn`: a program does not outlive the test that started it."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def name_of(pid, role):
    return f"{PREFIX}{pid}-{role}"


def remove_left(pid):
    """Removes the namespaces that a process made and did not remove."""
    for line in command("ip", "netns", "list").splitlines():
        name = line.split(" ")[0]
        if name.startswith(f"{PREFIX}{pid}-"):
            command("ip", "netns", "del", name, check=False)


class Namespace:
    """One machine of a scenario."""

    def __init__(self, role):
        self.role = role
        self.name = name_of(os.getpid(), role)
        command("ip", "netns", "add", self.name)
        self.ip("link", "set", "lo", "up")

    def remove(self):
        command("ip", "netns", "del", self.name, check=False)

    def run(self, *words, **how):
        return command("ip", "netns", "exec", self.name, *words, **how)

    def ip(self, *words, **how):
        return command("ip", "-n", self.name, *words, **how)

    def kernel(self, setting, value):
        """Sets a value below /proc/sys/net."""
        self.run("sh", "-c", f"echo {value} > /proc/sys/net/{setting}")

    def nft(self, rules):
        self.run("nft", "-f", "-", given=rules)

    @contextlib.contextmanager
    def entered(self):
        """This thread, and it alone, is in the namespace; a socket that is
        made here stays here."""
        with open("/proc/thread-self/ns/net", "rb") as home, open(f"/run/netns/{self.name}", "rb") as there:
            self._enter(there)
            try:
                yield
            finally:
                self._enter(home)

    @staticmethod
    def _enter(file):
        if _libc.setns(file.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")

    def connections(self, port):
        """The TCP connections from here to that port that are up, each as the
        kernel writes its own and the other end."""
        found = set()
        with self.entered():
            for table in ("tcp", "tcp6"):
                for line in Path(f"/proc/thread-self/net/{table}").read_text().splitlines()[1:]:
                    _, local, remote, state = line.split()[:4]
                    # 01 is ESTABLISHED (linux/tcp.h).
                    if state == "01" and int(remote.rsplit(":", 1)[1], 16) == port:
                        found.add((local, remote))
        return found

    def command_of(self, etc, *words):
        """The words that start a program here, with a directory of ours as
        its /etc. It keeps the process id."""
        return [
            "ip", "netns", "exec", self.name,
            "sh", "-c", 'mount --bind "$0" /etc && exec "$@"', str(etc), *map(str, words),
        ]


def make_etc(path):
    """A directory to be mounted as /etc. Files may be written, replaced and
    removed there while programs run: they are the same files for them."""
    path.mkdir()
    for name in KEPT_OF_ETC:
        if Path("/etc", name).exists():
            command("cp", "-a", f"/etc/{name}", path)
    (path / "nsswitch.conf").write_text("passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n")
    (path / "hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    return path


def thread(target, *arguments):
    """Starts a thread that ends with the process."""
    started = threading.Thread(target=target, args=arguments, daemon=True)
    started.start()
    return started


def descendants(pid):
    """The processes that a process has started, and those that they have."""
    found, parents = [], {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    waiting = [pid]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += children
    return found
