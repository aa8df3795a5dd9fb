"""Configuration files: those that a PageKite user already has work as they
are, and mistakes in them are told."""

import subprocess
import unittest

from agents import COMMANDS, Agent, kite
from harness import Case, Options, kitelet_only
from relay import SECRET, DebianRelay
from servers import RawService, WebService
from visitors import connect, get, read_exactly

HOME = "home.kite.test"


class ADirectoryOfFiles(Case):
    """/etc/pagekite.d as Debian's package lays it out."""

    @classmethod
    def set_up(cls):
        cls.service = cls.share(WebService("at home"))
        cls.echo = cls.share(RawService(lambda connection: connection.sendall(connection.recv(100))))
        cls.rc = cls.directory / "pagekite.d"
        cls.rc.mkdir()

    def write(self, relay):
        """The files, for a relay."""
        files = {
            "10_account.rc": f"# My account\n\nkitename   = {HOME}\nkitesecret = {SECRET}\n",
            "20_frontends.rc": f"# My relay\n--frontend = {relay.host}:{relay.port}\nnossl\n\nEND\nthis is no option\n",
            "80_httpd.rc": f"service_on = http:@kitename : localhost:{self.service.port} : @kitesecret\n"
                           f"service_cfg = {HOME}/80 : insecure : True\n",
            "80_sshd.rc": f"  service_on = raw/22:@kitename : localhost:{self.echo.port} : @kitesecret\n",
            "85_off.rc": "service_off = http:off.kite.test : localhost:1 : nothing\n",
            "90_debian_certs.rc": "ca_certs = /etc/ssl/certs/ca-certificates.crt\n",
            "80_other.rc.sample": "this is no option either\n",
            ".hidden.rc": "nor is this\n",
        }
        for name, text in files.items():
            path = self.rc / name
            path.write_text(text)
            path.chmod(0o600)

    def fly(self, kind):
        """Flies the kites of the directory with a program; what they say."""
        relay = self.use(DebianRelay(self.directory))
        self.write(relay)
        agent = self.use(Agent(self.directory, rc=self.rc, kind=kind, name="home"))
        relay.wait_for(HOME)
        self.assertEqual(get(relay, HOME).text, "at home")
        self.assertEqual(get(relay, HOME, "/admin").text, "at home")
        with connect(relay, HOME, 22) as way:
            way.sendall(b"hello")
            self.assertEqual(read_exactly(way, 5), b"hello")
        self.assertFalse(relay.flies("off.kite.test"))
        self.assertNotIn(SECRET, agent.log())

    def test_debians_pagekite_flies_it(self):
        self.fly("debian")

    def test_the_agent_flies_it_as_it_is(self):
        self.fly(Options.agent)


@kitelet_only("Kitelet's own words are looked at")
class Mistakes(Case):
    """The program ends at once and says what to mend."""

    def mistake(self, *lines):
        """Runs the agent with a file that is wrong: exit code and output."""
        rc = self.directory / "wrong.rc"
        rc.write_text("\n".join(lines) + "\n")
        rc.chmod(0o600)
        done = subprocess.run(
            COMMANDS["kitelet"](rc), capture_output=True, text=True, timeout=10, check=False,
            stdin=subprocess.DEVNULL,
        )
        told = done.stdout + done.stderr
        self.assertNotIn(SECRET, told)
        self.assertNotEqual(done.returncode, 0)
        return told

    def test_an_unknown_option_is_named_with_file_and_line(self):
        told = self.mistake("# first line", "nossl", "fronted = relay.test:443", f"kitesecret = {SECRET}")
        self.assertIn("wrong.rc:3", told)
        self.assertIn("fronted", told)
        self.assertIn("frontend", told)

    def test_a_file_that_is_not_finished_is_refused(self):
        told = self.mistake(f"kitename = {HOME}", f"kitesecret = {SECRET}", "abort_not_configured")
        self.assertIn("wrong.rc:3", told)

    def test_a_service_line_that_cannot_be_read_does_not_show_the_secret(self):
        told = self.mistake("frontend = relay.test:443", f"service_on = http:{HOME}:{SECRET}")
        self.assertIn("wrong.rc:2", told)

    def test_the_same_kite_twice_is_refused(self):
        told = self.mistake(
            "frontend = relay.test:443", kite("http", HOME, 80), kite("http", HOME.upper(), 81),
        )
        self.assertIn(HOME, told)

    def test_a_missing_file_is_named(self):
        rc = self.directory / "nowhere.rc"
        done = subprocess.run(
            COMMANDS["kitelet"](rc), capture_output=True, text=True, timeout=10, check=False,
            stdin=subprocess.DEVNULL,
        )
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("nowhere.rc", done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
