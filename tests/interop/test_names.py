"""Which kite a visitor reaches: letters of either case, wildcards, several
kites with secrets of their own on one tunnel."""

import unittest

from agents import Agent, kite, to_relay
from harness import Case
from relay import DebianRelay, Proxy
from servers import WebService
from visitors import get

WILD_SECRET, OTHER_SECRET, MIXED_SECRET = "wild5ecret", "0thersecret", "M1xedSecret"


class Names(Case):
    """One agent, one tunnel, kites of several owners."""

    @classmethod
    def set_up(cls):
        cls.relay = cls.share(DebianRelay(cls.directory, kites=[
            ("*.wild.test", WILD_SECRET), ("other.test", OTHER_SECRET), ("mixed.case.test", MIXED_SECRET),
        ]))
        cls.proxy = cls.share(Proxy(cls.relay.port))
        cls.services = {name: cls.share(WebService(name)) for name in ("first", "second", "wild", "mixed")}
        port = {name: service.port for name, service in cls.services.items()}
        lines = [
            *to_relay(cls.proxy),
            kite("http", "first.kite.test", port["first"]),
            kite("http", "other.test", port["second"], OTHER_SECRET),
            kite("http", "*.wild.test", port["wild"], WILD_SECRET),
            kite("HTTP", "Mixed.CASE.test", port["mixed"], MIXED_SECRET),
        ]
        cls.agent = cls.share(Agent(cls.directory, lines))
        cls.relay.wait_for("first.kite.test", "other.test", "mixed.case.test")

    def test_kites_with_different_secrets_fly_on_one_tunnel(self):
        self.assertEqual(get(self.relay, "first.kite.test").text, "first")
        self.assertEqual(get(self.relay, "other.test").text, "second")
        self.assertEqual(len(self.proxy.open()), 1)

    def test_a_kite_in_mixed_case_is_found_by_either_case(self):
        for name in ("mixed.case.test", "Mixed.CASE.test", "MIXED.case.TEST"):
            self.assertEqual(get(self.relay, name).text, "mixed")

    def test_a_wildcard_kite_serves_what_is_below_it(self):
        for name in ("a.wild.test", "b.wild.test", "deep.below.wild.test"):
            self.assertEqual(get(self.relay, name).text, "wild")
            self.assertEqual(get(self.relay, name.upper()).text, "wild")

    def test_a_wildcard_kite_does_not_serve_its_parent(self):
        self.assertEqual(get(self.relay, "wild.test").status, 503)

    def test_a_port_in_the_host_header_is_no_part_of_the_name(self):
        self.assertEqual(get(self.relay, f"first.kite.test:{self.relay.port}").text, "first")


if __name__ == "__main__":
    unittest.main()
