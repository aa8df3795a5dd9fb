"""TLS that ends at Kitelet's relay: which versions and suites, which certificate
for which name, and sessions that go on."""

import socket
import ssl
import subprocess
import unittest

from agents import Agent, kite, to_relay
from certificates import Authority
from harness import Case, needs
from relay import DOMAIN, RELAY_NAME, KiteletRelay
from servers import WebService
from visitors import PATIENCE_SECONDS, Browser, read_all, tls_straight_to

WEB = f"web.{DOMAIN}"
# What a relay says to TLS that it does not serve (protocol.md 12.4).
ACCESS_DENIED = bytes([0x15, 3, 3, 0, 2, 2, 0x31])


class Tls(Case):
    """A relay with certificates for three names, one of them a wildcard."""

    @classmethod
    def set_up(cls):
        cls.authority = Authority(cls.directory)
        cls.own = cls.authority.issue(RELAY_NAME)
        cls.wild = cls.authority.issue(f"*.{DOMAIN}")
        cls.exact = cls.authority.issue(f"exact.{DOMAIN}")
        cls.service = cls.share(WebService("inside"))
        lines = [
            f"tls_endpoint = *.{DOMAIN}:{cls.wild.both}", f"tls_endpoint = exact.{DOMAIN}:{cls.exact.both}",
        ]
        cls.relay = cls.share(KiteletRelay(cls.directory, certificate=cls.own, lines=lines))
        cls.agent = cls.share(Agent(
            cls.directory, [*to_relay(cls.relay, cls.authority), kite("http", WEB, cls.service.port)], kind="kitelet",
        ))
        cls.relay.wait_for(WEB)

    def context(self, **options):
        """Trusts the authority and no name in particular."""
        context = ssl.create_default_context(cafile=self.authority.roots)
        context.check_hostname = False
        for option, value in options.items():
            setattr(context, option, value)
        return context

    def dial(self):
        way = socket.create_connection((self.relay.host, self.relay.port), timeout=PATIENCE_SECONDS)
        self.addCleanup(way.close)
        return way

    def certificate_for(self, name):
        """The certificate that a client gets who asks for this name, or none."""
        with self.context().wrap_socket(self.dial(), server_hostname=name) as way:
            return way.getpeercert(binary_form=True)

    def s_client(self, *options, text=b""):
        """Runs openssl's client; exit code and what it told."""
        done = subprocess.run(
            [
                needs("openssl"), "s_client", "-connect", f"{self.relay.host}:{self.relay.port}",
                "-CAfile", self.authority.roots, "-verify_return_error", *options,
            ],
            input=text, capture_output=True, timeout=60, check=False,
        )
        return done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace")

    def test_tls_1_2_and_1_3_are_spoken(self):
        for option, version in (("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")):
            code, told = self.s_client(option, "-servername", WEB, "-verify_hostname", WEB)
            self.assertEqual(code, 0, told)
            self.assertRegex(told, f"New, {version}, Cipher is [A-Z]")

    def test_older_versions_are_refused(self):
        for option in ("-tls1", "-tls1_1"):
            # Without a security level, since OpenSSL itself would refuse.
            code, told = self.s_client(option, "-servername", WEB, "-cipher", "ALL:@SECLEVEL=0")
            self.assertNotEqual(code, 0)
            self.assertRegex(told, "alert (protocol version|handshake failure)")

    def test_weak_suites_are_refused(self):
        weak = (
            "AES128-SHA", "AES256-SHA", "AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES128-SHA256",
            "ECDHE-ECDSA-AES256-SHA384", "NULL", "aNULL",
        )
        for suite in weak:
            code, told = self.s_client("-tls1_2", "-servername", WEB, "-cipher", f"{suite}:@SECLEVEL=0")
            self.assertNotEqual(code, 0, suite)
            self.assertIn("alert handshake failure", told, suite)
        code, told = self.s_client("-tls1_2", "-servername", WEB, "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256")
        self.assertEqual(code, 0, told)

    def test_the_certificate_is_that_of_the_name(self):
        for name, certificate in (
            (RELAY_NAME, self.own), (f"exact.{DOMAIN}", self.exact), (f"other.{DOMAIN}", self.wild),
            (f"EXACT.{DOMAIN.upper()}", self.exact),
        ):
            self.assertEqual(self.certificate_for(name), certificate.der(), name)

    def test_without_a_name_it_is_the_relays_own(self):
        self.assertEqual(self.certificate_for(None), self.own.der())

    def test_an_address_is_no_name(self):
        """libpagekite puts one into the server name (protocol.md 2.3)."""
        for name in ("127.0.0.1", "192.0.2.1"):
            hello = bytearray(self.client_hello("a" * len(name)))
            place = hello.index(b"a" * len(name))
            hello[place:place + len(name)] = name.encode()
            way = self.dial()
            way.sendall(hello)
            # A handshake record with the answer, no alert.
            self.assertEqual(way.recv(3), b"\x16\x03\x03", name)

    def client_hello(self, name):
        """The first message of a handshake."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = self.context().wrap_bio(incoming, outgoing, server_hostname=name)
        with self.assertRaises(ssl.SSLWantReadError):
            session.do_handshake()
        return outgoing.read()

    def test_an_unknown_name_is_an_alert(self):
        for name in ("unknown.example", f"a.b.{DOMAIN}", DOMAIN):
            with self.dial() as way:
                way.sendall(self.client_hello(name))
                self.assertEqual(read_all(way), ACCESS_DENIED, name)
            with self.assertRaises(ssl.SSLError) as refusal:
                self.certificate_for(name)
            self.assertEqual(refusal.exception.reason, "TLSV1_ALERT_ACCESS_DENIED")

    def test_a_session_goes_on_on_the_next_connection(self):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = self.context(minimum_version=version, maximum_version=version)
            reused, session = [], None
            for _ in range(3):
                way = context.wrap_socket(self.dial(), server_hostname=WEB, session=session)
                with Browser(self.relay, WEB, tls=way) as browser:
                    self.assertEqual(browser.get("/").text, "inside")
                    reused.append(way.session_reused)
                    session = way.session
            self.assertEqual(reused, [False, True, True], version)

    def test_a_session_of_one_certificate_is_none_of_another(self):
        context = self.context(maximum_version=ssl.TLSVersion.TLSv1_2)
        with context.wrap_socket(self.dial(), server_hostname=WEB) as way:
            session = way.session
        with context.wrap_socket(self.dial(), server_hostname=f"exact.{DOMAIN}", session=session) as way:
            self.assertFalse(way.session_reused)
            self.assertEqual(way.getpeercert(binary_form=True), self.exact.der())

    def test_openssl_reconnects_with_its_session(self):
        code, told = self.s_client("-tls1_2", "-servername", WEB, "-reconnect")
        self.assertEqual(code, 0, told)
        self.assertEqual(told.count("Reused, TLSv1.2"), 5)

    def test_the_protocol_inside_is_http_1_1(self):
        context = self.context()
        context.set_alpn_protocols(["h2", "http/1.1"])
        with context.wrap_socket(self.dial(), server_hostname=WEB) as way:
            self.assertEqual(way.selected_alpn_protocol(), "http/1.1")

    def test_bytes_that_are_no_tls_after_all_harm_nobody(self):
        for junk in (b"\x16\x03\x01\x00\x05hello", b"\x16\x03\x01\xff\xff" + b"x" * 70000, b"\x80\x2e\x01\x03\x01"):
            with self.dial() as way:
                way.sendall(junk)
                way.shutdown(socket.SHUT_WR)
                try:
                    self.assertIn(read_all(way)[:1], (b"", b"\x15"))
                except ConnectionError:
                    pass
        with Browser(self.relay, WEB, tls=tls_straight_to(self.relay, WEB, self.authority.roots)) as browser:
            self.assertEqual(browser.get("/").text, "inside")


if __name__ == "__main__":
    unittest.main()
