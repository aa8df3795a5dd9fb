"""Many visitors, and visitors of very different speed: one never waits for
another, and the agent's memory has a bound."""

import socket
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

from agents import Agent, kite, to_relay
from harness import Case, kitelet_only, wait_until
from relay import DebianRelay
from servers import WebService
from services import MEGABYTE, Nginx, random_file
from visitors import Browser, download

WEB = "web.kite.test"
TAP = "tap.kite.test"
# Ten slow visitors and a fast one stay far below this.
MAX_RESIDENT_KILOBYTES = 24 * 1024


class Crowd(Case):
    """One agent for everybody."""

    @classmethod
    def set_up(cls):
        cls.nginx = cls.share(Nginx(cls.directory))
        (cls.nginx.files / "page").write_text("a page for everybody\n" * 100)
        cls.sha256 = random_file(cls.nginx.files / "file", 10 * MEGABYTE)
        cls.service = cls.share(WebService())
        cls.relay = cls.share(DebianRelay(cls.directory))
        lines = [
            *to_relay(cls.relay),
            kite("http", WEB, cls.nginx.port),
            kite("http", TAP, cls.service.port),
        ]
        cls.agent = cls.share(Agent(cls.directory, lines))
        cls.relay.wait_for(WEB, TAP)

    def assert_memory_is_bounded(self):
        self.assertLess(self.agent.process.peak_kilobytes(), MAX_RESIDENT_KILOBYTES)

    @kitelet_only("200 ends of streams at once kill its tunnel (protocol.md 5)")
    def test_200_visitors_at_once_are_all_served(self):
        everybody = threading.Barrier(200, timeout=60)

        def visit(_):
            with Browser(self.relay, WEB) as browser:
                browser.http.connect()
                everybody.wait()
                page = browser.get("/page").text
                everybody.wait()
                return page

        with ThreadPoolExecutor(200) as crowd:
            pages = list(crowd.map(visit, range(200)))
        self.assertEqual(pages, ["a page for everybody\n" * 100] * 200)
        self.assert_memory_is_bounded()

    def slow_visitor(self, key):
        """Asks for an endless answer with the smallest of buffers."""
        slow = socket.socket()
        self.addCleanup(slow.close)
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(30)
        slow.connect((self.relay.host, self.relay.port))
        slow.sendall(f"GET /endless?{key} HTTP/1.1\r\nHost: {TAP}\r\n\r\n".encode())
        return slow

    @kitelet_only("it floods the relay, which then slows down for everybody")
    def test_a_visitor_at_1_kb_per_second_does_not_hold_up_a_fast_one(self):
        slow = self.slow_visitor("one")
        self.assertIn(b"200", slow.recv(1024))
        # 1 KB/s would take three hours; the relay alone takes 3 s.
        result = download(self.relay, WEB, "/file", seconds=60)
        self.assertEqual(result, (200, 10 * MEGABYTE, self.sha256))
        for _ in range(3):
            time.sleep(1)
            self.assertTrue(slow.recv(1024))
        self.assert_memory_is_bounded()

    @kitelet_only("it floods the relay, which then slows down for everybody")
    def test_the_service_of_a_slow_visitor_is_no_longer_read(self):
        slow = self.slow_visitor("stalled")
        self.assertIn(b"200", slow.recv(1024))

        def sent_in_a_second():
            before = self.service.sent["stalled"]
            time.sleep(1)
            return self.service.sent["stalled"] - before

        # The buffers on the way fill up, and then nothing moves.
        wait_until(lambda: sent_in_a_second() == 0, 30, "the service can still send")
        held = self.service.sent["stalled"]
        for _ in range(3):
            slow.recv(1024)
            time.sleep(1)
        # What the visitor takes, plus a window, may follow; not a torrent.
        self.assertLess(self.service.sent["stalled"] - held, 256 * 1024)
        self.assert_memory_is_bounded()

    @kitelet_only("it floods the relay, which then slows down for everybody")
    def test_ten_stalled_visitors_cost_bounded_memory(self):
        visitors = [self.slow_visitor(f"one-of-ten-{number}") for number in range(10)]
        for slow in visitors:
            self.assertIn(b"200", slow.recv(1024))
        time.sleep(5)
        self.assert_memory_is_bounded()
        self.assertEqual(download(self.relay, WEB, "/file"), (200, 10 * MEGABYTE, self.sha256))


if __name__ == "__main__":
    unittest.main()
