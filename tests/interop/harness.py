"""What every test here stands on: where things are, temporary places, free
ports, processes that are ended by their id, and waiting that has an end.

Everything listens on loopback and is given up at the end of the class or the
test that started it, also when that one fails or is interrupted.
"""

import atexit
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "target" / "venv" / "bin"

# Ports below the range that the kernel gives to outgoing connections, so that
# a free port stays free until its owner listens.
FIRST_PORT, LAST_PORT = 20000, 31999
# Lines of each log that a failed test shows.
SHOWN_LOG_LINES = 40
SHOWN_LOG_WIDTH = 300
# Seconds that a process has between SIGTERM and SIGKILL.
STOP_SECONDS = 5


class Options:
    """What the command line of `run` asked for."""

    agent = "kitelet"
    full = False
    keep = False

    @staticmethod
    def kitelet():
        """The program under test: $KITELET, else this tree's release build."""
        return Path(os.environ.get("KITELET") or ROOT / "target/release/kitelet").resolve()


def kitelet_only(reason):
    """Skips a test when another program flies the kites."""
    return unittest.skipIf(Options.agent != "kitelet", f"not with --agent {Options.agent}: {reason}")


def full_only(reason):
    """Skips a long test in the normal run."""
    return unittest.skipUnless(Options.full, f"only with --full: {reason}")


_given_ports = set()


def free_port():
    """A TCP port that nobody listens on and that no other test was given."""
    for _ in range(1000):
        port = random.randint(FIRST_PORT, LAST_PORT)
        if port in _given_ports:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given_ports.add(port)
        return port
    raise AssertionError(f"no free TCP port between {FIRST_PORT} and {LAST_PORT}")


def wait_until(condition, seconds, what):
    """Returns the first true answer of `condition`; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s in vain: {what}")
        time.sleep(0.1)


def accepts(port, host="127.0.0.1"):
    """Whether somebody listens there."""
    try:
        socket.create_connection((host, port), timeout=5).close()
        return True
    except OSError:
        return False


def needs(program):
    """Path of an installed program; says what to run when it is missing."""
    path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        raise AssertionError(f"{program} is not installed: run tests/install")
    return path


class Process:
    """A program in the foreground, its output in a file, ended by its id."""

    _alive = set()

    def __init__(self, name, command, log, **popen):
        self.name = name
        self.command = [str(word) for word in command]
        self.log_path = Path(log)
        self.popen_options = popen
        self.child = None

    def start(self):
        with open(self.log_path, "ab") as output:
            self.child = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                **self.popen_options,
            )
        Process._alive.add(self)

    def runs(self):
        return self.child is not None and self.child.poll() is None

    def stop(self, how=signal.SIGTERM, seconds=STOP_SECONDS):
        """Ends the program and returns its exit code; a negative one names the
        signal that it died of."""
        Process._alive.discard(self)
        if self.child is None:
            return None
        if self.runs():
            self.child.send_signal(how)
        return self.wait(seconds)

    def wait(self, seconds):
        """Waits for the end and returns the exit code; ends the program by
        force when it takes longer."""
        try:
            return self.child.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.child.kill()
            return self.child.wait()

    def log(self):
        """Everything that the program has said so far."""
        if not self.log_path.exists():
            return ""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def resident_kilobytes(self):
        """Memory in use now, as the kernel counts it (VmRSS)."""
        return self._status("VmRSS")

    def peak_kilobytes(self):
        """Most memory ever in use (VmHWM)."""
        return self._status("VmHWM")

    def _status(self, field):
        for line in Path(f"/proc/{self.child.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1])
        raise AssertionError(f"no {field} of process {self.child.pid}")


@atexit.register
def _end_what_is_left():
    for process in list(Process._alive):
        process.stop(seconds=1)


def temporary_directory():
    """A new directory; it stays for reading with --keep."""
    path = Path(tempfile.mkdtemp(prefix="kitelet-interop-"))
    # Root's nginx and sshd look into it as other users.
    path.chmod(0o755)
    if not Options.keep:
        atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


class Case(unittest.TestCase):
    """A class of tests with its own directory; shows the logs of what ran
    when one of them fails."""

    @classmethod
    def setUpClass(cls):
        cls.directory = temporary_directory()
        cls.things = []
        try:
            cls.set_up()
        except BaseException:
            print(cls._logs())
            raise

    @classmethod
    def set_up(cls):
        """Starts what all tests of the class share, by `cls.share`."""

    @classmethod
    def share(cls, thing):
        """Starts a thing for all tests of the class."""
        cls.things.append(thing)
        cls.addClassCleanup(thing.stop)
        thing.start()
        return thing

    def use(self, thing):
        """Starts a thing for this test alone."""
        self.things.append(thing)
        self.addCleanup(self.things.remove, thing)
        self.addCleanup(thing.stop)
        thing.start()
        return thing

    def doCleanups(self):
        """Shows the logs before the things of a failed test are stopped."""
        if not self._outcome.success:
            print(self._logs())
        return super().doCleanups()

    @classmethod
    def _logs(cls):
        shown = [f"\n--- {cls.__name__}: what ran, in {cls.directory}"]
        for thing in cls.things:
            process = getattr(thing, "process", None)
            if process is None:
                continue
            state = "runs" if process.runs() else "does not run"
            shown.append(f"--- {process.name} {state}: {' '.join(process.command)}")
            # Indented lines are the insides of other people's programs.
            told = [line[:SHOWN_LOG_WIDTH] for line in process.log().splitlines() if not line.startswith(" ")]
            shown += told[-SHOWN_LOG_LINES:]
        return "\n".join(shown)
