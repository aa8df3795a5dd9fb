"""What a real browser shows of the relay's page in place of a kite."""

import re
import unittest

from agents import Agent, kite, to_relay
from browsing import OURS, Browsing
from pages import Site
from relay import DOMAIN
from visitors import get

# Of a kite with a quota.
BUSY_SECRET = "an0therSecret"


class NotServed(Browsing):
    """The page in place of a kite."""

    # Names of one length, so that pages may be compared.
    AWAY, BUSY, LATE, UNKNOWN = f"away.{DOMAIN}", f"busy.{DOMAIN}", f"late.{DOMAIN}", "none.kite.null"
    DOMAINS = (DOMAIN, "kite.null")
    KITES = (f"http:{BUSY}:{BUSY_SECRET} conns=1",)

    @classmethod
    def behind_the_relay(cls):
        cls.site = cls.share(Site(OURS))
        lines = [*to_relay(cls.relay), kite("http", cls.BUSY, cls.site.port, BUSY_SECRET)]
        cls.share(Agent(cls.directory, lines, kind="kitelet", name="busy"))
        cls.relay.wait_for(cls.BUSY)
        if get(cls.relay, cls.BUSY).status != 200:
            raise AssertionError("the kite with a quota does not fly")

    def test_away_unknown_and_over_quota_look_the_same(self):
        pages = set()
        for name in (self.AWAY, self.BUSY, self.UNKNOWN):
            tab = self.tab()
            visit = tab.open(f"http://{name}/")
            self.assertEqual((visit.status, visit.mime), (503, "text/html"))
            self.assertEqual(visit.headers["retry-after"], "30")
            page = tab.run("return document.documentElement.outerHTML")
            self.assertEqual(page.count(name), 1)
            pages.add((page.replace(name, "NAME"), *sorted(visit.headers.items())))
        self.assertEqual(len(pages), 1, pages)

    def test_the_page_reloads_itself_and_gives_way_to_the_kite(self):
        tab = self.tab()
        self.assertEqual(tab.open(f"http://{self.LATE}/").status, 503)
        self.assertEqual(tab.run("return document.querySelector('meta[http-equiv=refresh]').content"), "30")
        lines = [*to_relay(self.relay), kite("http", self.LATE, self.site.port)]
        self.use(Agent(self.directory, lines, kind="kitelet", name="late"))
        self.relay.wait_for(self.LATE)
        self.assertEqual(tab.reload().status, 200)
        self.assertEqual(tab.run("return document.title"), self.site.name)

    def test_a_script_that_sends_much_gets_the_answer_too(self):
        tab = self.tab()
        tab.open(f"http://{self.AWAY}/")
        for size in (0, 1000, 200_000, 5_000_000):
            with self.subTest(size):
                status = tab.run(f"return (await fetch('/', {{method: 'POST', body: new Uint8Array({size})}})).status")
                self.assertEqual(status, 503)

    def test_the_page_fits_phone_and_desk_by_day_and_night(self):
        tab, backgrounds = self.tab(), {}
        for kind, width, height in (("phone", 360, 740), ("desk", 1280, 800)):
            for dark in (False, True):
                with self.subTest(kind, dark=dark):
                    tab.look(width, height, dark, phone=kind == "phone")
                    tab.open(f"http://{self.AWAY}/")
                    tab.screenshot(self.directory / f"{kind}-{'dark' if dark else 'light'}.png")
                    seen = tab.run("""
                        const style = getComputedStyle(document.body);
                        return {wide: document.documentElement.scrollWidth - innerWidth,
                                high: document.documentElement.scrollHeight - innerHeight,
                                colors: [style.color, style.backgroundColor]}
                    """)
                    # Nothing is to be scrolled.
                    self.assertLessEqual(max(seen["wide"], seen["high"]), 0)
                    self.assertGreater(contrast(*seen["colors"]), 7)
                    backgrounds.setdefault(dark, seen["colors"][1])
        self.assertNotEqual(backgrounds[False], backgrounds[True])

    def test_a_name_of_full_length_does_not_break_the_page(self):
        tab = self.tab()
        tab.look(360, 740, phone=True)
        name = ".".join(["a" * 63] * 3 + ["b" * 40, DOMAIN])
        self.assertEqual(tab.open(f"http://{name}/").status, 503)
        self.assertIn(name, tab.text())
        self.assertEqual(tab.run("return document.documentElement.scrollWidth"), 360)
        tab.screenshot(self.directory / "long.png")


def contrast(one, other):
    """How well text is told from its ground, 1 to 21, by the rules of the
    WCAG (2.2, "contrast ratio"); 7 is their best grade."""

    def luminance(color):
        parts = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


if __name__ == "__main__":
    unittest.main()
