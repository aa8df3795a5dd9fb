"""OpenSSH through a raw kite: the relay is reached by HTTP CONNECT, as
PageKite's users write it into their ~/.ssh/config."""

import hashlib
import subprocess
import unittest
from concurrent.futures import ThreadPoolExecutor

from agents import Agent, kite, to_relay
from harness import Case, full_only, needs
from relay import DebianRelay
from services import MEGABYTE, Sshd, random_file, sha256_of

BOX = "box.kite.test"
# A session through Debian's front-end takes some seconds.
SESSION_SECONDS = 120


class ThroughPlainTunnel(Case):
    """ssh and scp to a machine that only its agent can reach."""

    @classmethod
    def set_up(cls):
        cls.sshd = cls.share(Sshd(cls.directory))
        cls.relay = cls.share(DebianRelay(cls.directory))
        cls.agent = cls.share(Agent(cls.directory, [*to_relay(cls.relay), kite("raw/22", BOX, cls.sshd.port)]))
        cls.relay.wait_for(BOX, port=22)
        proxy = f"{needs('nc')} -X connect -x {cls.relay.host}:{cls.relay.port} %h %p"
        cls.options = cls.sshd.client_options(BOX, proxy)

    def ssh(self, command, **run):
        """Runs a command on the other machine; its exit code and output."""
        return subprocess.run(
            [needs("ssh"), *self.options, f"{self.sshd.user}@{BOX}", command],
            capture_output=True, timeout=SESSION_SECONDS, check=False, **run,
        )

    def test_a_command_runs_and_its_exit_code_comes_back(self):
        done = self.ssh("echo hello from $((6 * 7)); exit 3", stdin=subprocess.DEVNULL)
        self.assertEqual((done.stdout, done.returncode), (b"hello from 42\n", 3), done.stderr)

    def test_input_reaches_the_command_to_its_end(self):
        text = b"".join(b"line %d\n" % number for number in range(20000))
        done = self.ssh("sha256sum", input=text)
        self.assertEqual(done.stdout.split()[0].decode(), hashlib.sha256(text).hexdigest(), done.stderr)

    def test_three_sessions_at_the_same_time(self):
        def session(number):
            return self.ssh(f"sleep 1; seq {number} {number + 1000}", stdin=subprocess.DEVNULL)

        with ThreadPoolExecutor(3) as crowd:
            sessions = list(crowd.map(session, range(3)))
        for number, done in enumerate(sessions):
            expected = "".join(f"{line}\n" for line in range(number, number + 1001))
            self.assertEqual(done.stdout.decode(), expected, done.stderr)

    def copy_there_and_back(self, size):
        sent, there, back = (self.directory / f"{size}.{name}" for name in ("sent", "there", "back"))
        digest = random_file(sent, size)
        remote = f"{self.sshd.user}@{BOX}:{there}"
        for source, target in ((sent, remote), (remote, back)):
            subprocess.run(
                [needs("scp"), "-q", *self.options, source, target],
                timeout=SESSION_SECONDS * 2, check=True, stdin=subprocess.DEVNULL,
            )
        self.assertEqual(sha256_of(there), digest)
        self.assertEqual(sha256_of(back), digest)

    def test_scp_of_10_mb_there_and_back(self):
        self.copy_there_and_back(10 * MEGABYTE)

    @full_only("a minute through Debian's relay")
    def test_scp_of_100_mb_there_and_back(self):
        self.copy_there_and_back(100 * MEGABYTE)


if __name__ == "__main__":
    unittest.main()
