"""One conversation from its first byte to its end: who may still speak when
the other has finished, and what a visitor sees of a service that dies."""

import hashlib
import http.client
import os
import socket
import time
import unittest

from agents import Agent, kite, to_relay
from harness import Case, Options, kitelet_only, wait_until
from relay import DebianRelay, Proxy
from servers import RawService, WebService
from services import MEGABYTE
from visitors import Browser, connect, get, read_all, read_exactly

LINE = "line.kite.test"
WEB = "web.kite.test"


class RawStreams(Case):
    """Conversations over raw kites, each with a service of its own."""

    @classmethod
    def set_up(cls):
        cls.relay = cls.share(DebianRelay(cls.directory))
        cls.talks = [
            (1001, cls.service_finishes_first), (1002, cls.service_reads_to_the_end),
            (1003, cls.service_greets), (1004, cls.service_echoes),
        ]
        cls.services = {port: cls.share(RawService(talk)) for port, talk in cls.talks}
        lines = to_relay(cls.relay) + [
            kite(f"raw/{port}", LINE, service.port) for port, service in cls.services.items()
        ]
        cls.agent = cls.share(Agent(cls.directory, lines))
        cls.relay.wait_for(LINE, port=1004)

    @staticmethod
    def service_finishes_first(connection):
        connection.sendall(b"all I have")
        connection.shutdown(socket.SHUT_WR)
        return read_all(connection)

    @staticmethod
    def service_reads_to_the_end(connection):
        return hashlib.sha256(read_all(connection)).hexdigest()

    @staticmethod
    def service_greets(connection):
        connection.sendall(b"welcome\n")
        return connection.recv(100)

    @staticmethod
    def service_echoes(connection):
        while part := connection.recv(65536):
            connection.sendall(part)

    def result_of(self, port):
        """What the last conversation of a service came to."""
        results = self.services[port].results
        return wait_until(lambda: results and [results.pop()], 20, "the service waits for the end")[0]

    def test_the_visitor_may_speak_after_the_service_has_finished(self):
        with connect(self.relay, LINE, 1001) as way:
            self.assertEqual(read_all(way), b"all I have")
            time.sleep(1)
            way.sendall(b"and I say this")
            way.shutdown(socket.SHUT_WR)
        self.assertEqual(self.result_of(1001), b"and I say this")

    def test_all_that_a_visitor_sent_arrives_before_its_end(self):
        sent = os.urandom(3 * MEGABYTE)
        with connect(self.relay, LINE, 1002) as way:
            way.sendall(sent)
            way.shutdown(socket.SHUT_WR)
            self.assertEqual(self.result_of(1002), hashlib.sha256(sent).hexdigest())

    def test_a_service_that_speaks_first_is_heard(self):
        with connect(self.relay, LINE, 1003) as way:
            self.assertEqual(read_exactly(way, 8), b"welcome\n")
            way.sendall(b"thanks")
            self.assertEqual(self.result_of(1003), b"thanks")

    def test_bytes_come_back_as_they_were_sent(self):
        with connect(self.relay, LINE, 1004) as way:
            for size in (1, 1023, 1024, 1025, 1400, 16384, 100_000):
                sent = os.urandom(size)
                way.sendall(sent)
                self.assertEqual(read_exactly(way, size), sent)


class ServicesThatFail(Case):
    """The visitor sees what happened; nobody else does."""

    @classmethod
    def set_up(cls):
        cls.service = cls.share(WebService("alive"))
        cls.relay = cls.share(DebianRelay(cls.directory))
        cls.proxy = cls.share(Proxy(cls.relay.port))
        lines = [
            *to_relay(cls.proxy),
            kite("http", WEB, cls.service.port),
            kite("http", "down.kite.test", 1),
            kite("raw/1001", "down.kite.test", 1),
        ]
        cls.agent = cls.share(Agent(cls.directory, lines))
        cls.relay.wait_for(WEB, "down.kite.test")

    def test_a_service_that_dies_cuts_its_own_answer_only(self):
        tunnels = self.proxy.open()
        with Browser(self.relay, WEB) as neighbour, Browser(self.relay, WEB) as unlucky:
            slow = neighbour.ask("/slow")
            response = unlucky.ask("/die")
            with self.assertRaises((http.client.IncompleteRead, ConnectionError)) as cut:
                response.read()
            if isinstance(cut.exception, http.client.IncompleteRead):
                self.assertLessEqual(len(cut.exception.partial), 100000)
            self.assertEqual(slow.read(), b"0123456789" * 10)
            self.assertEqual(neighbour.get("/").text, "alive")
        self.assertEqual(self.proxy.open(), tunnels)

    def test_a_service_that_is_down_is_a_503_page(self):
        answer = get(self.relay, "down.kite.test")
        self.assertEqual(answer.status, 503)
        self.assertIn("text/html", answer.headers["Content-Type"])
        self.assertIn("down.kite.test", answer.text)
        # That the relay knows of no kite would be another thing.
        self.assertNotIn("(fe)", answer.text)

    def test_a_raw_service_that_is_down_is_a_closed_connection(self):
        with connect(self.relay, "down.kite.test", 1001) as way:
            self.assertEqual(way.recv(100), b"")

    def test_a_service_that_comes_back_is_served_again(self):
        other = WebService("back again")
        self.use(Agent(
            self.directory, [*to_relay(self.relay), kite("http", "back.kite.test", other.port)], name="back",
        ))
        self.relay.wait_for("back.kite.test")
        self.assertEqual(get(self.relay, "back.kite.test").status, 503)
        self.use(other)
        self.assertEqual(get(self.relay, "back.kite.test").text, "back again")


class WhereServicesListen(Case):
    """Unix sockets, IPv6, names."""

    @classmethod
    def set_up(cls):
        cls.relay = cls.share(DebianRelay(cls.directory))
        cls.inet = cls.share(WebService("by name"))
        cls.inet6 = cls.share(WebService("by IPv6", "::1"))
        cls.unix = cls.share(WebService("by Unix socket", str(cls.directory / "web.socket")))
        lines = [*to_relay(cls.relay), kite("http", "name.kite.test", f"localhost:{cls.inet.port}")]
        if Options.agent == "kitelet":
            lines += [
                kite("http", "inet6.kite.test", f"[::1]:{cls.inet6.port}"),
                kite("http", "unix.kite.test", f"unix:{cls.unix.host}"),
            ]
        cls.agent = cls.share(Agent(cls.directory, lines))
        cls.relay.wait_for("name.kite.test")

    def test_by_name(self):
        self.assertEqual(get(self.relay, "name.kite.test").text, "by name")

    @kitelet_only("it has no syntax for it")
    def test_by_ipv6_address(self):
        self.assertEqual(get(self.relay, "inet6.kite.test").text, "by IPv6")

    @kitelet_only("it knows TCP alone")
    def test_by_unix_socket(self):
        self.assertEqual(get(self.relay, "unix.kite.test").text, "by Unix socket")


if __name__ == "__main__":
    unittest.main()
