"""Kitelet's relay with the rest of the owner's machine: who else knows kites,
the command that adds one, and what is left of root's rights."""

import os
import pwd
import socket
import subprocess
import unittest
from pathlib import Path

from agents import Agent, kite, to_relay
from certificates import Authority
from harness import Case, Options, Process, accepts, wait_until
from relay import DOMAIN, RELAY_NAME, KiteletRelay
from servers import NameServer, RawService, WebService
from visitors import connect, get, read_exactly

WEB = f"web.{DOMAIN}"
SECRET = "aSecret0fOthers"
WRONG_SECRET = "n0tTheSecret"
# Answers of an authority: so many kilobytes, nothing left, no limit.
SOME, NOTHING, UNLIMITED = bytes([0, 0, 64, 0]), bytes(4), bytes([255, 255, 254, 255])
PROGRAM = """#!/bin/sh
# Asked as PageKite asks: --auth NAME.
test "$1" = --auth || exit 1
echo "$2" >> '{asked}'
case "$2" in
good.program.example) echo '{{"secret": "{secret}", "quota_kb": 5000}}' ;;
other.program.example) echo '{{"secret": "another0ne"}}' ;;
*) echo '{{"error": "unauthorized"}}' ;;
esac
"""


class Authorities(Case):
    """The kites of other domains are known to a name server and to a program."""

    @classmethod
    def set_up(cls):
        cls.service = cls.share(WebService("inside"))
        cls.names = cls.share(NameServer("auth.example", {
            "good.dns.example": (SECRET, SOME), "free.dns.example": (SECRET, UNLIMITED),
            "spent.dns.example": (SECRET, NOTHING), "wrong.dns.example": ("another0ne", SOME),
        }))
        cls.asked, program = cls.directory / "asked", cls.directory / "program"
        cls.asked.touch()
        program.write_text(PROGRAM.format(asked=cls.asked, secret=SECRET))
        program.chmod(0o700)
        cls.relay = cls.share(KiteletRelay(cls.directory, lines=[
            "authdomain = dns.example:auth.example", f"nameserver = {cls.names.host}:{cls.names.port}",
            f"authdomain = program.example:{program}",
        ]))

    def flies(self, kind, domain, good, bad):
        """Kites of one agent: those that are to fly do, and the others not."""
        names = [f"{name}.{domain}" for name in (*good, *bad)]
        kites = [kite("http", name, self.service.port, SECRET) for name in names]
        agent = self.use(Agent(self.directory, [*to_relay(self.relay), *kites], kind=kind, name=f"{kind}-{domain}"))
        for name in good:
            self.relay.wait_for(f"{name}.{domain}")
            self.assertEqual(get(self.relay, f"{name}.{domain}").text, "inside")
        for name in bad:
            wait_until(lambda name=name: f"http:{name}.{domain} refused" in self.relay.log(), 10, f"{name} is silent")
            self.assertFalse(self.relay.flies(f"{name}.{domain}"))
        agent.stop()
        self.relay.wait_without(f"{good[0]}.{domain}")

    def test_a_name_server_says_who_flies(self):
        for kind in ("kitelet", "debian"):
            self.flies(kind, "dns.example", ["good", "free"], ["spent", "wrong", "unknown"])
        asked = {tuple(labels[3:]) for labels in self.names.questions}
        self.assertIn(("http", "good", "dns", "example", "auth", "example"), asked)

    def test_a_program_says_who_flies(self):
        for kind in ("kitelet", "debian"):
            self.flies(kind, "program.example", ["good"], ["other", "unknown"])
        self.assertIn("good.program.example", self.asked.read_text().split())

    def test_a_name_server_that_is_away_lets_nobody_fly(self):
        relay = self.use(KiteletRelay(self.directory, name="alone", lines=[
            "authdomain = dns.example:auth.example", "nameserver = 127.0.0.1:9",
        ]))
        lines = [*to_relay(relay), kite("http", "good.dns.example", self.service.port, SECRET),
                 kite("http", WEB, self.service.port)]
        self.use(Agent(self.directory, lines, kind="kitelet", name="unheard"))
        relay.wait_for(WEB)
        wait_until(lambda: "cannot ask whether http:good.dns.example" in relay.log(), 30, "nobody was asked")
        self.assertFalse(relay.flies("good.dns.example"))


class Add(Case):
    """`kitelet relay add`: what it prints is the rc file of the device."""

    NAME = "box.kites.example"

    @classmethod
    def set_up(cls):
        cls.authority = Authority(cls.directory)
        cls.echo = cls.share(RawService(cls.echoes))
        # A name for the certificate that leads to this machine.
        lines = [f"tls_endpoint = localhost:{cls.authority.issue('localhost').both}"]
        cls.relay = cls.share(KiteletRelay(cls.directory, lines=lines))

    @staticmethod
    def echoes(connection):
        while part := connection.recv(65536):
            connection.sendall(part)

    def add(self, name, *words):
        return subprocess.run(
            [Options.kitelet(), "relay", "add", "-c", self.relay.rc, name, *words],
            capture_output=True, text=True, timeout=10, check=False,
        )

    def fly(self, name, output):
        """The file as it is on a device, and beside it which roots to trust."""
        folder = self.directory / name
        folder.mkdir()
        account = folder / "10_account.rc"
        account.touch(mode=0o600)
        account.write_text(output)
        (folder / "20_test.rc").write_text(f"ca_certs = {self.authority.roots}\n")
        return self.use(Agent(self.directory, rc=folder, kind="kitelet", name=f"{name}-agent"))

    def test_what_it_prints_flies_as_it_stands(self):
        port = self.echo.port
        added = self.add(self.NAME, f"http,raw-{port}")
        self.assertEqual(added.returncode, 0, added.stderr)
        self.assertIn(f"{self.NAME} may fly", added.stderr)
        # The relay finds the new line by itself.
        wait_until(lambda: "the files were read again" in self.relay.log(), 8, "the new line is not read")
        self.fly("box", added.stdout)
        self.relay.wait_for(self.NAME)
        with connect(self.relay, self.NAME, port) as way:
            way.sendall(b"hello")
            self.assertEqual(read_exactly(way, 5), b"hello")
        again = self.add(self.NAME)
        self.assertEqual((again.returncode, again.stdout), (64, ""))
        self.assertIn("--again", again.stderr)
        # The secret is shown to nobody else.
        (secret,) = [line.split("= ")[1] for line in added.stdout.splitlines() if line.startswith("kitesecret")]
        self.assertGreaterEqual(len(secret), 20)
        self.assertIn(secret, self.relay.kites_file.read_text())
        self.assertNotIn(secret, self.relay.log() + added.stderr + again.stderr)

    def test_after_sighup_a_new_kite_flies_at_once(self):
        added = self.add("quick.kites.example", "http")
        self.relay.reload()
        self.fly("quick", added.stdout)
        self.relay.wait_for("quick.kites.example", seconds=3)


def low_port():
    """A port that only root may listen on."""
    for port in range(600, 1024):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise AssertionError("no free port below 1024")


@unittest.skipUnless(os.getuid() == 0, "only root has rights to give up")
class Rights(Case):
    """Ports of root's, a user who may nothing, and a folder that is all there is."""

    @classmethod
    def set_up(cls):
        cls.nobody = pwd.getpwnam("nobody")
        cls.authority = Authority(cls.directory)
        cls.service = cls.share(WebService("inside"))

    def start(self, name, *lines):
        """A relay whose kites file and certificate lie in a folder of its own."""
        folder = self.directory / name
        folder.mkdir()
        relay = KiteletRelay(folder, port=low_port(), certificate=self.authority.issue(RELAY_NAME), name=name)
        inside = folder / "relay.pem"
        inside.write_bytes(relay.certificate.both.read_bytes())
        relay.certificate.both = inside
        relay.write_rc("runas = nobody", f"access_log = {folder}/access.log", *lines)
        for path in (folder, relay.kites_file, inside):
            os.chown(path, self.nobody.pw_uid, self.nobody.pw_gid)
        self.use(relay)
        lines = [*to_relay(relay, self.authority), kite("http", WEB, self.service.port)]
        self.use(Agent(folder, lines, kind="kitelet", name=f"{name}-agent"))
        relay.wait_for(WEB)
        self.assertEqual(get(relay, WEB).text, "inside")
        return relay, folder

    def assert_is_nobody(self, relay):
        """All four ids, no group of root's and no right that brings one back."""
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{relay.process.child.pid}/status").read_text().splitlines()
            if ":\t" in line
        )
        self.assertEqual(status["Uid"].split(), [str(self.nobody.pw_uid)] * 4)
        self.assertEqual(status["Gid"].split(), [str(self.nobody.pw_gid)] * 4)
        self.assertEqual(set(status["Groups"].split()) - {str(self.nobody.pw_gid)}, set())
        for rights in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            self.assertEqual(int(status[rights], 16), 0, rights)

    def assert_kites_file_is_read_again(self, relay):
        with relay.kites_file.open("a") as kites:
            kites.write(f"http:late.example:{SECRET}\n")
        wait_until(lambda: "read again; 2 kites may fly" in relay.log(), 8, "the new line is not read")

    def test_runas_gives_up_root(self):
        relay, folder = self.start("runas")
        self.assert_is_nobody(relay)
        self.assert_kites_file_is_read_again(relay)
        self.assertEqual((folder / "access.log").stat().st_uid, self.nobody.pw_uid)
        # What root alone may read cannot be read again, and nothing breaks.
        relay.reload(told="the configuration stays as it was")
        self.assertEqual(get(relay, WEB).text, "inside")

    def test_chroot_leaves_the_folder_alone(self):
        folder = self.directory / "chroot"
        relay, folder = self.start("chroot", f"chroot = {folder}")
        self.assert_is_nobody(relay)
        self.assertEqual(os.readlink(f"/proc/{relay.process.child.pid}/root"), str(folder))
        self.assertEqual(os.readlink(f"/proc/{relay.process.child.pid}/cwd"), str(folder))
        self.assert_kites_file_is_read_again(relay)
        # The rc file would name paths that are others now.
        relay.reload(told="read again; 2 kites may fly")
        self.assertEqual(get(relay, WEB).text, "inside")
        self.assertTrue((folder / "access.log").read_text())

    def test_who_is_not_root_is_told(self):
        """A stranger cannot listen on root's ports."""
        folder = self.directory / "stranger"
        folder.mkdir()
        relay = KiteletRelay(folder, port=low_port(), name="stranger")
        for path in (folder, relay.rc, relay.kites_file):
            os.chown(path, self.nobody.pw_uid, self.nobody.pw_gid)
        command = relay.process.command
        process = Process("stranger", command, folder / "log", user="nobody", group="nogroup", extra_groups=[])
        process.start()
        self.addCleanup(process.stop)
        self.assertEqual(process.wait(10), 78, process.log())
        self.assertRegex(process.log(), f"{relay.port}")
        self.assertFalse(accepts(relay.port))


if __name__ == "__main__":
    unittest.main()
