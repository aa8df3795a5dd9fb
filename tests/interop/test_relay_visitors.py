"""Visitors of Kitelet's relay: browsers, curl and nc, in clear and over TLS that
ends at the relay. Both have the same kites and the same tests."""

import hashlib
import json
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

from agents import Agent, kite, to_relay
from certificates import Authority
from harness import Case, full_only, needs
from relay import DOMAIN, RELAY_NAME, KiteletRelay
from servers import WebService
from services import MEGABYTE, Nginx, random_file, sha256_of
from visitors import (
    PATIENCE_SECONDS, Browser, WebSocket, download, read_all, tls_straight_to,
)

WEB, TAP, TALK = f"web.{DOMAIN}", f"tap.{DOMAIN}", f"talk.{DOMAIN}"
SHOP = "shop.example"
# Visitors that read nothing and their neighbours stay far below this.
MAX_RESIDENT_KILOBYTES = 48 * 1024
# Seconds for 20 MB while others read nothing; alone they take a tenth of one.
STALLED_SECONDS = 4


class Visitors:
    """One relay and one agent for everybody; a class below says how visitors
    come."""

    scheme = None

    @classmethod
    def set_up(cls):
        cls.authority = Authority(cls.directory)
        certificate = cls.authority.issue(RELAY_NAME, f"*.{DOMAIN}")
        cls.nginx = cls.share(Nginx(cls.directory, cls.authority.issue(SHOP)))
        (cls.nginx.files / "page").write_text("a page for everybody\n" * 100)
        (cls.nginx.files / "packed" / "page").write_text("packed\n" * 1000)
        cls.sha256 = random_file(cls.nginx.files / "file", 20 * MEGABYTE)
        cls.tap, cls.talk = cls.share(WebService("tap")), cls.share(WebService("talk"))
        # All visitors of a test come from one address.
        lines = ["max_connections = 1000", f"tls_endpoint = *.{DOMAIN}:{certificate.both}"]
        kites = [(SHOP, "aSecret0fShops")]
        cls.relay = cls.share(KiteletRelay(cls.directory, kites, certificate, lines=lines))
        cls.agent = cls.share(Agent(cls.directory, [
            *to_relay(cls.relay, cls.authority),
            "max_streams = 1000",
            kite("http", WEB, cls.nginx.port),
            kite("http", TAP, cls.tap.port),
            kite("http", TALK, cls.talk.port),
            kite("https", SHOP, cls.nginx.tls_port, "aSecret0fShops"),
        ], kind="kitelet"))
        cls.relay.wait_for(WEB, TAP, TALK)
        cls.relay.wait_for(SHOP, port=443)

    def way_to(self, name):
        """A connection as browsers make it."""
        if self.scheme == "https":
            return tls_straight_to(self.relay, name, self.authority.roots)
        return socket.create_connection((self.relay.host, self.relay.port), timeout=PATIENCE_SECONDS)

    def browser(self, name):
        return Browser(self.relay, name, tls=self.way_to(name))

    def curl(self, name, path, *options, scheme=None, **run):
        """Runs curl; what it wrote to standard output."""
        done = subprocess.run(
            [
                needs("curl"), "-sS", "--max-time", "120", "--cacert", self.authority.roots,
                "--resolve", f"{name}:{self.relay.port}:{self.relay.host}", *options,
                f"{scheme or self.scheme}://{name}:{self.relay.port}{path}",
            ],
            capture_output=True, timeout=150, check=False, **run,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.curl_told = done.stderr.decode()
        return done.stdout

    def test_curl_gets_a_page(self):
        self.assertEqual(self.curl(WEB, "/page"), b"a page for everybody\n" * 100)
        self.assertEqual(self.curl(WEB, "/packed/page", "--compressed"), b"packed\n" * 1000)

    def test_a_file_of_20_mb_arrives_whole(self):
        result = download(self.relay, WEB, "/file", tls=self.way_to(WEB))
        self.assertEqual(result, (200, 20 * MEGABYTE, self.sha256))

    @full_only("it takes a while")
    def test_a_file_of_100_mb_arrives_whole(self):
        sha256 = random_file(self.nginx.files / "large", 100 * MEGABYTE)
        result = download(self.relay, WEB, "/large", tls=self.way_to(WEB))
        self.assertEqual(result, (200, 100 * MEGABYTE, sha256))

    def test_one_connection_is_used_again_and_again(self):
        with self.browser(TAP) as browser:
            for _ in range(50):
                self.assertEqual(browser.get("/").text, "tap")
                self.assertEqual(browser.get("/", method="HEAD").body, b"")

    def test_http_1_0_gets_an_answer_and_the_end(self):
        with self.way_to(TAP) as way:
            way.sendall(f"GET / HTTP/1.0\r\nHost: {TAP}\r\n\r\n".encode())
            head, _, body = read_all(way).partition(b"\r\n\r\n")
        self.assertRegex(head, rb"^HTTP/1\.[01] 200 ")
        self.assertEqual(body, b"tap")
        self.assertEqual(self.curl(WEB, "/page", "-0"), b"a page for everybody\n" * 100)

    def test_head_has_the_length_and_no_body(self):
        told = self.curl(WEB, "/file", "-I").decode()
        self.assertIn(f"content-length: {20 * MEGABYTE}\r\n", told.lower())

    def test_20_mb_are_sent_whole(self):
        body = os.urandom(20 * MEGABYTE)
        with self.browser(TAP) as browser:
            for _ in range(2):
                answer = json.loads(browser.get("/sum", method="POST", body=body).body)
                self.assertEqual(answer, {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body)})

    def test_curl_waits_for_100_continue(self):
        body = self.directory / "body"
        digest = random_file(body, 5 * MEGABYTE)
        answer = json.loads(self.curl(TAP, "/sum", "-v", "--data-binary", f"@{body}"))
        self.assertEqual(answer["sha256"], digest)
        self.assertIn("HTTP/1.1 100 Continue", self.curl_told)

    def test_a_chunked_body_is_sent_whole(self):
        body = os.urandom(3 * MEGABYTE)
        self.curl(WEB, "/upload/chunked", "-T", "-", "-v", input=body)
        self.assertIn("Transfer-Encoding: chunked", self.curl_told)
        self.assertEqual(sha256_of(self.nginx.uploads / "chunked"), hashlib.sha256(body).hexdigest())

    def test_200_visitors_at_once_are_all_served(self):
        everybody = threading.Barrier(200, timeout=60)

        def visit(_):
            with self.browser(WEB) as browser:
                everybody.wait()
                page = browser.get("/page").text
                everybody.wait()
                return page

        with ThreadPoolExecutor(200) as crowd:
            pages = list(crowd.map(visit, range(200)))
        self.assertEqual(pages, ["a page for everybody\n" * 100] * 200)

    def stall(self, count):
        """So many visitors who ask for something endless and read nothing."""
        for number in range(count):
            stalled = self.way_to(TAP)
            self.addCleanup(stalled.close)
            stalled.sendall(f"GET /endless?{number} HTTP/1.1\r\nHost: {TAP}\r\n\r\n".encode())
        # The buffers on the way fill up.
        time.sleep(1)

    def test_who_reads_nothing_holds_up_nobody(self):
        self.stall(8)
        result = download(self.relay, WEB, "/file", seconds=STALLED_SECONDS, tls=self.way_to(WEB))
        self.assertEqual(result, (200, 20 * MEGABYTE, self.sha256))
        self.assertLess(self.relay.process.peak_kilobytes(), MAX_RESIDENT_KILOBYTES)

    def test_many_who_read_nothing_hold_up_nobody(self):
        self.stall(40)
        result = download(self.relay, WEB, "/file", seconds=STALLED_SECONDS, tls=self.way_to(WEB))
        self.assertEqual(result, (200, 20 * MEGABYTE, self.sha256))

    def test_a_service_that_dies_cuts_its_own_answer_only(self):
        with self.browser(TAP) as neighbour, self.way_to(TAP) as unlucky:
            slow = neighbour.ask("/slow")
            unlucky.sendall(f"GET /die HTTP/1.1\r\nHost: {TAP}\r\n\r\n".encode())
            try:
                self.assertLess(len(read_all(unlucky)), 150_000)
            except OSError:
                pass
            self.assertEqual(slow.read(), b"0123456789" * 10)
            self.assertEqual(neighbour.get("/").text, "tap")

    def test_a_part_of_an_answer_does_not_end_like_all_of_it(self):
        """An answer without a length ends with its connection."""
        lines = [*to_relay(self.relay, self.authority), kite("http", f"lost.{DOMAIN}", self.tap.port)]
        agent = self.use(Agent(self.directory, lines, kind="kitelet", name=f"lost-{self.scheme}"))
        self.relay.wait_for(f"lost.{DOMAIN}")
        with self.way_to(f"lost.{DOMAIN}") as way:
            way.sendall(f"GET /endless?lost HTTP/1.1\r\nHost: lost.{DOMAIN}\r\n\r\n".encode())
            self.assertTrue(way.recv(1000))
            agent.stop(how=signal.SIGKILL)
            # Python hides an end of TLS that was not announced.
            if self.scheme == "https":
                way.suppress_ragged_eofs = False
            with self.assertRaises((ConnectionError, ssl.SSLEOFError)):
                read_all(way)

    def test_websockets_are_echoed(self):
        chat = WebSocket(self.relay, TALK, tls=self.way_to(TALK))
        self.addCleanup(chat.close)
        self.assertEqual((chat.status, chat.accepted), (101, True))
        for size in (1, 125, 126, 65535, 65536, MEGABYTE):
            message = os.urandom(size)
            chat.send(WebSocket.BINARY, message)
            self.assertEqual(chat.receive(), (WebSocket.BINARY, message))
        chat.send(WebSocket.CLOSE, b"")
        self.assertEqual(chat.receive(), (WebSocket.CLOSE, b""))
        self.assertEqual(chat.way.recv(1), b"")

    def test_the_service_learns_how_the_visitor_came(self):
        with self.browser(TAP) as browser:
            seen = browser.get("/seen", headers={"X-Forwarded-For": "10.9.8.7"}).body
        headers = {key.lower(): value for key, value in json.loads(seen)["headers"]}
        self.assertEqual(headers["x-forwarded-for"], "127.0.0.1")
        self.assertEqual(headers["x-forwarded-proto"], self.scheme)


class InClear(Visitors, Case):
    """HTTP."""

    scheme = "http"

    def test_one_connection_leads_to_several_kites(self):
        with self.browser(TAP) as browser:
            for _ in range(10):
                for name, text in ((TAP, "tap"), (TALK, "talk")):
                    self.assertEqual(browser.get("/", headers={"Host": name}).text, text)
            self.assertEqual(browser.get("/", headers={"Host": f"nobody.{DOMAIN}"}).status, 503)

    def test_requests_ahead_of_answers_lead_to_several_kites(self):
        order = [TAP, TALK, TALK, TAP] * 5
        with self.way_to(TAP) as way:
            asked = [f"GET /?{number} HTTP/1.1\r\nHost: {name}\r\n" for number, name in enumerate(order)]
            way.sendall(("\r\n".join(asked) + "Connection: close\r\n\r\n").encode())
            answers = read_all(way).split(b"HTTP/1.1 200 OK\r\n")
        self.assertEqual(answers[0], b"")
        bodies = [answer.partition(b"\r\n\r\n")[2].decode() for answer in answers[1:]]
        self.assertEqual(bodies, [name.split(".")[0] for name in order])

    def test_a_relay_can_be_the_proxy_of_a_browser(self):
        done = subprocess.run(
            [needs("curl"), "-sS", "-x", f"http://{self.relay.host}:{self.relay.port}", f"http://{TALK}/"],
            capture_output=True, timeout=60, check=True,
        )
        self.assertEqual(done.stdout, b"talk")

    def test_who_stops_speaking_still_gets_the_answer(self):
        """nginx is no service for this: it gives up on such visitors."""
        text = "all that was asked for\n" * 200_000
        service = self.use(WebService(text))
        lines = [*to_relay(self.relay, self.authority), kite("http", f"large.{DOMAIN}", service.port)]
        self.use(Agent(self.directory, lines, kind="kitelet", name="large"))
        self.relay.wait_for(f"large.{DOMAIN}")
        request = f"GET / HTTP/1.1\r\nHost: large.{DOMAIN}\r\nConnection: close\r\n\r\n".encode()
        done = subprocess.run(
            [needs("nc"), "-N", self.relay.host, str(self.relay.port)],
            input=request, capture_output=True, timeout=120, check=True,
        )
        self.assertTrue(done.stdout.partition(b"\r\n\r\n")[2] == text.encode())

    def test_without_a_host_there_is_nothing_to_bring(self):
        for request in (b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"):
            with self.way_to(TAP) as way:
                way.sendall(request)
                self.assertTrue(read_all(way).startswith(b"HTTP/1.1 400 "))


class OverTls(Visitors, Case):
    """HTTPS; the relay has the certificate of all kites below one name."""

    scheme = "https"

    def test_http_2_is_spoken_with_an_https_kite(self):
        version = self.curl(SHOP, "/page", "--http2", "-o", "/dev/null", "-w", "%{http_version} %{http_code}")
        self.assertEqual(version, b"2 200")
        digest = hashlib.sha256(self.curl(SHOP, "/file", "--http2")).hexdigest()
        self.assertEqual(digest, self.sha256)

    def test_http_1_1_is_spoken_with_the_relay(self):
        version = self.curl(WEB, "/page", "--http2", "-o", "/dev/null", "-w", "%{http_version} %{http_code}")
        self.assertEqual(version, b"1.1 200")

    def test_a_connection_for_one_kite_leads_to_no_other(self):
        """RFC 9110 section 15.5.20: a browser then makes another one."""
        with self.browser(TAP) as browser:
            self.assertEqual(browser.get("/").text, "tap")
            self.assertEqual(browser.get("/", headers={"Host": TALK}).status, 421)


if __name__ == "__main__":
    unittest.main()
