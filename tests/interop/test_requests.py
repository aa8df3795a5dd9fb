"""What the agent does to requests on the way: forwarding headers, the URL
firewall, addresses, passwords (protocol.md 13)."""

import base64
import hashlib
import json
import socket
import unittest

from agents import Agent, flag, kite, to_relay
from harness import Case, kitelet_only
from relay import DebianRelay
from servers import RawService, WebService
from visitors import Browser, get

PLAIN, RAW = "plain.kite.test", "raw.kite.test"
OPEN = "open.kite.test"
NEAR, FAR = "near.kite.test", "far.kite.test"
LOCKED = "locked.kite.test"
RENAMED = "renamed.kite.test"
TOLD = "told.kite.test"


class Requests(Case):
    """One service behind kites with different flags."""

    @classmethod
    def set_up(cls):
        cls.service = cls.share(WebService("inside"))
        cls.told = cls.share(RawService(cls.answer_with_what_came))
        cls.relay = cls.share(DebianRelay(cls.directory))
        names = (PLAIN, RAW, OPEN, NEAR, FAR, LOCKED, RENAMED)
        lines = to_relay(cls.relay) + [kite("http", name, cls.service.port) for name in names]
        lines += [
            kite("http", TOLD, cls.told.port),
            flag(RAW, "rawheaders"),
            flag(OPEN, "insecure"),
            flag(NEAR, "ip/127.0.0.1"),
            flag(FAR, "ip/192.0.2.1"),
            flag(LOCKED, "password/ann", "open sesame"),
            flag(RENAMED, "rewritehost", "inner.example"),
            flag(TOLD, "proxyproto"),
        ]
        cls.agent = cls.share(Agent(cls.directory, lines))
        cls.relay.wait_for(*names, TOLD)

    @staticmethod
    def answer_with_what_came(connection):
        came = connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + came)
        connection.shutdown(socket.SHUT_WR)
        return came

    def seen(self, name, **headers):
        """The headers as the service saw them, names in lower case."""
        headers = {key.replace("_", "-"): value for key, value in headers.items()}
        return self.headers_of(get(self.relay, name, "/seen", headers=headers))

    @staticmethod
    def headers_of(answer):
        seen = {}
        for key, value in json.loads(answer.body)["headers"]:
            seen.setdefault(key.lower(), []).append(value)
        return seen

    def test_the_service_learns_the_visitors_address(self):
        seen = self.seen(PLAIN)
        self.assertEqual(seen["x-forwarded-for"], ["127.0.0.1"])
        self.assertEqual(seen["x-forwarded-proto"], ["http"])
        self.assertEqual(seen["x-pagekite-port"], [str(self.relay.port)])
        self.assertEqual(seen["host"], [PLAIN])

    def test_a_visitor_cannot_forge_the_address(self):
        seen = self.seen(PLAIN, X_Forwarded_For="10.9.8.7", X_Forwarded_Proto="https")
        self.assertEqual(seen["x-forwarded-for"], ["127.0.0.1"])
        self.assertEqual(seen["x-forwarded-proto"], ["http"])
        self.assertEqual(seen["x-old-x-forwarded-for"], ["10.9.8.7"])

    @kitelet_only("it leaves requests behind the first of a piece alone")
    def test_every_request_of_a_kept_connection_is_treated_alike(self):
        with Browser(self.relay, PLAIN) as browser:
            for path in ("/seen?1", "/seen?2", "/seen?3"):
                seen = self.headers_of(browser.get(path, headers={"X-Forwarded-For": "10.9.8.7"}))
                self.assertEqual(seen["x-forwarded-for"], ["127.0.0.1"])

    @kitelet_only("it changes lines in the body too")
    def test_a_body_that_looks_like_a_request_is_left_alone(self):
        body = b"first line\r\nGET /seen HTTP/1.1\r\nX-Forwarded-For: 10.9.8.7\r\n\r\n"
        answer = get(self.relay, PLAIN, "/sum", method="POST", body=body)
        self.assertEqual(json.loads(answer.body)["size"], len(body))
        self.assertEqual(json.loads(answer.body)["sha256"], hashlib.sha256(body).hexdigest())

    def test_rawheaders_leaves_the_request_alone(self):
        seen = self.seen(RAW, X_Forwarded_For="10.9.8.7")
        self.assertEqual(seen["x-forwarded-for"], ["10.9.8.7"])
        self.assertNotIn("x-pagekite-port", seen)

    def test_rewritehost_gives_the_service_its_own_name(self):
        seen = self.seen(RENAMED)
        self.assertEqual(seen["host"], ["inner.example"])
        self.assertEqual(seen["x-old-host"], [RENAMED])

    def test_the_firewall_blocks_addresses_of_administration(self):
        before = self.service.requests
        for path in ("/admin", "/wp-admin/", "/phpMyAdmin/", "/x/../etc/passwd"):
            self.assertEqual(get(self.relay, PLAIN, path).status, 500, path)
        self.assertEqual(self.service.requests, before)

    @kitelet_only("its page does not say what to mend")
    def test_the_firewalls_page_names_the_flag_that_opens(self):
        answer = get(self.relay, PLAIN, "/admin")
        self.assertIn("+insecure", answer.text)
        self.assertIn(PLAIN, answer.text)

    @kitelet_only("it passes later requests on with a prefix")
    def test_the_firewall_sees_later_requests_too(self):
        with Browser(self.relay, PLAIN) as browser:
            self.assertEqual(browser.get("/").text, "inside")
            self.assertEqual(browser.get("/admin").status, 500)

    def test_an_insecure_kite_has_no_firewall(self):
        self.assertEqual(get(self.relay, OPEN, "/admin").text, "inside")

    def test_a_visitor_from_an_allowed_address_is_let_in(self):
        self.assertEqual(get(self.relay, NEAR).text, "inside")

    def test_a_visitor_from_another_address_is_not(self):
        before = self.service.requests
        self.assertEqual(get(self.relay, FAR).status, 503)
        self.assertEqual(self.service.requests, before)

    def with_password(self, credentials):
        token = base64.b64encode(credentials.encode()).decode()
        return get(self.relay, LOCKED, headers={"Authorization": f"Basic {token}"})

    def test_without_the_password_nobody_gets_in(self):
        before = self.service.requests
        answer = get(self.relay, LOCKED)
        self.assertEqual(answer.status, 401)
        self.assertTrue(answer.headers["WWW-Authenticate"].startswith("Basic "))
        for credentials in ("ann:wrong", "bob:open sesame", "ann:", ":", "ann"):
            self.assertEqual(self.with_password(credentials).status, 401, credentials)
        self.assertEqual(self.service.requests, before)

    @kitelet_only("it refuses the right password as well")
    def test_with_the_password_one_gets_in(self):
        self.assertEqual(self.with_password("ann:open sesame").text, "inside")

    @kitelet_only("it fails for visitors over IPv4")
    def test_proxyproto_tells_the_address_before_the_first_byte(self):
        line, _, rest = get(self.relay, TOLD).body.partition(b"\r\n")
        words = line.split(b" ")
        self.assertEqual(words[:3], [b"PROXY", b"TCP4", b"127.0.0.1"])
        self.assertTrue(rest.startswith(b"GET / HTTP/1.1\r\n"), rest[:100])


if __name__ == "__main__":
    unittest.main()
