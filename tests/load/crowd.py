"""The relay under load, and the crowd of agents and visitors around it."""

import re
import select
import subprocess
import time
from pathlib import Path

import measures
from peers import KITE, ROOT, SECRET, BenchError, Process, find, free_port, wait_for

CROWD = ROOT / "target/release/kitelet-test-crowd"
KITELET = ROOT / "target/release/kitelet"
# A single step of the crowd that takes longer than this has failed.
PATIENCE_SECONDS = 60
# More than any crowd here, and few enough for a limit of 20000 open files.
MAX_CALLERS = 4096


class Relay:
    """`kitelet relay` on loopback; `start` again after `kill` keeps the port.
    `rest` is the seconds after which it has come to rest."""

    def __init__(self, directory, kites, certificate=None, rest=1):
        self.directory, self.port, self.process, self.rest = directory, free_port(), None, rest
        self.target = f"127.0.0.1:{self.port}"
        lines = output([CROWD, "kites", kites]) + f"http,raw:{KITE}:{SECRET}\n"
        (directory / "kites").write_text(lines)
        (directory / "kites").chmod(0o600)
        names = ("relay.test", "*.crowd.test", "*.kite.test") if certificate else ()
        self.settings = directory / "relay.rc"
        self.settings.write_text(
            f"ports = {self.port}\nhost = 127.0.0.1\nkites = {directory}/kites\n"
            # All of them come from one address.
            "max_connections = 100000\n"
            # Nobody is left at the end who has to be sent elsewhere.
            "stop_timeout = 0\n"
            f"max_visitors = {MAX_CALLERS}\nmax_tunnels = {MAX_CALLERS}\n"
            + "".join(f"tls_endpoint = {name}:{certificate.both}\n" for name in names)
        )

    def start(self):
        command = [KITELET, "relay", "-c", self.settings]
        self.process = Process(command, self.directory / "relay.out")
        wait_for(self.process, self.port)

    def kill(self):
        """Without any chance to say goodbye."""
        self.process.child.kill()
        self.process.child.wait()
        self.process.stop()

    def memory(self):
        """Bytes at rest: all, and those that are not of the program's file."""
        time.sleep(self.rest)
        return tuple(kilobytes * 1024 for kilobytes in measures.resident(self.process))

    def cpu(self):
        return measures.cpu_seconds(self.process)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.process.stop()


class Crowd:
    """`kitelet-test-crowd agents` or `visitors`: says a line for each thing that
    it has reached, and ends with its input."""

    def __init__(self, directory, *arguments):
        self.log = directory / f"{arguments[0]}.out"
        self.log.unlink(missing_ok=True)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = Process([CROWD, *arguments], self.log, **pipes)

    def wait(self, word):
        """Waits for the line that begins with this word; its numbers."""
        pipe = self.process.child.stdout
        ready, _, _ = select.select([pipe], [], [], PATIENCE_SECONDS)
        line = pipe.readline().decode() if ready else f"nothing in {PATIENCE_SECONDS} s"
        if not line.startswith(word):
            told = self.log.read_text().strip()[-500:]
            raise BenchError(f"{self.log.stem}: {line.strip() or 'it ended'} in place of {word}: {told}")
        return numbers(line)

    def end(self):
        """Lets it end; what it says then."""
        self.process.child.stdin.close()
        found = self.wait("done")
        self.process.child.wait(PATIENCE_SECONDS)
        return found

    def errors_in_words(self):
        return self.log.read_text().strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stop()


def direct_service(directory):
    """The crowd's service, without a relay; process and target."""
    port = free_port()
    process = Process([CROWD, "service", f"127.0.0.1:{port}"], directory / "service.out")
    wait_for(process, port)
    return process, f"127.0.0.1:{port}"


def probe(*arguments):
    """One visitor after the other; the percentiles in ms."""
    return numbers(output([CROWD, "probe", *arguments]))


def pin(certificate):
    """The SHA-1 of a certificate."""
    command = [find("openssl", "openssl"), "x509", "-in", certificate.chain, "-noout", "-fingerprint", "-sha1"]
    return output(command).strip().rsplit("=", 1)[1]


def numbers(line):
    return {key: float(number) for key, number in re.findall(r"(\w+)=([\d.]+)", line)}


def output(command):
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)
    if done.returncode:
        raise BenchError(f"{Path(words[0]).name} {words[1]}: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout
