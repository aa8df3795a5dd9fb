"""Agents at Kitelet's relay: Kitelet and Debian's pagekite, in every way that
they reach a relay. All of them have the same kites and the same tests."""

import hashlib
import unittest

from agents import Agent, kite, to_relay
from certificates import Authority
from harness import Case, wait_until
from relay import RELAY_NAME, KiteletRelay, Proxy
from servers import RawService, WebService
from services import MEGABYTE, Nginx, random_file
from visitors import Browser, Refused, connect, download, get, read_exactly, tls_straight_to, tls_to

WEB = "web.kite.test"
SHOP = "shop.kite.test"
BOX = "box.kite.test"
# Kites with secrets of their own.
OTHER, OTHER_SECRET = "other.example", "an0therSecret"
WILD, WILD_SECRET = "wild.example", "aTh1rdSecret"
WRONG_SECRET = "n0tTheSecret"


def echo(connection):
    while part := connection.recv(65536):
        connection.sendall(part)


class Kites:
    """The kites of one agent on one tunnel; a class below says which agent, and
    how it gets to the relay."""

    kind = "kitelet"
    secured = False
    # Further rc lines of the agent, and of the relay.
    options = ()
    relay_options = ()

    @classmethod
    def set_up(cls):
        cls.authority = Authority(cls.directory)
        cls.shop_certificate = cls.authority.issue(SHOP)
        cls.nginx = cls.share(Nginx(cls.directory, cls.shop_certificate))
        cls.sha256 = random_file(cls.nginx.files / "file", 5 * MEGABYTE)
        cls.other, cls.wild = cls.share(WebService("other")), cls.share(WebService("wild"))
        cls.ssh, cls.game = cls.share(RawService(echo)), cls.share(RawService(echo))
        certificate = cls.authority.issue(RELAY_NAME, "localhost")
        kites = [(OTHER, OTHER_SECRET), (f"*.{WILD}", WILD_SECRET)]
        lines = [f"tls_endpoint = localhost:{certificate.both}", *cls.relay_options]
        cls.relay = cls.share(KiteletRelay(cls.directory, kites, certificate, lines=lines))
        cls.proxy = cls.share(Proxy(cls.relay.port))
        cls.agent = cls.share(Agent(cls.directory, [
            *cls.way_there(cls.proxy),
            kite("http", WEB, cls.nginx.port),
            kite("https", SHOP, cls.nginx.tls_port),
            kite("raw/22", BOX, cls.ssh.port),
            kite("raw/7777", BOX, cls.game.port),
            kite("http", OTHER, cls.other.port, OTHER_SECRET),
            kite("http", f"*.{WILD}", cls.wild.port, WILD_SECRET),
        ], kind=cls.kind))
        cls.relay.wait_for(WEB, OTHER, f"any.{WILD}")
        cls.relay.wait_for(SHOP, port=443)

    @classmethod
    def way_there(cls, relay):
        """The rc lines for the way to the relay."""
        return [*to_relay(relay, cls.authority if cls.secured else None), *cls.options]

    def the_tunnel(self):
        """What the proxy saw of the one connection that stays."""
        (tunnel,) = self.proxy.open()
        return tunnel

    def test_a_file_arrives_whole(self):
        self.assertEqual(download(self.relay, WEB, "/file"), (200, 5 * MEGABYTE, self.sha256))

    def test_kites_with_different_secrets_fly_on_one_tunnel(self):
        self.assertEqual(get(self.relay, OTHER).text, "other")
        self.the_tunnel()

    def test_a_wildcard_kite_serves_all_names_below_it(self):
        for name in (f"a.{WILD}", f"b.{WILD}", f"c.b.{WILD}"):
            self.assertEqual(get(self.relay, name).text, "wild", name)
        self.assertEqual(get(self.relay, WILD).status, 503)
        self.assertEqual(get(self.relay, f"x{WILD}").status, 503)

    def test_tls_for_an_https_kite_ends_at_its_service(self):
        for way_there in (tls_straight_to, tls_to):
            with Browser(self.relay, SHOP, tls=way_there(self.relay, SHOP, self.authority.roots)) as browser:
                seen = hashlib.sha256(browser.http.sock.getpeercert(binary_form=True)).hexdigest()
                answer = browser.get("/file")
            self.assertEqual(seen, self.shop_certificate.sha256())
            self.assertEqual((answer.status, answer.sha256), (200, self.sha256))

    def test_raw_kites_are_reached_by_their_ports(self):
        for port, service in ((22, self.ssh), (7777, self.game)):
            before = len(service.results)
            with connect(self.relay, BOX, port) as way:
                way.sendall(b"hello")
                self.assertEqual(read_exactly(way, 5), b"hello")
                way.sendall(b"x" * 300_000)
                self.assertEqual(read_exactly(way, 300_000), b"x" * 300_000)
            self.assertEqual(len(service.results), before)
        with self.assertRaises(Refused):
            connect(self.relay, BOX, 23)

    def test_a_wrong_secret_grounds_its_own_kite_only(self):
        agent = self.use(Agent(self.directory, [
            *self.way_there(self.relay),
            kite("http", "right.kite.test", self.other.port),
            kite("http", "wrong.kite.test", self.other.port, WRONG_SECRET),
        ], kind=self.kind, name="mixed"))
        self.relay.wait_for("right.kite.test")
        self.assertFalse(self.relay.flies("wrong.kite.test"))
        self.assertEqual(get(self.relay, "wrong.kite.test").status, 503)
        self.assertEqual(get(self.relay, "right.kite.test").text, "other")
        self.assertEqual(get(self.relay, OTHER).text, "other")
        wait_until(lambda: "wrong.kite.test" in agent.log(), 10, "the agent's log does not name the kite")
        self.assertRegex(agent.log().lower(), "secret|signature|reject")
        for log in (agent.log(), self.relay.log()):
            self.assertNotIn(WRONG_SECRET, log)
        self.assertRegex(self.relay.log(), "http:wrong.kite.test refused: wrong secret")


class KiteletPlain(Kites, Case):
    """In clear."""

    def test_the_tunnel_is_in_clear(self):
        self.assertTrue(self.the_tunnel()["first"].startswith(b"CONNECT PageKite:1 HTTP/1.0\r\n"))


class NamedInClear:
    """A CONNECT in clear names the certificate; TLS without a server name
    follows (protocol.md 2.2)."""

    secured = True

    def test_the_certificate_is_named_by_a_connect_in_clear(self):
        first = self.the_tunnel()["first"]
        self.assertTrue(first.startswith(f"CONNECT {RELAY_NAME}:443 HTTP/1.".encode()), first[:80])


class KiteletTls(NamedInClear, Kites, Case):
    """With a name for the certificate."""


class KiteletServerName(Kites, Case):
    """TLS from the first byte on; the name of the relay goes with it."""

    options = ()

    @classmethod
    def way_there(cls, relay):
        return [f"frontend = localhost:{relay.port}", f"ca_certs = {cls.authority.roots}", *cls.options]

    def test_the_tunnel_is_tls_with_a_server_name(self):
        first = self.the_tunnel()["first"]
        self.assertTrue(first.startswith(b"\x16\x03"), first[:80])
        self.assertIn(b"localhost", first)


class KiteletWebSocket(KiteletServerName):
    """Inside a WebSocket, inside TLS."""

    options = ("wschunks",)


class KiteletPlainWebSocket(Kites, Case):
    """Inside a WebSocket that everybody can read."""

    options = ("wschunks",)

    def test_the_tunnel_is_a_websocket(self):
        first = self.the_tunnel()["first"]
        self.assertTrue(first.startswith(b"GET /"), first[:80])
        self.assertRegex(first.lower(), rb"\nupgrade: websocket\r\n")


class DebianPlain(Kites, Case):
    """In clear; the challenge is answered on the same connection."""

    kind = "debian"


class DebianTls(NamedInClear, Kites, Case):
    """As most users of PageKite have it."""

    kind = "debian"


class DebianUncheckedTls(Kites, Case):
    """TLS from the first byte on, without a server name."""

    kind = "debian"

    @classmethod
    def way_there(cls, relay):
        return [f"frontend = {relay.host}:{relay.port}", "fe_nocertcheck"]

    def test_the_tunnel_is_tls_without_a_server_name(self):
        first = self.the_tunnel()["first"]
        self.assertTrue(first.startswith(b"\x16\x03"), first[:80])
        self.assertNotIn(RELAY_NAME.encode(), first)


class DebianWithoutZlib(Kites, Case):
    """It knows no AddKites then: the challenge is answered on a second
    connection (protocol.md 3.3)."""

    kind = "debian"
    options = ("nozchunks",)

    def test_the_challenge_was_answered_on_a_new_connection(self):
        asked = [tunnel for tunnel in self.proxy.connections if b"PageKite:1" in tunnel["first"]]
        self.assertEqual([tunnel["open"] for tunnel in asked], [False, True])


class DebianWithZlib(Kites, Case):
    """Both ends pack what they send (protocol.md 7)."""

    kind = "debian"
    relay_options = ("zchunks",)

    @classmethod
    def set_up(cls):
        super().set_up()
        # Among the first bytes, so that the proxy keeps it.
        get(cls.relay, OTHER)

    def test_the_agent_packs(self):
        self.assertRegex(self.the_tunnel()["first"], rb"[0-9a-f]+Z[0-9a-f]+\r\n")


if __name__ == "__main__":
    unittest.main()
