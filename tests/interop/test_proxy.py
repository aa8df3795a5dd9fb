"""The agent's way out through real proxies, whose words for a refusal become
the agent's, and who look up the relay's name in its place."""

import os
import signal
import time
import unittest

from agents import Agent, kite
from browser import Loopback
from certificates import Authority
from harness import Case, free_port, kitelet_only, wait_until
from proxies import PASSWORD, USER, Microsocks, Tinyproxy, Tor
from relay import RELAY_NAME, DebianRelay, KiteletRelay
from servers import WebService
from visitors import get

KITE = "web.kite.test"
WHO = f"{USER}:{PASSWORD}@"
WRONG_PASSWORD = "wr0ngPa55word"
# Seconds for what has to stand in the agent's log.
TOLD_SECONDS = 20
# Tries within 15 s of being refused, which begin with a few quick ones.
MAX_ATTEMPTS = 15


class _Case(Case):
    @classmethod
    def set_up(cls):
        cls.service = cls.share(WebService("through the proxy"))
        cls.authority = Authority(cls.directory)
        cls.certificate = cls.authority.issue(RELAY_NAME)

    def agent(self, lines, port, environment=None, more=()):
        """An agent that knows its relay by a name that only proxies know."""
        lines = [
            *lines, f"frontend = {RELAY_NAME}:{port}", f"fe_certname = {RELAY_NAME}",
            f"ca_certs = {self.authority.roots}", kite("http", KITE, self.service.port), *more,
        ]
        agent = Agent(self.directory, lines, name=self.id().rpartition(".")[2])
        agent.process.popen_options["env"] = {**os.environ, **(environment or {})}
        return self.use(agent)

    def assert_told(self, agent, *parts):
        """All parts stand on one line of the log, and no password does."""
        def told():
            return any(all(part in line for part in parts) for line in agent.log().splitlines())
        wait_until(told, TOLD_SECONDS, f"the log does not say {parts}")
        self.assertNotIn(PASSWORD, agent.log())
        self.assertNotIn(WRONG_PASSWORD, agent.log())


@kitelet_only("pagekite looks up the names of relays itself")
class Flying(_Case):
    """Kites in the air, by way of a proxy."""

    def setUp(self):
        super().setUp()
        self.relay = self.use(DebianRelay(self.directory, certificate=self.certificate))

    def assert_flies(self, relay=None):
        relay = relay or self.relay
        relay.wait_for(KITE)
        self.assertEqual(get(relay, KITE).text, "through the proxy")

    def test_http(self):
        proxy = self.use(Tinyproxy(self.directory))
        self.agent([proxy.line()], self.relay.port)
        self.assert_flies()
        self.assertIn(f"CONNECT {RELAY_NAME}:{self.relay.port} HTTP/1.1", proxy.log())

    def test_http_with_password(self):
        proxy = self.use(Tinyproxy(self.directory, password=True))
        agent = self.agent([proxy.line(WHO)], self.relay.port)
        self.assert_flies()
        self.assertNotIn(PASSWORD, agent.log())

    def test_http_by_the_environment(self):
        proxy = self.use(Tinyproxy(self.directory, password=True))
        variables = {"https_proxy": f"http://{WHO}{proxy.host}:{proxy.port}"}
        agent = self.agent([], self.relay.port, variables)
        self.assert_flies()
        self.assertIn("https_proxy in the environment", agent.log())

    def test_a_websocket_through_http(self):
        proxy = self.use(Tinyproxy(self.directory))
        relay = self.use(KiteletRelay(self.directory, certificate=self.certificate, name="kitelet-relay"))
        self.agent([proxy.line()], relay.port, more=["wschunks"])
        self.assert_flies(relay)

    def test_socks(self):
        proxy = self.use(Microsocks(self.directory))
        self.agent([proxy.line()], self.relay.port)
        self.assert_flies()

    def test_socks_with_password(self):
        proxy = self.use(Microsocks(self.directory, password=True))
        self.agent([proxy.line(WHO)], self.relay.port)
        self.assert_flies()

    def test_socks_by_the_environment(self):
        proxy = self.use(Microsocks(self.directory))
        self.agent([], self.relay.port, {"ALL_PROXY": f"socks5h://{proxy.host}:{proxy.port}"})
        self.assert_flies()

    def test_another_proxy_after_sighup(self):
        first, second = self.use(Microsocks(self.directory)), self.use(Tinyproxy(self.directory))
        agent = self.agent([first.line()], self.relay.port)
        self.assert_flies()
        agent.rc.write_text(agent.rc.read_text().replace(first.line(), second.line()))
        agent.process.child.send_signal(signal.SIGHUP)
        self.assert_told(agent, "the way to the relays has changed")
        asked = f"CONNECT {RELAY_NAME}:{self.relay.port} HTTP/1.1"
        wait_until(lambda: asked in second.log(), TOLD_SECONDS, "the second proxy is not asked")
        self.assert_flies()

    def test_the_agent_is_back_after_the_proxy_was_away(self):
        proxy = self.use(Tinyproxy(self.directory))
        agent = self.agent([proxy.line()], self.relay.port)
        self.assert_flies()
        proxy.stop()
        self.relay.wait_without(KITE)
        self.assert_told(agent, "proxy: cannot connect to 127.0.0.1", "nothing listens there")
        proxy.start()
        self.assert_flies()


@kitelet_only("its log has other words")
class Refused(_Case):
    """What the agent says when there is no way through."""

    def setUp(self):
        super().setUp()
        self.relay = self.use(DebianRelay(self.directory, certificate=self.certificate))

    def refused(self, proxy, who=""):
        self.use(proxy)
        return self.agent([proxy.line(who)], self.relay.port)

    def test_http_without_its_password(self):
        agent = self.refused(Tinyproxy(self.directory, password=True))
        self.assert_told(agent, "it wants a user name and a password", "proxy = http:USER:PASSWORD@HOST:PORT")

    def test_http_with_a_wrong_password(self):
        proxy = Tinyproxy(self.directory, password=True, name="wrong-password")
        agent = self.refused(proxy, f"{USER}:{WRONG_PASSWORD}@")
        self.assert_told(agent, f"proxy 127.0.0.1:{proxy.port}: it does not accept the user name and password")
        time.sleep(15)
        self.assertTrue(agent.process.runs())
        self.assertLessEqual(proxy.log().count("Request ("), MAX_ATTEMPTS)

    def test_http_with_rules(self):
        proxy = Tinyproxy(self.directory, lines=["ConnectPort 443"])
        self.assert_told(self.refused(proxy), "it does not let anybody through to that relay or port", "(HTTP 403")

    def test_http_and_no_relay(self):
        proxy = self.use(Tinyproxy(self.directory))
        agent = self.agent([proxy.line()], free_port())
        self.assert_told(agent, "it cannot reach the relay", "(HTTP 500")

    def test_socks_without_its_password(self):
        agent = self.refused(Microsocks(self.directory, password=True))
        self.assert_told(agent, "no acceptable authentication method", "proxy = socks5:USER:PASSWORD@HOST:PORT")

    def test_socks_with_a_wrong_password(self):
        agent = self.refused(Microsocks(self.directory, password=True), f"{USER}:{WRONG_PASSWORD}@")
        self.assert_told(agent, "it does not accept the user name and password")

    def test_socks_and_no_relay(self):
        proxy = self.use(Microsocks(self.directory))
        agent = self.agent([proxy.line()], free_port())
        self.assert_told(agent, "the relay refused its connection; is the port right?")

    def test_http_asked_for_socks(self):
        proxy = self.use(Tinyproxy(self.directory))
        agent = self.agent([f"socksify = {proxy.host}:{proxy.port}"], self.relay.port)
        self.assert_told(agent, "SOCKS", "proxy = http:HOST:PORT")

    def test_socks_asked_for_http(self):
        proxy = self.use(Microsocks(self.directory))
        agent = self.agent([f"proxy = http:{proxy.host}:{proxy.port}"], self.relay.port)
        self.assert_told(agent, f"proxy 127.0.0.1:{proxy.port}: ")


@kitelet_only("its log has other words")
class WithoutNetwork(_Case):
    """Tor where there is nothing but loopback, and onion names that nobody
    but Tor is asked for."""

    # A name with a good checksum; Tor looks for it, and finds no network.
    GOOD = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion"

    @classmethod
    def set_up(cls):
        super().set_up()
        cls.share(Loopback())
        cls.tor = cls.share(Tor(cls.directory))

    def agent_of(self, name):
        lines = [self.tor.line(), f"frontend = {name}:443", "nossl", kite("http", KITE, self.service.port)]
        return self.use(Agent(self.directory, lines, name=self.id().rpartition(".")[2]))

    def test_a_wrong_onion_name_is_a_general_failure(self):
        agent = self.agent_of("kitelet.onion")
        self.assert_told(agent, f"relay kitelet.onion:443: proxy 127.0.0.1:{self.tor.port}: general failure", "its log")

    def test_tor_without_its_network_is_told(self):
        agent = self.agent_of(self.GOOD)
        self.assert_told(agent, f"relay {self.GOOD}:443: proxy 127.0.0.1:{self.tor.port}: ", "TTL expired", "Tor")


if __name__ == "__main__":
    unittest.main()
