"""WebSockets through an http kite, and through a websocket kite beside it."""

import os
import unittest

from agents import Agent, kite, to_relay
from harness import Case
from relay import DebianRelay
from servers import WebService
from visitors import WebSocket, get

CHAT = "chat.kite.test"
BOTH = "both.kite.test"


class ThroughPlainTunnel(Case):
    """A service that echoes messages."""

    @classmethod
    def set_up(cls):
        cls.service = cls.share(WebService("over http"))
        cls.other = cls.share(WebService("over websocket"))
        cls.relay = cls.share(DebianRelay(cls.directory))
        lines = [
            *to_relay(cls.relay),
            kite("http", CHAT, cls.service.port),
            kite("http", BOTH, cls.service.port),
            kite("websocket", BOTH, cls.other.port),
        ]
        cls.agent = cls.share(Agent(cls.directory, lines))
        cls.relay.wait_for(CHAT, BOTH)

    def echo(self, kind, message):
        chat = WebSocket(self.relay, CHAT)
        self.addCleanup(chat.close)
        self.assertEqual((chat.status, chat.accepted), (101, True))
        chat.send(kind, message)
        self.assertEqual(chat.receive(), (kind, message))
        return chat

    def test_text_comes_back(self):
        self.echo(WebSocket.TEXT, "héllo".encode())

    def test_a_message_of_1_mb_comes_back(self):
        self.echo(WebSocket.BINARY, os.urandom(1024 * 1024))

    def test_a_conversation_goes_on_on_one_connection(self):
        chat = self.echo(WebSocket.TEXT, b"first")
        for number in range(50):
            message = b"message %d" % number
            chat.send(WebSocket.TEXT, message)
            self.assertEqual(chat.receive(), (WebSocket.TEXT, message))

    def test_the_services_close_reaches_the_visitor(self):
        chat = self.echo(WebSocket.TEXT, b"last words")
        chat.send(WebSocket.CLOSE, b"")
        self.assertEqual(chat.receive(), (WebSocket.CLOSE, b""))
        self.assertEqual(chat.way.recv(1), b"")

    def test_a_websocket_kite_takes_websockets_and_leaves_the_rest(self):
        before = self.other.requests
        chat = WebSocket(self.relay, BOTH)
        self.addCleanup(chat.close)
        self.assertEqual(chat.status, 101)
        self.assertEqual(self.other.requests, before + 1)
        self.assertEqual(get(self.relay, BOTH).text, "over http")


if __name__ == "__main__":
    unittest.main()
