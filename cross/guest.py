"""One booted device: its first root file system, QEMU, and the console, by
which the job on the host asks and the device answers."""

import contextlib
import queue
import shlex
import subprocess
import sys
import threading
import time
from pathlib import Path

import kernels
from cpio import Archive

HERE = Path(__file__).resolve().parent

# Addresses of QEMU's network: the relay's, which is a port of the host.
RELAY_ADDRESS, RELAY_PORT = "10.0.2.100", 443
# Folders that are one in Debian since 12 and two in packages before that.
_MERGED = ("bin", "sbin", "lib", "lib64")
_STREAM = """\
#!/usr/bin/busybox sh
# A number and the program, again and again.
printf 'Content-Type: application/octet-stream\\r\\n\\r\\n'
number=0
while echo "$number" && cat /usr/bin/kitelet; do number=$((number + 1)); done 2>/dev/null | head -c {size}
"""


class Trouble(Exception):
    """A step of the job that failed, in words for a person."""


def initramfs(machine, kernel, binary, rc, authority, stream_size):
    """The root file system of the device, with `binary` as its agent and `rc`
    as its configuration."""
    files, sources = kernels.programs(kernel.suite, machine.architecture)
    archive = Archive()
    for folder in ("proc", "sys", "dev", "run", "tmp", "root"):
        archive.folder(folder)
    for name in _MERGED:
        archive.folder(f"usr/{name}")
        archive.link(name, f"usr/{name}")
    for path, content in files.items():
        path = f"usr/{path}" if path.split("/")[0] in _MERGED else path
        if isinstance(content, str):
            archive.link(path, content)
        else:
            archive.file(path, content, 0o755)
    archive.character_device("dev/console", 5, 1)
    archive.character_device("dev/null", 1, 3, 0o666)
    archive.file("init", (HERE / "init.sh").read_bytes(), 0o755)
    archive.file("usr/bin/kitelet", binary, 0o755)
    archive.file("etc/passwd", b"root::0:0:root:/root:/usr/bin/sh\n")
    archive.file("etc/kitelet.d/10_boot.rc", rc.encode(), 0o600)
    archive.file("etc/authority.pem", authority)
    archive.file("www/index.html", b"the device answers\n")
    archive.file("www/cgi-bin/stream", _STREAM.format(size=stream_size).encode(), 0o755)
    for module in kernel.modules:
        archive.file(f"modules/{module.name}", module.read_bytes())
    archive.file("modules/order", "".join(f"{module.name}\n" for module in kernel.modules).encode())
    return archive.packed(), sources


class Guest:
    """A running device."""

    def __init__(self, machine, kernel, root, relay_port, folder, deadline):
        self.machine, self.deadline = machine, deadline
        self.lines, self.answers = [], queue.Queue()
        self.console = folder / "console.log"
        (folder / "root.cpio.gz").write_bytes(root)
        # One forwarder for each connection of the guest; in the words of QEMU
        # a comma is doubled, and the rest is a command line.
        forward = shlex.join([sys.executable, "-I", str(HERE / "forward.py"), str(relay_port)]).replace(",", ",,")
        append = f"console={machine.console} quiet panic=-1 rdinit=/init {machine.kernel_words}"
        words = [
            machine.program, *machine.words, "-m", str(machine.memory), "-nodefaults", "-no-reboot",
            "-display", "none", "-serial", "stdio", "-rtc", "base=1970-01-01",
            "-kernel", str(kernel.image), "-initrd", str(folder / "root.cpio.gz"), "-append", append,
            "-netdev", f"user,id=net,restrict=on,guestfwd=tcp:{RELAY_ADDRESS}:{RELAY_PORT}-cmd:{forward}",
            "-device", f"{machine.card},netdev=net",
        ]
        if kernel.device_tree:
            words += ["-dtb", str(kernel.device_tree)]
        self.started = time.monotonic()
        # It ends when this program does, however that ends.
        self.child = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        with self.console.open("wb") as log:
            for line in self.child.stdout:
                log.write(b"%8.2f " % (time.monotonic() - self.started) + line)
                log.flush()
                text = line.decode(errors="replace").strip()
                self.lines.append(text)
                # A line of the kernel or the agent may stand before it.
                _, found, answer = text.partition("@boot ")
                if found:
                    self.answers.put(answer.split())
        self.answers.put(["gone"])

    def answer(self, word, seconds):
        """Waits for the device's next word, and gives what it says."""
        seconds = min(seconds, self.deadline - time.monotonic())
        try:
            words = self.answers.get(timeout=max(seconds, 0.1))
        except queue.Empty:
            raise Trouble(f"the device did not say \"{word}\" within {seconds:.0f} s; see {self.console}") from None
        if words[0] != word:
            end = " / ".join(self.lines[-3:])
            what = "ended" if words[0] == "gone" else f"said \"{words[0]}\""
            mend = ", and whether tests/install boot has run" if word == "ready" else ""
            raise Trouble(f"the device {what} in place of \"{word}\" ({end}); see {self.console}{mend}")
        return dict(one.split("=", 1) for one in words[1:] if "=" in one)

    def ask(self, word, seconds=60, value=""):
        """Lets the device do something, and gives its answer."""
        try:
            self.child.stdin.write(f"{word} {value}\n".encode())
            self.child.stdin.flush()
        except OSError:
            raise Trouble(f"the device ended before \"{word}\"; see {self.console}") from None
        return self.answer(word, seconds)

    def runs(self):
        return self.child.poll() is None

    def said(self, text, since=0):
        """Whether the console shows that text, after so many lines."""
        return any(text in line for line in self.lines[since:])

    def ended(self, seconds):
        """Whether the device has switched itself off by then."""
        try:
            return self.child.wait(timeout=seconds) == 0
        except subprocess.TimeoutExpired:
            return False

    def stop(self):
        """Takes the power away, if it still runs."""
        if self.runs():
            self.child.kill()
        self.child.wait()
        self.reader.join(timeout=5)
        # What it was not told any more goes nowhere.
        with contextlib.suppress(OSError):
            self.child.stdin.close()
        self.child.stdout.close()
