"""TLS on the way to the relay, and TLS that ends at the service."""

import hashlib
import ssl
import time
import unittest

from agents import Agent, kite, to_relay
from certificates import Authority
from harness import Case, kitelet_only
from relay import RELAY_NAME, DebianRelay, Proxy
from services import MEGABYTE, Nginx, NginxStream, random_file
from visitors import Browser, download, tls_to

WEB = "web.kite.test"
SHOP = "shop.kite.test"


class TunnelInsideTls(Case):
    """Debian's front-end with a certificate; the agent checks it."""

    @classmethod
    def set_up(cls):
        cls.authority = Authority(cls.directory)
        cls.certificate = cls.authority.issue(RELAY_NAME)
        cls.nginx = cls.share(Nginx(cls.directory))
        cls.sha256 = random_file(cls.nginx.files / "file", 20 * MEGABYTE)
        cls.relay = cls.share(DebianRelay(cls.directory, certificate=cls.certificate))
        cls.proxy = cls.share(Proxy(cls.relay.port))
        lines = [*to_relay(cls.proxy, cls.authority), kite("http", WEB, cls.nginx.port)]
        cls.agent = cls.share(Agent(cls.directory, lines))
        cls.relay.wait_for(WEB)

    def test_a_file_of_20_mb_arrives_whole(self):
        self.assertEqual(download(self.relay, WEB, "/file"), (200, 20 * MEGABYTE, self.sha256))

    def test_the_certificate_is_named_by_a_connect_in_clear(self):
        """Anything else kills Debian's front-end, and all its tunnels."""
        (tunnel,) = self.proxy.open()
        self.assertTrue(tunnel["first"].startswith(f"CONNECT {RELAY_NAME}:443 HTTP/1.".encode()), tunnel["first"][:80])

    def test_nothing_of_the_handshake_is_readable_on_the_way(self):
        for connection in self.proxy.connections:
            self.assertNotIn(b"PageKite:1", connection["first"])
            self.assertNotIn(WEB.encode(), connection["first"])

    def test_a_relay_with_another_name_is_not_trusted(self):
        lines = [
            f"frontend = {self.relay.host}:{self.relay.port}", "fe_certname = other.test",
            f"ca_certs = {self.authority.roots}", kite("http", "other.kite.test", self.nginx.port),
        ]
        agent = self.use(Agent(self.directory, lines, name="other"))
        time.sleep(5)
        self.assertFalse(self.relay.flies("other.kite.test"))
        self.assertTrue(agent.process.runs())

    @kitelet_only("it trusts the system's roots as well")
    def test_a_relay_signed_by_a_stranger_is_not_trusted(self):
        stranger = self.directory / "stranger"
        stranger.mkdir()
        lines = [*to_relay(self.relay, Authority(stranger)), kite("http", "strange.kite.test", self.nginx.port)]
        agent = self.use(Agent(self.directory, lines, name="strange"))
        time.sleep(5)
        self.assertFalse(self.relay.flies("strange.kite.test"))
        self.assertRegex(agent.log().lower(), "certificate")

    @kitelet_only("it sends the pin as part of the name")
    def test_a_pinned_certificate_needs_no_authority(self):
        lines = [
            f"frontend = {self.relay.host}:{self.relay.port}",
            f"fe_certname = {RELAY_NAME}/{self.certificate.sha1()}",
            kite("http", "pinned.kite.test", self.nginx.port),
        ]
        self.use(Agent(self.directory, lines, name="pinned"))
        self.relay.wait_for("pinned.kite.test")




class TunnelByServerName(Case):
    """Load balancers know no CONNECT in clear text and pick the certificate by
    the server name in TLS (protocol.md 2.2 c)."""

    @classmethod
    def set_up(cls):
        cls.authority = Authority(cls.directory)
        cls.relay = cls.share(DebianRelay(cls.directory))
        # One way for each server name, so that the tests see which one it was.
        cls.by_host, cls.by_name = cls.share(Proxy(cls.relay.port)), cls.share(Proxy(cls.relay.port))
        ports = {"localhost": cls.by_host.port, RELAY_NAME: cls.by_name.port}
        certificate = cls.authority.issue(RELAY_NAME, "localhost")
        cls.endpoint = cls.share(NginxStream(cls.directory, certificate, ports))
        cls.nginx = cls.share(Nginx(cls.directory))
        cls.sha256 = random_file(cls.nginx.files / "file", 5 * MEGABYTE)

    def fly(self, name, *lines):
        """Starts an agent whose relay is the endpoint; loads a file."""
        lines = [f"frontend = localhost:{self.endpoint.port}", f"ca_certs = {self.authority.roots}", *lines]
        self.use(Agent(self.directory, [*lines, kite("http", name, self.nginx.port)], name=name))
        self.relay.wait_for(name)
        self.assertEqual(download(self.relay, name, "/file"), (200, 5 * MEGABYTE, self.sha256))

    @kitelet_only("it knows no SNI")
    def test_without_a_certificate_name_it_is_the_relays_own(self):
        self.fly("own.kite.test")
        self.assertEqual(len(self.by_host.open()), 1)

    @kitelet_only("it knows no SNI")
    def test_a_relay_that_takes_nothing_but_tls_is_told_the_certificate_name(self):
        self.fly("named.kite.test", f"fe_certname = {RELAY_NAME}")
        self.assertEqual(len(self.by_name.open()), 1)


class TlsToTheService(Case):
    """An https kite: the relay and the agent carry what they cannot read."""

    @classmethod
    def set_up(cls):
        cls.authority = Authority(cls.directory)
        cls.certificate = cls.authority.issue(SHOP)
        cls.nginx = cls.share(Nginx(cls.directory, cls.certificate))
        cls.sha256 = random_file(cls.nginx.files / "file", 5 * MEGABYTE)
        cls.relay = cls.share(DebianRelay(cls.directory))
        lines = [
            *to_relay(cls.relay),
            kite("https", SHOP, cls.nginx.tls_port),
            kite("https", "down.kite.test", 1),
        ]
        cls.agent = cls.share(Agent(cls.directory, lines))
        cls.relay.wait_for(SHOP, "down.kite.test", port=443)

    def test_the_visitor_sees_the_services_own_certificate(self):
        with tls_to(self.relay, SHOP, self.authority.roots) as way:
            seen = hashlib.sha256(way.getpeercert(binary_form=True)).hexdigest()
        self.assertEqual(seen, self.certificate.sha256())

    def test_a_file_arrives_whole(self):
        with Browser(self.relay, SHOP, tls=tls_to(self.relay, SHOP, self.authority.roots)) as browser:
            answer = browser.get("/file")
        self.assertEqual((answer.status, answer.sha256), (200, self.sha256))

    @kitelet_only("it sends text in place of the alert")
    def test_a_service_that_is_down_is_a_tls_alert(self):
        with self.assertRaises(ssl.SSLError) as refusal:
            tls_to(self.relay, "down.kite.test", self.authority.roots)
        self.assertEqual(refusal.exception.reason, "TLSV1_ALERT_ACCESS_DENIED")


if __name__ == "__main__":
    unittest.main()
