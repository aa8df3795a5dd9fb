"""OpenSSH and VNC by way of Kitelet's relay: by nc, by `kitelet connect`, and on
a port of the relay's own."""

import hashlib
import os
import socket
import subprocess
import unittest

from agents import Agent, kite, to_relay
from certificates import Authority
from harness import TOOLS, Case, Options, Process, accepts, free_port, full_only, needs, wait_until
from relay import RELAY_NAME, KiteletRelay
from servers import RawService
from services import MEGABYTE, Sshd, Vnc, random_file, sha256_of
from visitors import read_all, read_exactly

BOX = "box.kite.test"
DESK = "desk.kite.test"
VNC_PORT = 5900
SESSION_SECONDS = 60
# Logins one after the other.
LOGINS = 100


def connect_words(relay, authority):
    """What `kitelet connect` has to know of the way to the relay."""
    return ["--relay", f"{relay.host}:{relay.port}", "--relay-certname", RELAY_NAME, "--ca-certs", authority.roots]


class Ssh:
    """ssh and scp; a class below says by which way."""

    @classmethod
    def set_up(cls):
        cls.authority = Authority(cls.directory)
        cls.sshd = cls.share(Sshd(cls.directory))
        cls.relay = cls.share(KiteletRelay(cls.directory, certificate=cls.authority.issue(RELAY_NAME)))
        lines = [*to_relay(cls.relay, cls.authority), kite("raw/22", BOX, cls.sshd.port)]
        cls.agent = cls.share(Agent(cls.directory, lines, kind="kitelet"))
        cls.relay.wait_for(BOX, port=22)
        cls.options = cls.way()
        # `kitelet` is found as on a machine that has it installed.
        cls.environment = {**os.environ, "PATH": f"{Options.kitelet().parent}:{os.environ['PATH']}"}

    def run_ssh(self, command, **run):
        return subprocess.run(
            [needs("ssh"), *self.options, f"{self.sshd.user}@{BOX}", command],
            capture_output=True, timeout=SESSION_SECONDS, check=False, env=self.environment, **run,
        )

    def test_a_command_runs_and_its_exit_code_comes_back(self):
        done = self.run_ssh("echo hello from $((6 * 7)); exit 3", stdin=subprocess.DEVNULL)
        self.assertEqual((done.stdout, done.returncode), (b"hello from 42\n", 3), done.stderr)

    def test_input_reaches_the_command_to_its_end(self):
        text = os.urandom(3 * MEGABYTE)
        done = self.run_ssh("sha256sum", input=text)
        self.assertEqual(done.stdout.split()[0].decode(), hashlib.sha256(text).hexdigest(), done.stderr)

    def test_scp_of_20_mb_there_and_back(self):
        sent, there, back = (self.directory / f"copy.{name}" for name in ("sent", "there", "back"))
        digest = random_file(sent, 20 * MEGABYTE)
        remote = f"{self.sshd.user}@{BOX}:{there}"
        for source, target in ((sent, remote), (remote, back)):
            subprocess.run(
                [needs("scp"), "-q", *self.options, source, target],
                timeout=SESSION_SECONDS * 2, check=True, stdin=subprocess.DEVNULL, env=self.environment,
            )
        self.assertEqual((sha256_of(there), sha256_of(back)), (digest, digest))

    @full_only("it takes half a minute")
    def test_100_logins_one_after_the_other(self):
        for number in range(LOGINS):
            done = self.run_ssh(f"echo {number}", stdin=subprocess.DEVNULL)
            self.assertEqual(done.stdout, f"{number}\n".encode(), done.stderr)


class SshByNc(Ssh, Case):
    """As PageKite's users write it into their ~/.ssh/config."""

    @classmethod
    def way(cls):
        proxy = f"{needs('nc')} -X connect -x {cls.relay.host}:{cls.relay.port} %h %p"
        return cls.sshd.client_options(BOX, proxy)


class SshByKitelet(Ssh, Case):
    """`kitelet ssh-config` makes the file; the way to the relay is TLS."""

    @classmethod
    def way(cls):
        config = cls.directory / "ssh_config"
        with open(config, "wb") as output:
            words = connect_words(cls.relay, cls.authority)
            subprocess.run([Options.kitelet(), "ssh-config", *words, BOX], stdout=output, check=True, timeout=10)
        return cls.sshd.client_options(BOX, config=config)

    def test_the_file_names_the_kite(self):
        self.assertIn(f"Host {BOX}\n", (self.directory / "ssh_config").read_text())

    def test_a_kite_that_is_not_there_is_told(self):
        done = subprocess.run(
            [Options.kitelet(), "connect", *connect_words(self.relay, self.authority), "nobody.kite.test:22"],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False,
        )
        self.assertEqual((done.returncode, done.stdout), (69, b""))
        self.assertIn(b"no such kite", done.stderr)


class Listener:
    """`kitelet connect --listen`."""

    def __init__(self, directory, words, name):
        self.port = free_port()
        command = [Options.kitelet(), "connect", *words, "--listen", f"127.0.0.1:{self.port}", name]
        self.process = Process("connect", command, directory / "connect.log")

    def start(self):
        self.process.start()
        wait_until(lambda: accepts(self.port) or not self.process.runs(), 10, "nobody listens")

    def stop(self):
        return self.process.stop()


class Screen(Case):
    """A VNC server greets first. Its screen is noise, so that one wrong byte is
    a wrong picture."""

    @classmethod
    def set_up(cls):
        cls.authority = Authority(cls.directory)
        cls.vnc = cls.share(Vnc(cls.directory))
        cls.counter = cls.share(RawService(cls.count))
        cls.own_port, cls.empty_port, cls.count_port = free_port(), free_port(), free_port()
        ports = (
            f"{cls.own_port}=raw-{VNC_PORT}:{DESK},{cls.empty_port}=raw-23:{DESK},{cls.count_port}=raw-7:{DESK}"
        )
        cls.relay = cls.share(KiteletRelay(
            cls.directory, certificate=cls.authority.issue(RELAY_NAME), lines=[f"rawports = {ports}"],
        ))
        lines = [
            *to_relay(cls.relay, cls.authority),
            kite(f"raw/{VNC_PORT}", DESK, cls.vnc.port), kite("raw/7", DESK, cls.counter.port),
        ]
        cls.agent = cls.share(Agent(cls.directory, lines, kind="kitelet"))
        cls.relay.wait_for(DESK, port=VNC_PORT)
        cls.listener = cls.share(Listener(
            cls.directory, connect_words(cls.relay, cls.authority), f"{DESK}:{VNC_PORT}",
        ))
        cls.direct = cls.capture(cls.vnc.port, "direct.png")

    @staticmethod
    def count(connection):
        received = read_all(connection)
        connection.sendall(f"{len(received)} {hashlib.sha256(received).hexdigest()}".encode())
        return len(received)

    @classmethod
    def capture(cls, port, name):
        """The screen as a PNG file; equal pictures make equal files."""
        picture = cls.directory / name
        client = TOOLS / "vncdo"
        if not client.exists():
            raise AssertionError(f"{client} is missing: run tests/install")
        subprocess.run(
            [client, "-s", f"127.0.0.1::{port}", "--timeout", "60", "capture", picture],
            capture_output=True, timeout=90, check=True,
        )
        return picture

    def assert_same_picture(self, port, name):
        picture = self.capture(port, name)
        # Noise packs badly: a small file would be an empty screen.
        self.assertGreater(self.direct.stat().st_size, Vnc.WIDTH * Vnc.HEIGHT // 10)
        self.assertEqual(sha256_of(picture), sha256_of(self.direct))

    def test_the_picture_by_kitelet_connect_is_the_one_seen_directly(self):
        self.assert_same_picture(self.listener.port, "by-connect.png")

    def test_the_picture_by_a_port_of_its_own_is_the_one_seen_directly(self):
        self.assert_same_picture(self.own_port, "by-port.png")

    def test_the_server_greets_on_a_port_of_its_own(self):
        with socket.create_connection(("127.0.0.1", self.own_port), timeout=10) as way:
            self.assertEqual(read_exactly(way, 4), b"RFB ")

    def test_an_end_of_input_goes_through_a_port_of_its_own(self):
        sent = os.urandom(3 * MEGABYTE)
        done = subprocess.run(
            [needs("nc"), "-N", "127.0.0.1", str(self.count_port)],
            input=sent, capture_output=True, timeout=60, check=True,
        )
        self.assertEqual(done.stdout.decode(), f"{len(sent)} {hashlib.sha256(sent).hexdigest()}")

    def test_a_port_of_a_kite_that_is_away_closes_at_once(self):
        with socket.create_connection(("127.0.0.1", self.empty_port), timeout=10) as way:
            self.assertEqual(way.recv(1), b"")


if __name__ == "__main__":
    unittest.main()
