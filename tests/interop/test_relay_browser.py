"""Kitelet's relay with a real browser before it, and Kitelet's or Debian's
agent behind it."""

import hashlib
import json
import unittest

from agents import Agent, flag, kite, to_relay
from browser import Tab
from browsing import DOWNLOAD, ECHO, EVENTS, HASH, OURS, PROTOCOLS, THEIRS, Browsing
from pages import BIG_BYTES, IMAGES, Site
from relay import DOMAIN
from services import Nginx

LOCKED, BUCHER = f"locked.{DOMAIN}", f"xn--bcher-kva.{DOMAIN}"
SHOP, WRONG = f"shop.{DOMAIN}", f"wrong.{DOMAIN}"


class Plain(Browsing):
    """Pages over http, and what their scripts do."""

    @classmethod
    def behind_the_relay(cls):
        cls.two_agents()

    def test_a_page_with_fifty_images_is_whole(self):
        for site, tab in self.of_both():
            self.assert_whole(tab, site)
            for _ in range(3):
                self.assertEqual(tab.reload().status, 200)
                self.assert_whole(tab, site)

    def test_what_is_downloaded_comes_back_as_it_was(self):
        for site, tab in self.of_both():
            sums = tab.run(DOWNLOAD + """
                const send = async method => await (await fetch('/sum', {method: method, body: bytes})).json();
                return [await send('POST'), await send('PUT')]
            """)
            self.assertEqual(sums, [{"size": BIG_BYTES, "sha256": hashlib.sha256(site.big).hexdigest()}] * 2)

    def test_small_bodies_follow_each_other_on_kept_connections(self):
        for _, tab in self.of_both():
            sizes = tab.run("""
                const send = size => fetch('/sum', {method: 'POST', body: 'x'.repeat(size)});
                const sizes = [...Array(60).keys()];
                return await Promise.all(sizes.map(async size => (await (await send(size)).json()).size))
            """)
            self.assertEqual(sizes, list(range(60)))

    def test_a_websocket_echoes_and_closes_cleanly(self):
        for _, tab in self.of_both():
            self.assertEqual(tab.run(ECHO), [True] * 5)

    def test_a_stream_of_events_ends_when_the_page_closes_it(self):
        for site, tab in self.of_both():
            self.assertEqual(tab.run(EVENTS), ["0", "1", "2"])
            self.assertTrue(site.left.wait(20), "the service does not learn that the visitor left")

    def test_a_download_that_is_given_up_disturbs_nobody(self):
        for site, tab in self.of_both():
            tab.run("""
                for (let number = 0; number < 10; number++) {
                    const stop = new AbortController();
                    const answer = await fetch('/endless?' + number, {signal: stop.signal});
                    await answer.body.getReader().read();
                    stop.abort();
                }
            """)
            self.assertEqual(tab.reload().status, 200)
            self.assert_whole(tab, site)

    def test_two_kites_in_twenty_tabs_are_never_mixed_up(self):
        first = self.tab()
        tabs = [first, *(Tab(self.browser, beside=first) for _ in range(19))]
        for tab in tabs[1:]:
            self.addCleanup(tab.close)
        homes = [self.sites[number % 2] for number in range(20)]
        began = [tab.start(f"http://{home.name}/") for tab, home in zip(tabs, homes)]
        for tab, home, start in zip(tabs, homes, began):
            self.assertEqual(tab.finish(start).status, 200)
            self.assert_whole(tab, home)
        self.assert_not_mixed(first)

    def test_a_browser_with_the_relay_as_its_proxy_is_never_mixed_up(self):
        # It sends requests for all names on the same few connections.
        tab = self.tab(proxyServer=f"http://{self.relay.host}:{self.relay.port}")
        for site in (*self.sites, *self.sites):
            self.assertEqual(tab.open(f"http://{site.name}/").status, 200)
            self.assert_whole(tab, site)
        self.assert_not_mixed(tab)
        self.assertEqual(tab.run(ECHO), [True] * 5)

    def assert_not_mixed(self, tab):
        mixed = tab.run(f"""
            const names = {json.dumps([OURS, THEIRS])}, wrong = [];
            await Promise.all([...Array(100).keys()].map(async number => {{
                const name = names[number % 2];
                const text = await (await fetch(`http://${{name}}/name?${{number}}`)).text();
                if (text != name) wrong.push([name, text]);
            }}));
            return wrong
        """)
        self.assertEqual(mixed, [])


class Encrypted(Browsing):
    """TLS that ends at the relay, and TLS that it carries untouched."""

    @classmethod
    def before_the_relay(cls):
        cls.certificate = cls.authority.issue(f"*.{DOMAIN}")
        cls.RELAY = (f"tls_endpoint = *.{DOMAIN}:{cls.certificate.both}",)

    @classmethod
    def behind_the_relay(cls):
        cls.two_agents()
        cls.nginx = cls.share(Nginx(cls.directory, cls.authority.issue(SHOP)))
        (cls.nginx.files / "index.html").write_text("<!doctype html><title>the shop's own</title>")
        for number in range(IMAGES):
            (cls.nginx.files / f"{number}.txt").write_text(f"{number}")
        kites = [kite("https", name, cls.nginx.tls_port) for name in (SHOP, WRONG)]
        cls.share(Agent(cls.directory, [*to_relay(cls.relay), *kites], name="shop"))
        cls.relay.wait_for(SHOP, WRONG, port=443)

    def test_a_page_with_fifty_images_is_whole(self):
        for site, tab in self.of_both("https"):
            self.assert_whole(tab, site)
            self.assertEqual(tab.run("return [location.protocol, isSecureContext]"), ["https:", True])
            self.assertEqual(tab.run(PROTOCOLS), ["http/1.1"])

    def test_the_service_learns_that_the_visitor_came_by_https(self):
        for _, tab in self.of_both("https"):
            seen = tab.run("return await (await fetch('/seen')).json()")
            headers = {name.lower(): value for name, value in seen["headers"]}
            self.assertEqual(headers["x-forwarded-proto"], "https")
            self.assertEqual(headers["x-forwarded-for"], "127.0.0.1")

    def test_10_mb_have_the_right_sum(self):
        for site, tab in self.of_both("https"):
            self.assertEqual(tab.run(DOWNLOAD + HASH), hashlib.sha256(site.big).hexdigest())

    def test_websockets_and_events_go_over_tls(self):
        for site, tab in self.of_both("https"):
            self.assertEqual(tab.run(ECHO), [True] * 5)
            site.left.clear()
            self.assertEqual(tab.run(EVENTS), ["0", "1", "2"])
            self.assertTrue(site.left.wait(20), "the service does not learn that the visitor left")

    def test_an_https_kite_is_passed_through_with_http_2(self):
        tab = self.tab()
        self.assertEqual(tab.open(f"https://{SHOP}/").protocol, "h2")
        texts = tab.run(f"""
            return await Promise.all([...Array({IMAGES}).keys()].map(async number =>
                await (await fetch(`/${{number}}.txt`)).text()))
        """)
        self.assertEqual(texts, [str(number) for number in range(IMAGES)])
        self.assertEqual(tab.run("return document.title"), "the shop's own")
        self.assertEqual(tab.run(PROTOCOLS), ["h2"])

    def test_each_name_gets_its_own_certificate(self):
        tab = self.tab()
        for name, whose in ((SHOP, SHOP), (OURS, f"*.{DOMAIN}")):
            tab.open(f"https://{name}/")
            shown = self.browser.wait_for_event(
                tab.session, "Network.responseReceived", lambda told: told["response"]["url"] == f"https://{name}/"
            )["response"]["securityDetails"]
            self.assertEqual(shown["sanList"], [whose])

    def test_a_service_with_the_certificate_of_another_is_refused_by_the_browser(self):
        self.assertEqual(self.tab().open(f"https://{WRONG}/").error, "net::ERR_CERT_COMMON_NAME_INVALID")

    def test_a_name_for_which_there_is_no_certificate_is_refused_by_the_relay(self):
        self.assertEqual(self.tab().open(f"https://a.b.{DOMAIN}/").error, "net::ERR_SSL_PROTOCOL_ERROR")

    def test_the_page_of_a_kite_that_is_away_comes_over_https_too(self):
        tab = self.tab()
        visit = tab.open(f"https://away.{DOMAIN}/")
        self.assertEqual((visit.error, visit.status), (None, 503))
        much = "return (await fetch('/', {method: 'POST', body: new Uint8Array(5000000)})).status"
        self.assertEqual(tab.run(much), 503)


class Addresses(Browsing):
    """Addresses as people and other pages write them."""

    @classmethod
    def behind_the_relay(cls):
        cls.site = cls.share(Site(OURS))
        names = (OURS, LOCKED, BUCHER)
        kites = [kite("http", name, cls.site.port) for name in names]
        lines = [*to_relay(cls.relay), *kites, flag(LOCKED, "password/ann", "open sesame")]
        cls.share(Agent(cls.directory, lines, kind="kitelet"))
        cls.relay.wait_for(*names)

    def assert_shown(self, url):
        visit = self.tab().open(url)
        self.assertEqual((visit.error, visit.status), (None, 200), url)
        return visit

    def test_names_in_other_letters_and_with_ports_lead_to_the_kite(self):
        for host in (OURS.upper(), f"{OURS}:8080", f"bücher.{DOMAIN}", BUCHER):
            with self.subTest(host):
                self.assert_shown(f"http://{host}/")

    def test_a_name_with_a_dot_at_its_end_leads_to_the_kite(self):
        self.assert_shown(f"http://{OURS}./")

    def test_name_and_password_in_the_address_open_the_kite(self):
        self.assert_shown(f"http://ann:open%20sesame@{LOCKED}/")
        self.assert_shown(f"http://ann:open%20sesame@{OURS}/")
        self.assertIn(self.tab().open(f"http://ann:wrong@{LOCKED}/").status, (401, None))

    def test_an_address_of_8_kb_arrives(self):
        tab = self.tab()
        query = "q" * 8000
        tab.open(f"http://{OURS}/seen?{query}")
        self.assertEqual(json.loads(tab.text())["line"], f"GET /seen?{query} HTTP/1.1")

    def test_an_address_of_64_kb_is_refused_in_words(self):
        tab = self.tab()
        self.assertIn(tab.open(f"http://{OURS}/seen?{'q' * 65536}").status, (414, 431))
        self.assertIn("too large", tab.text().lower())

    def with_cookies(self, count, letters):
        """A tab that has been given so many cookies."""
        tab = self.tab()
        tab.open(f"http://{OURS}/")
        tab.run(f"for (let n = 0; n < {count}; n++) document.cookie = `c${{n}}=${{'v'.repeat({letters})}}; path=/`")
        return tab

    def test_a_hundred_cookies_arrive(self):
        tab = self.with_cookies(100, 60)
        seen = tab.run("return await (await fetch('/seen')).json()")
        cookies = [value for name, value in seen["headers"] if name.lower() == "cookie"]
        self.assertEqual(sum(value.count("=") for value in cookies), 100)

    def test_too_many_cookies_are_told_with_the_mend(self):
        tab = self.with_cookies(100, 300)
        visit = tab.open(f"http://{OURS}/")
        self.assertEqual((visit.status, visit.mime), (431, "text/html"))
        self.assertIn("delete the cookies of this site", tab.text())


if __name__ == "__main__":
    unittest.main()
