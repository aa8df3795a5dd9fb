"""When something fails: relays that die, secrets that are wrong, agents that
are told to stop."""

import signal
import time
import unittest

from agents import Agent, kite, to_relay
from harness import Case, Options, kitelet_only, wait_until
from relay import DebianRelay, Proxy
from servers import WebService
from visitors import Browser, get

WEB = "web.kite.test"
WRONG_SECRET = "n0tTheSecret"
# Seconds until an agent has to be back; half a minute is what a person waits.
BACK_SECONDS = 30 if Options.agent == "kitelet" else 180
# Connections to the relay that an agent may make in 20 s of being refused.
MAX_ATTEMPTS = 8


class Trouble(Case):
    """A relay, an agent and a proxy that can cut the way between them, anew
    for each test."""

    @classmethod
    def set_up(cls):
        cls.service = cls.share(WebService("here"))

    def setUp(self):
        super().setUp()
        self.relay = self.use(DebianRelay(self.directory))
        self.proxy = self.use(Proxy(self.relay.port))

    def fly(self, name=WEB, **how):
        return self.use(Agent(self.directory, [*to_relay(self.proxy), kite("http", name, self.service.port, **how)]))

    def test_the_agent_is_back_after_the_relay_died(self):
        agent = self.fly()
        self.relay.wait_for(WEB)
        self.relay.stop()
        time.sleep(3)
        self.assertTrue(agent.process.runs())
        self.relay.start()
        self.relay.wait_for(WEB, seconds=BACK_SECONDS)
        self.assertEqual(get(self.relay, WEB).text, "here")

    def test_the_agent_is_back_after_the_way_was_cut(self):
        self.fly()
        self.relay.wait_for(WEB)
        before = self.proxy.count()
        self.proxy.cut()
        wait_until(lambda: self.proxy.count() > before, BACK_SECONDS, "the agent does not come back")
        self.relay.wait_for(WEB, seconds=BACK_SECONDS)
        self.assertEqual(get(self.relay, WEB).text, "here")

    def test_an_agent_that_starts_before_its_relay_waits_for_it(self):
        self.relay.stop()
        agent = self.fly()
        time.sleep(3)
        self.assertTrue(agent.process.runs())
        self.relay.start()
        self.relay.wait_for(WEB, seconds=BACK_SECONDS)

    def test_a_wrong_secret_is_told_and_not_hammered(self):
        agent = self.fly("wrong.kite.test", secret=WRONG_SECRET)
        time.sleep(20)
        self.assertTrue(agent.process.runs())
        self.assertFalse(self.relay.flies("wrong.kite.test"))
        self.assertGreater(self.proxy.count(), 0)
        self.assertLessEqual(self.proxy.count(), MAX_ATTEMPTS)
        self.assertNotIn(WRONG_SECRET, agent.log())
        self.assertIn("wrong.kite.test", agent.log())
        self.assertRegex(agent.log().lower(), "secret|signature|reject")

    @kitelet_only("its log has no words for it")
    def test_a_wrong_secret_is_told_with_the_mend(self):
        agent = self.fly("wrong.kite.test", secret=WRONG_SECRET)
        wait_until(lambda: "secret" in agent.log(), 20, "the log does not speak of the secret")

    def test_one_wrong_secret_leaves_the_other_kites_flying(self):
        lines = [
            *to_relay(self.proxy),
            kite("http", WEB, self.service.port),
            kite("http", "wrong.kite.test", self.service.port, WRONG_SECRET),
        ]
        self.use(Agent(self.directory, lines, name="mixed"))
        self.relay.wait_for(WEB)
        time.sleep(3)
        self.assertEqual(get(self.relay, WEB).text, "here")
        self.assertFalse(self.relay.flies("wrong.kite.test"))

    @kitelet_only("it waits for a minute")
    def test_a_restarted_agent_flies_at_once(self):
        """It asks the relay to put the old tunnel down (protocol.md 3.6), or
        has closed it in an orderly way."""
        self.fly()
        self.relay.wait_for(WEB)
        self.things[-1].stop()
        self.relay.wait_without(WEB)
        self.use(Agent(self.directory, [*to_relay(self.proxy), kite("http", WEB, self.service.port)], name="again"))
        self.relay.wait_for(WEB, seconds=BACK_SECONDS)

    @kitelet_only("it dies of signals")
    def test_sigterm_and_sigint_end_it_in_order(self):
        for how in (signal.SIGTERM, signal.SIGINT):
            agent = self.fly()
            self.relay.wait_for(WEB)
            with Browser(self.relay, WEB) as browser:
                browser.get("/")
                self.assertEqual(agent.stop(how=how), 0)
            self.relay.wait_without(WEB)


if __name__ == "__main__":
    unittest.main()
