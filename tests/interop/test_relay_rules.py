"""What the owner of Kitelet's relay decides: who is let in, what visitors of a
kite may use, what those see who are not served, and what is noted of them."""

import json
import re
import socket
import ssl
import time
import unittest

from agents import Agent, kite, to_relay
from certificates import Authority
from harness import Case, wait_until
from relay import DOMAIN, RELAY_NAME, KiteletRelay
from servers import RawService, WebService
from visitors import PATIENCE_SECONDS, Browser, connect, get, read_all, read_exactly, tls_straight_to

WEB, BOX = f"web.{DOMAIN}", f"box.{DOMAIN}"
# Of the same length, so that pages that name them can be compared.
UNKNOWN, SPENT, CALLED, BUSY = (f"{name}.limits.example" for name in ("unknow", "spenty", "called", "busily"))
SECRET = "aSecret0fLimits"
# A loopback address whose visitors and agents are not let in.
STRANGER = "127.0.0.9"


def fetch(relay, name, path="/", accept="text/html", source="127.0.0.1"):
    """One request from an address of loopback: the bytes of the answer."""
    with socket.create_connection((relay.host, relay.port), PATIENCE_SECONDS, source_address=(source, 0)) as way:
        way.sendall(f"GET {path} HTTP/1.1\r\nHost: {name}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n".encode())
        return read_all(way)


class Rules(Case):
    """One relay with rules of every kind."""

    @classmethod
    def set_up(cls):
        cls.authority = Authority(cls.directory)
        cls.webroot = cls.directory / "webroot"
        cls.challenges = cls.webroot / ".well-known" / "acme-challenge"
        cls.challenges.mkdir(parents=True)
        (cls.challenges / "t0ken-of_certbot").write_text("t0ken-of_certbot.thumbprint")
        (cls.webroot / "secret").write_text("not for visitors")
        cls.common = cls.directory / "access.log"
        cls.service = cls.share(WebService("inside"))
        cls.echo = cls.share(RawService(cls.echoes))
        cls.relay = KiteletRelay(cls.directory, certificate=cls.authority.issue(RELAY_NAME), lines=[
            f"acme_webroot = {cls.webroot}",
            f"client_acl = deny:{STRANGER}", "client_acl = allow:any",
            f"tunnel_acl = deny:{STRANGER}", "tunnel_acl = allow:any",
            f"access_log = {cls.common}",
        ])
        with cls.relay.kites_file.open("a") as kites:
            kites.write(f"http:{SPENT}:{SECRET} bytes=1K\nhttp:{CALLED}:{SECRET} conns=2\n")
            kites.write(f"http:{BUSY}:{SECRET} streams=1\n")
        cls.share(cls.relay)
        cls.agent = cls.share(Agent(cls.directory, [
            *to_relay(cls.relay, cls.authority),
            kite("http", WEB, cls.service.port), kite("raw/22", BOX, cls.echo.port),
            kite("https", f"shop.{DOMAIN}", cls.service.port),
            *(kite("http", name, cls.service.port, SECRET) for name in (SPENT, CALLED, BUSY)),
        ], kind="kitelet"))
        cls.relay.wait_for(WEB, SPENT, CALLED, BUSY)
        cls.relay.wait_for(f"shop.{DOMAIN}", port=443)

    @staticmethod
    def echoes(connection):
        while part := connection.recv(65536):
            connection.sendall(part)

    def assert_like_unknown(self, answer, name):
        """A stranger must not learn that the kite exists."""
        self.assertTrue(answer.startswith(b"HTTP/1.1 503 "), answer[:100])
        unknown = fetch(self.relay, UNKNOWN)
        self.assertEqual(answer.replace(name.encode(), b"NAME"), unknown.replace(UNKNOWN.encode(), b"NAME"))

    def test_a_challenge_of_acme_is_answered(self):
        path = "/.well-known/acme-challenge/t0ken-of_certbot"
        for name in (WEB, RELAY_NAME, "anything.example"):
            answer = get(self.relay, name, path)
            self.assertEqual((answer.status, answer.text), (200, "t0ken-of_certbot.thumbprint"))
        self.assertEqual(get(self.relay, WEB, path, method="HEAD").status, 200)

    def test_what_is_no_challenge_goes_to_the_kite(self):
        for path in ("/.well-known/acme-challenge/another", "/.well-known/acme-challenge/", "/secret"):
            self.assertEqual(get(self.relay, WEB, path).text, "inside", path)
        for path in ("/.well-known/acme-challenge/../../secret", "/.well-known/acme-challenge/..%2f..%2fsecret"):
            self.assertNotIn("not for visitors", get(self.relay, WEB, path).text, path)

    def test_a_kite_without_bytes_left_is_like_an_unknown_one(self):
        answer = get(self.relay, SPENT, "/sum", method="POST", body=b"x" * 2000)
        self.assertEqual(answer.status, 200)
        self.assert_like_unknown(fetch(self.relay, SPENT), SPENT)
        self.assertEqual(get(self.relay, WEB).text, "inside")

    def test_a_kite_without_connections_left_is_like_an_unknown_one(self):
        for _ in range(2):
            self.assertIn(b"inside", fetch(self.relay, CALLED))
        self.assert_like_unknown(fetch(self.relay, CALLED), CALLED)

    def test_a_kite_without_streams_left_is_like_an_unknown_one(self):
        with Browser(self.relay, BUSY) as first:
            self.assertEqual(first.get("/").text, "inside")
            self.assert_like_unknown(fetch(self.relay, BUSY), BUSY)
            self.assertEqual(first.get("/").text, "inside")
        wait_until(lambda: b"inside" in fetch(self.relay, BUSY), 5, "the stream is not given back")

    def test_a_connect_to_nobody_is_in_the_access_log(self):
        with socket.create_connection((self.relay.host, self.relay.port), PATIENCE_SECONDS) as way:
            way.sendall(f"CONNECT {UNKNOWN}:22 HTTP/1.1\r\n\r\n".encode())
            self.assertTrue(way.recv(100).startswith(b"HTTP/1.0 503 "))
        line = f'"raw {UNKNOWN}:22 -" 503 0'
        wait_until(lambda: line in self.common.read_text(), 5, "the CONNECT is not in the access log")

    def test_visitors_from_elsewhere_are_let_in(self):
        self.assertIn(b"inside", fetch(self.relay, WEB, source="127.0.0.8"))

    def test_visitors_who_are_not_let_in_get_a_page(self):
        before = self.service.requests
        answer = fetch(self.relay, WEB, source=STRANGER)
        self.assertTrue(answer.startswith(b"HTTP/1.1 403 "), answer[:100])
        self.assertEqual(self.service.requests, before)
        # It tells nothing of which kites there are.
        self.assertEqual(fetch(self.relay, UNKNOWN, source=STRANGER), answer)

    def test_who_is_not_let_in_gets_no_raw_and_no_https_kite(self):
        relay = (self.relay.host, self.relay.port)
        for target in (f"{BOX}:22", f"{WEB}:80", f"shop.{DOMAIN}:443"):
            with socket.create_connection(relay, PATIENCE_SECONDS, source_address=(STRANGER, 0)) as way:
                way.sendall(f"CONNECT {target} HTTP/1.1\r\n\r\n".encode())
                self.assertRegex(read_all(way), rb"^HTTP/1\.[01] 403 ")
        way = socket.create_connection(relay, PATIENCE_SECONDS, source_address=(STRANGER, 0))
        self.addCleanup(way.close)
        with self.assertRaises(ssl.SSLError) as refusal:
            ssl.create_default_context().wrap_socket(way, server_hostname=f"shop.{DOMAIN}")
        self.assertEqual(refusal.exception.reason, "TLSV1_ALERT_ACCESS_DENIED")

    def test_an_agent_that_is_not_let_in_is_turned_away(self):
        with socket.create_connection(
            (self.relay.host, self.relay.port), PATIENCE_SECONDS, source_address=(STRANGER, 0),
        ) as way:
            way.sendall(f"CONNECT PageKite:1 HTTP/1.0\r\nX-PageKite: http:x.{DOMAIN}:aa::bb\r\n\r\n".encode())
            self.assertRegex(read_all(way), rb"^HTTP/1\.[01] 403 ")

    def test_visits_are_noted_in_the_common_format(self):
        self.assertEqual(get(self.relay, WEB, "/noted?token=hidden").text, "inside")
        with connect(self.relay, BOX, 22) as way:
            way.sendall(b"hello")
            self.assertEqual(read_exactly(way, 5), b"hello")
        noted = wait_until(lambda: f"raw {BOX}:22" in self.common.read_text() and self.common.read_text(), 5, "a line")
        time_of_it = r"\[\d\d/[A-Z][a-z][a-z]/\d{4}:\d\d:\d\d:\d\d \+0000\]"
        self.assertRegex(noted, rf'(?m)^127\.0\.0\.1 - - {time_of_it} "GET /noted(\?\S*)? HTTP/1\.1" 200 \d+$')
        self.assertRegex(noted, rf'(?m)^127\.0\.0\.1 - - {time_of_it} "raw {re.escape(BOX)}:22 -" 0 5$')
        self.assertNotIn("hidden", noted)


class Templates(Case):
    """A page of the owner's, an access log in JSON, and few connections."""

    @classmethod
    def set_up(cls):
        cls.template = cls.directory / "page.html"
        cls.template.write_text("<h1>{title}</h1><p>{name}</p><i>{status}</i> p {color: red}")
        cls.log_file = cls.directory / "access.json"
        cls.service = cls.share(WebService("inside"))
        cls.relay = cls.share(KiteletRelay(cls.directory, lines=[
            f"errorpage = {cls.template}", f"access_log = {cls.log_file}", "access_log_format = json",
        ]))
        cls.agent = cls.share(Agent(
            cls.directory, [*to_relay(cls.relay), kite("http", WEB, cls.service.port)], kind="kitelet",
        ))
        cls.relay.wait_for(WEB)

    def lines_for(self, target):
        noted = [json.loads(line) for line in self.log_file.read_text().splitlines()]
        return [line for line in noted if line["target"] and line["target"].startswith(target)]

    def test_who_is_not_served_sees_the_owners_page(self):
        head, _, body = fetch(self.relay, UNKNOWN).partition(b"\r\n\r\n")
        self.assertRegex(head, rb"^HTTP/1\.1 503 ")
        self.assertRegex(body.decode(), rf"^<h1>[^<{{]+</h1><p>{UNKNOWN}</p><i>503</i> p {{color: red}}$")
        # Programs get a line of text.
        self.assertNotIn(b"<h1>", fetch(self.relay, UNKNOWN, accept="application/json"))

    def test_a_name_cannot_break_out_of_the_page(self):
        for name in ("<script>alert(1)</script>.example", '"><b>x.example', "a&b.example"):
            body = fetch(self.relay, name)
            self.assertRegex(body, rb"^HTTP/1\.1 [45]\d\d ")
            self.assertNotIn(b"<script>", body)
            self.assertNotIn(b"<b>", body)

    def test_a_changed_page_is_shown_without_a_signal(self):
        old = self.template.read_text()
        self.template.write_text("<h1>Anew</h1>{text}")
        self.addCleanup(self.template.write_text, old)
        wait_until(lambda: b"<h1>Anew</h1>" in fetch(self.relay, UNKNOWN), 8, "the old page is shown")

    def test_visits_are_noted_as_json(self):
        get(self.relay, WEB, "/noted?token=hidden", headers={"User-Agent": 'tester "quoted"'})
        get(self.relay, UNKNOWN, "/nobody")
        wait_until(lambda: self.lines_for("/nobody"), 5, "nothing is noted")
        (seen,), (missed,) = self.lines_for("/noted"), self.lines_for("/nobody")
        self.assertEqual(
            {key: seen[key] for key in ("visitor", "kite", "protocol", "port", "tls", "method", "status")},
            {"visitor": "127.0.0.1", "kite": WEB, "protocol": "http", "port": self.relay.port, "tls": False,
             "method": "GET", "status": 200},
        )
        self.assertIn("tester", seen["agent"])
        self.assertGreater(seen["bytes_out"], len("inside"))
        self.assertEqual((missed["kite"], missed["status"]), (UNKNOWN, 503))
        self.assertNotIn("hidden", self.log_file.read_text())

    def test_a_log_that_was_moved_away_begins_anew_after_sighup(self):
        get(self.relay, WEB, "/before")
        wait_until(lambda: self.lines_for("/before"), 5, "nothing is noted")
        self.log_file.rename(self.directory / "access.json.1")
        self.relay.reload()
        get(self.relay, WEB, "/after")
        wait_until(lambda: self.lines_for("/after"), 5, "nothing is noted in the new file")
        self.assertFalse(self.lines_for("/before"))
        self.assertEqual(self.log_file.stat().st_mode & 0o007, 0)


class ManyConnections(Case):
    """ratelimit_conns, of each address by itself."""

    RATE = 20

    @classmethod
    def set_up(cls):
        cls.service = cls.share(WebService("inside"))
        cls.relay = cls.share(KiteletRelay(cls.directory, lines=[f"ratelimit_conns = {cls.RATE}/4"]))
        cls.agent = cls.share(Agent(
            cls.directory, [*to_relay(cls.relay), kite("http", WEB, cls.service.port)], kind="kitelet",
        ))
        cls.relay.wait_for(WEB)

    def status_of_one_more(self):
        """The relay says no without a look at the request, and the connection
        may end with a reset for that."""
        way = socket.create_connection((self.relay.host, self.relay.port), 10, source_address=("127.0.0.7", 0))
        with way:
            way.sendall(f"GET / HTTP/1.1\r\nHost: {WEB}\r\nConnection: close\r\n\r\n".encode())
            return read_exactly(way, 12).split(b" ")[1]

    def test_one_address_too_often_is_429_and_nobody_else(self):
        statuses = [self.status_of_one_more() for _ in range(self.RATE + 5)]
        self.assertEqual(statuses, [b"200"] * self.RATE + [b"429"] * 5)
        self.assertIn(b"inside", fetch(self.relay, WEB, source="127.0.0.6"))
        time.sleep(4.5)
        self.assertIn(b"inside", fetch(self.relay, WEB, source="127.0.0.7"))


if __name__ == "__main__":
    unittest.main()
