"""Kitelet's relay while it runs: SIGHUP, files that change, and a stop that does
not hurt."""

import re
import signal
import socket
import threading
import time
import unittest

from agents import Agent, kite, to_relay
from certificates import Authority
from harness import Case, accepts, free_port, temporary_directory, wait_until
from relay import DOMAIN, RELAY_NAME, SECRET, KiteletRelay, Proxy
from servers import WebService
from services import MEGABYTE, Nginx, random_file
from visitors import CHUNK_BYTES, Browser, download, get, tls_straight_to

WEB, SHOP = f"web.{DOMAIN}", f"shop.{DOMAIN}"
EXTRA, EXTRA_SECRET = "extra.example", "an0therSecret"
# Seconds until a changed file holds; it is looked at every 2 s.
WATCH_SECONDS = 8


class _Relay(Case):
    """A relay with TLS and an agent, anew for each test."""

    @classmethod
    def set_up(cls):
        cls.nginx = cls.share(Nginx(cls.directory))
        cls.sha256 = random_file(cls.nginx.files / "file", 20 * MEGABYTE)
        cls.service = cls.share(WebService("here"))

    def setUp(self):
        super().setUp()
        self.directory = temporary_directory()
        self.authority = Authority(self.directory)
        self.certificate = self.authority.issue(RELAY_NAME)
        self.relay = self.use(KiteletRelay(self.directory, certificate=self.certificate, lines=self.lines()))
        self.proxy = self.use(Proxy(self.relay.port))
        self.fly("web", kite("http", WEB, self.nginx.port), kite("http", SHOP, self.service.port))
        self.relay.wait_for(WEB, SHOP)
        self.tunnels = self.proxy.open()

    def lines(self):
        """Further lines of the relay's rc file."""
        return []

    def fly(self, name, *kites):
        lines = [*to_relay(self.proxy, self.authority), *kites]
        return self.use(Agent(self.directory, lines, kind="kitelet", name=name))

    def certificate_shown(self):
        with tls_straight_to(self.relay, RELAY_NAME, self.authority.roots) as way:
            return way.getpeercert(binary_form=True)

    def assert_nothing_broke(self):
        """The first agent's tunnel is the one of the beginning."""
        self.assertEqual(self.proxy.open()[:len(self.tunnels)], self.tunnels)
        self.assertEqual(get(self.relay, SHOP).text, "here")


class Running(_Relay):
    """What changes while it runs."""

    def change_kites(self):
        """A kite more, and of the old ones only one is left."""
        self.relay.write_kites(f"http:{SHOP}:{SECRET}", f"http:{EXTRA}:{EXTRA_SECRET}")

    def test_sighup_lets_a_new_kite_fly_and_takes_an_old_one_down(self):
        self.fly("extra", kite("http", EXTRA, self.service.port, EXTRA_SECRET))
        wait_until(lambda: f"http:{EXTRA} refused" in self.relay.log(), 10, "the stranger is not refused")
        self.change_kites()
        self.relay.reload()
        self.assertFalse(self.relay.flies(WEB))
        self.assertIn(f"http:{WEB} may fly no longer", self.relay.log())
        self.assertTrue(self.relay.flies(SHOP))
        self.relay.wait_for(EXTRA, seconds=60)
        self.assertEqual(get(self.relay, EXTRA).text, "here")
        self.assert_nothing_broke()

    def test_a_changed_kites_file_holds_without_a_signal(self):
        self.change_kites()
        self.relay.wait_without(WEB, seconds=WATCH_SECONDS)
        self.fly("extra", kite("http", EXTRA, self.service.port, EXTRA_SECRET))
        self.relay.wait_for(EXTRA)
        self.assert_nothing_broke()

    def test_a_kites_file_with_a_broken_line_spares_the_others(self):
        self.relay.write_kites("this is no kite", f"http:{SHOP}:{SECRET}")
        self.relay.wait_without(WEB, seconds=WATCH_SECONDS)
        self.assertRegex(self.relay.log(), r"relay\.kites:1: left out")
        self.assert_nothing_broke()

    def test_a_kites_file_that_is_gone_changes_nothing(self):
        self.relay.kites_file.unlink()
        wait_until(lambda: "everything stays as it was" in self.relay.log(), WATCH_SECONDS, "nothing is told")
        self.assertTrue(self.relay.flies(WEB))
        self.assert_nothing_broke()

    def test_sighup_shows_a_new_certificate(self):
        self.assertEqual(self.certificate_shown(), self.certificate.der())
        fresh = self.authority.issue(RELAY_NAME)
        self.assertNotEqual(self.certificate_shown(), b"")
        self.relay.reload()
        self.assertEqual(self.certificate_shown(), fresh.der())
        self.assert_nothing_broke()

    def test_a_new_certificate_is_shown_without_a_signal(self):
        self.assertEqual(self.certificate_shown(), self.certificate.der())
        fresh = self.authority.issue(RELAY_NAME)
        wait_until(lambda: self.certificate_shown() == fresh.der(), WATCH_SECONDS, "the old one is shown")
        self.assert_nothing_broke()

    def test_a_broken_certificate_changes_nothing(self):
        self.certificate.both.write_text("this is no certificate\n")
        wait_until(lambda: "stays as it was" in self.relay.log(), WATCH_SECONDS, "nothing is told")
        self.relay.reload(told="the configuration stays as it was")
        self.assertEqual(self.certificate_shown(), self.certificate.der())
        self.assert_nothing_broke()

    def test_sighup_moves_to_other_ports_and_visitors_stay(self):
        new = free_port()
        with Browser(self.relay, SHOP) as browser:
            self.assertEqual(browser.get("/").text, "here")
            self.relay.write_rc(f"ports = {new}")
            self.relay.reload()
            wait_until(lambda: accepts(new), 5, "nobody listens on the new port")
            self.assertFalse(accepts(self.relay.port))
            self.assertEqual(browser.get("/").text, "here")
        self.assertEqual(self.proxy.open(), self.tunnels)

    def test_a_broken_rc_file_changes_nothing(self):
        for broken in ("prots = 80", "ports = many", "kites = /nonexistent/kites", "tls_default = nobody.test"):
            self.relay.write_rc(broken)
            self.relay.reload(told="the configuration stays as it was")
            self.assertIn(broken.split(" ")[0], self.relay.log())
            self.assertTrue(self.relay.flies(WEB))
            self.assert_nothing_broke()

    def test_a_flood_of_signals_harms_nobody(self):
        result = []
        loading = threading.Thread(target=lambda: result.append(download(self.relay, WEB, "/file")))
        loading.start()
        for _ in range(50):
            self.relay.process.child.send_signal(signal.SIGHUP)
            time.sleep(0.01)
        loading.join(60)
        self.assertEqual(result, [(200, 20 * MEGABYTE, self.sha256)])
        self.assert_nothing_broke()


class Stopping(_Relay):
    """SIGTERM, with visitors who are not done."""

    STOP_SECONDS = 6

    def lines(self):
        return [f"stop_timeout = {self.STOP_SECONDS}"]

    def stop_relay(self):
        self.relay.process.child.send_signal(signal.SIGTERM)
        wait_until(lambda: "stops: " in self.relay.log(), 5, "it does not stop")
        return time.monotonic()

    def ping(self):
        """What an agent gets that looks for a relay (protocol.md 2.4)."""
        with socket.create_connection((self.relay.host, self.relay.port), timeout=10) as way:
            way.sendall(b"HEAD /ping HTTP/1.1\r\nHost: ping.pagekite\r\n\r\n")
            return way.recv(1024)

    def test_a_download_ends_well_and_agents_are_sent_elsewhere(self):
        self.assertNotIn(b"Overloaded", self.ping())
        with Browser(self.relay, WEB) as browser:
            response = browser.ask("/file", headers={"Connection": "close"})
            size = len(response.read(CHUNK_BYTES))
            began = self.stop_relay()
            self.assertTrue(self.ping().startswith(b"HTTP/1.1 503 Unavailable\r\nX-PageKite-Overloaded: "))
            self.assertTrue(self.relay.process.runs())
            time.sleep(2)
            while part := response.read(CHUNK_BYTES):
                size += len(part)
            self.assertEqual(size, 20 * MEGABYTE)
        self.assertEqual(self.relay.process.wait(self.STOP_SECONDS), 0)
        self.assertLess(time.monotonic() - began, self.STOP_SECONDS)

    def test_who_is_not_done_at_the_limit_is_cut(self):
        with Browser(self.relay, SHOP) as browser:
            response = browser.ask("/endless")
            began = self.stop_relay()
            with self.assertRaises(ConnectionError):
                while response.read1(CHUNK_BYTES):
                    pass
        self.assertEqual(self.relay.process.wait(self.STOP_SECONDS), 0)
        took = time.monotonic() - began
        self.assertGreater(took, self.STOP_SECONDS - 2)
        self.assertLess(took, self.STOP_SECONDS + 2)

    def test_without_visitors_it_stops_at_once(self):
        self.assertEqual(get(self.relay, SHOP).text, "here")
        began = self.stop_relay()
        self.assertEqual(self.relay.process.wait(self.STOP_SECONDS), 0)
        self.assertLess(time.monotonic() - began, 2)

    def test_a_visitor_who_merely_keeps_a_connection_is_not_waited_for(self):
        with Browser(self.relay, SHOP) as browser:
            self.assertEqual(browser.get("/").text, "here")
            began = self.stop_relay()
            self.assertEqual(self.relay.process.wait(self.STOP_SECONDS + 2), 0)
            self.assertLess(time.monotonic() - began, 3)

    def test_agents_that_come_while_it_stops_are_turned_away(self):
        with Browser(self.relay, SHOP) as browser:
            held = browser.ask("/endless")
            self.stop_relay()
            with socket.create_connection((self.relay.host, self.relay.port), timeout=10) as way:
                way.sendall(b"CONNECT PageKite:1 HTTP/1.0\r\nX-PageKite: http:new.kite.test:aa::bb\r\n\r\n")
                self.assertTrue(re.match(rb"HTTP/1\.[01] 503 ", way.recv(100)))
            self.assertTrue(held.read1(CHUNK_BYTES))


if __name__ == "__main__":
    unittest.main()
