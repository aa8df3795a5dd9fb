"""When something fails between an agent and Kitelet's relay: agents that die,
stall or come twice, ways that are cut, a relay that starts again."""

import re
import signal
import time
import unittest

from agents import Agent, kite, to_relay
from harness import Case, full_only, temporary_directory, wait_until
from relay import KiteletRelay, Proxy
from servers import WebService
from visitors import Browser, get

WEB = "web.kite.test"
WRONG_SECRET = "n0tTheSecret"
# Seconds from the connection of a new agent until its kites fly.
AT_ONCE_SECONDS = 3
# The same when the old one has to prove dead first: it has 5 s for that.
SILENT_SECONDS = 9
# Seconds until an agent is back that has lost its tunnel, or was told that its
# kite flies already; Debian's waits longer from try to try.
BACK_SECONDS = {"kitelet": 30, "debian": 180}


class Trouble:
    """A relay, an agent and a proxy that can cut the way between them, anew for
    each test; a class below says which agent."""

    kind = None

    @classmethod
    def set_up(cls):
        cls.services = {text: cls.share(WebService(text)) for text in ("old", "new")}

    def setUp(self):
        super().setUp()
        # Logs of its own.
        self.directory = temporary_directory()
        self.relay = self.use(KiteletRelay(self.directory))
        self.proxy = self.use(Proxy(self.relay.port))

    def fly(self, text="old", name=WEB, **how):
        lines = [*to_relay(self.proxy), kite("http", name, self.services[text].port, **how)]
        return self.use(Agent(self.directory, lines, kind=self.kind, name=text))

    def serves(self, text):
        """Whether visitors get to the agent with this service."""
        answer = get(self.relay, WEB)
        return answer.status == 200 and answer.text == text

    def time_to_serve(self, text):
        """Seconds from the agent's tunnel, the next after those there are,
        until visitors get to it."""
        asks = lambda: [seen for seen in self.proxy.connections if b"PageKite:1" in seen["first"]]
        known = len(asks())
        self.fly(text)
        first = wait_until(lambda: asks()[known:], 30, "the new agent does not come")[0]
        wait_until(lambda: self.serves(text), 30, f"the {text} agent does not fly")
        return time.monotonic() - first["began"]

    def test_a_new_agent_flies_at_once_when_the_old_one_was_killed(self):
        old = self.fly()
        self.relay.wait_for(WEB)
        self.assertTrue(self.serves("old"))
        self.assertEqual(old.stop(how=signal.SIGKILL), -signal.SIGKILL)
        self.assertLess(self.time_to_serve("new"), AT_ONCE_SECONDS)

    def test_a_new_agent_flies_soon_when_the_old_one_is_silent(self):
        """As after a power failure: nobody closes the old connection."""
        old = self.fly()
        self.relay.wait_for(WEB)
        old.process.child.send_signal(signal.SIGSTOP)
        try:
            self.assertLess(self.time_to_serve("new"), SILENT_SECONDS)
        finally:
            old.process.child.send_signal(signal.SIGCONT)
        self.assertTrue(self.serves("new"))

    def test_a_second_agent_is_a_duplicate_as_long_as_the_first_lives(self):
        old = self.fly("old")
        self.relay.wait_for(WEB)
        with Browser(self.relay, WEB) as kept:
            self.assertEqual(kept.get().text, "old")
            tunnels = self.proxy.count()
            new = self.fly("new")
            wait_until(lambda: self.proxy.count() > tunnels, 20, "the second agent does not come")
            wait_until(lambda: re.search("uplicate|another tunnel", new.log()), 20, "its log says nothing")
            for _ in range(20):
                self.assertTrue(self.serves("old"))
                time.sleep(0.1)
            self.assertEqual(kept.get().text, "old")
        old.stop()
        wait_until(lambda: self.serves("new"), BACK_SECONDS[self.kind], "the second does not follow the first")

    def test_the_agent_is_back_after_the_way_was_cut(self):
        self.fly()
        self.relay.wait_for(WEB)
        before = self.proxy.count()
        self.proxy.cut()
        wait_until(lambda: self.proxy.count() > before, BACK_SECONDS[self.kind], "it does not come back")
        wait_until(lambda: self.serves("old"), BACK_SECONDS[self.kind], "it does not fly again")

    def test_the_agent_is_back_after_the_relay_died(self):
        agent = self.fly()
        self.relay.wait_for(WEB)
        self.relay.process.stop(how=signal.SIGKILL)
        time.sleep(2)
        self.assertTrue(agent.process.runs())
        self.relay.start()
        wait_until(lambda: self.serves("old"), BACK_SECONDS[self.kind], "it does not fly again")

    def test_a_wrong_secret_is_told_and_disturbs_nobody(self):
        self.fly("old")
        self.relay.wait_for(WEB)
        agent = self.fly("new", "wrong.kite.test", secret=WRONG_SECRET)
        wait_until(lambda: "http:wrong.kite.test refused: wrong secret" in self.relay.log(), 20, "nobody is refused")
        wait_until(lambda: "wrong.kite.test" in agent.log(), 20, "the agent's log does not name the kite")
        self.assertRegex(agent.log().lower(), "secret|signature|reject")
        self.assertTrue(agent.process.runs())
        self.assertFalse(self.relay.flies("wrong.kite.test"))
        self.assertTrue(self.serves("old"))
        for log in (agent.log(), self.relay.log()):
            self.assertNotIn(WRONG_SECRET, log)


class Kitelet(Trouble, Case):
    """Kitelet's own agent."""

    kind = "kitelet"


class Debian(Trouble, Case):
    """Debian's pagekite."""

    kind = "debian"

    @full_only("it waits for a minute")
    def test_a_second_agent_is_a_duplicate_as_long_as_the_first_lives(self):
        super().test_a_second_agent_is_a_duplicate_as_long_as_the_first_lives()

    @full_only("it waits for a minute")
    def test_the_agent_is_back_after_the_relay_died(self):
        super().test_the_agent_is_back_after_the_relay_died()

    @full_only("it waits for a minute")
    def test_the_agent_is_back_after_the_way_was_cut(self):
        super().test_the_agent_is_back_after_the_way_was_cut()


if __name__ == "__main__":
    unittest.main()
