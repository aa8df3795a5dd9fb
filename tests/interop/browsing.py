"""What the tests with a real browser stand on: a network of its own with
Kitelet's relay in it, and scripts that a page talks to its site with."""

from agents import Agent, kite, to_relay
from browser import Chromium, Loopback
from certificates import Authority
from harness import Case, needs
from pages import IMAGES, Site
from relay import DOMAIN, SECRET, KiteletRelay

OURS, THEIRS = f"ours.{DOMAIN}", f"debian.{DOMAIN}"

# What a page does to talk to its site; each gives an object to look at.
DOWNLOAD = "const bytes = await (await fetch('/big')).arrayBuffer();"
HASH = """
const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
return [...digest].map(byte => byte.toString(16).padStart(2, '0')).join('')
"""
EVENTS = """
const source = new EventSource('/events'), got = [];
await new Promise((done, fail) => {
    source.onmessage = event => { got.push(event.data); if (got.length == 3) done() };
    source.onerror = () => fail(new Error('the stream of events broke'));
});
source.close();
return got
"""
ECHO = """
const chat = new WebSocket(`${location.protocol == 'https:' ? 'wss' : 'ws'}://${location.host}/echo`);
chat.binaryType = 'arraybuffer';
const next = () => new Promise((done, fail) => {
    chat.onmessage = event => done(event.data);
    chat.onclose = event => fail(new Error(`closed with ${event.code}`));
});
await new Promise((done, fail) => { chat.onopen = done; chat.onerror = () => fail(new Error('not opened')) });
const got = [];
for (const text of ['first', 'h\\u00e9llo', 'x'.repeat(100000)]) {
    chat.send(text);
    got.push(await next() === text);
}
const sent = crypto.getRandomValues(new Uint8Array(50000));
chat.send(sent);
const back = new Uint8Array(await next());
got.push(back.length == sent.length && back.every((byte, place) => byte == sent[place]));
const closed = new Promise(done => { chat.onclose = event => done(event.wasClean) });
chat.close(1000, 'bye');
got.push(await closed);
return got
"""
PROTOCOLS = """
const entries = [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')];
return [...new Set(entries.map(entry => entry.nextHopProtocol))]
"""


def relay_for_browsers(directory, lines, kites):
    """`kitelet relay` on the ports that browsers take without being told."""
    relay = KiteletRelay(directory, port=80, more_ports=(443, 8080),
                         lines=["protos = http,https,websocket,raw", *lines])
    relay.write_kites(f"http,https,websocket,raw:*.{DOMAIN}:{SECRET}", *kites)
    return relay


class Browsing(Case):
    """A network of its own with a relay and a browser in it."""

    DOMAINS = (DOMAIN,)
    # Lines of the relay's rc file, and of its kites file.
    RELAY = ()
    KITES = ()

    @classmethod
    def set_up(cls):
        needs("chromium")
        cls.share(Loopback())
        cls.authority = Authority(cls.directory)
        cls.before_the_relay()
        cls.relay = cls.share(relay_for_browsers(cls.directory, cls.RELAY, cls.KITES))
        cls.behind_the_relay()
        cls.browser = cls.share(Chromium(cls.directory, cls.DOMAINS, cls.authority))

    @classmethod
    def before_the_relay(cls):
        """What the relay needs."""

    @classmethod
    def behind_the_relay(cls):
        """Sites and agents."""

    @classmethod
    def two_agents(cls):
        """A site for each kind of agent."""
        cls.ours, cls.theirs = cls.share(Site(OURS)), cls.share(Site(THEIRS))
        for kind, site in (("kitelet", cls.ours), ("debian", cls.theirs)):
            lines = [*to_relay(cls.relay), kite("http", site.name, site.port)]
            cls.share(Agent(cls.directory, lines, kind=kind, name=site.name))
        cls.relay.wait_for(OURS, THEIRS)
        cls.sites = (cls.ours, cls.theirs)

    def tab(self, **how):
        tab = self.browser.tab(**how)
        self.addCleanup(tab.close)
        return tab

    def of_both(self, scheme="http"):
        """A tab with the page of each site, one after the other."""
        for site in self.sites:
            with self.subTest(site.name), self.browser.tab() as tab:
                visit = tab.open(f"{scheme}://{site.name}/")
                self.assertEqual((visit.error, visit.status), (None, 200))
                yield site, tab

    def assert_whole(self, tab, site):
        """The page and all that belongs to it is there, and it is the site's."""
        seen = tab.run("""
            return {title: document.title, owner: window.owner,
                    style: getComputedStyle(document.querySelector('h1')).color,
                    images: [...document.images].map(image => image.complete && image.naturalWidth)}
        """)
        self.assertEqual(seen["images"], [number + 1 for number in range(IMAGES)])
        self.assertEqual((seen["title"], seen["owner"], seen["style"]), (site.name, site.name, "rgb(1, 2, 3)"))
