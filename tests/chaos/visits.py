"""The public end: visitors who stand beside the relay, ask again and again,
and see when the first byte comes out of the tunnel."""

import select
import selectors
import socket
import time

# Seconds between two visitors who ask whether the tunnel is usable; fewer at
# first, when it is to be measured whether it is there at once.
FIRST_INTERVAL, INTERVAL = 0.05, 0.25
FIRST_SECONDS = 3
# How many of them may wait for an answer: fewer than a relay takes from one
# address.
MOST_WAITING = 60
# Seconds until such a visitor goes.
GOES_AFTER = 15
HEAD_BYTES = 4096


class NotWithin(AssertionError):
    """It did not come back in time."""


class Visitors:
    """Visitors of one kite at one relay: an address and a port in the relay's
    namespace."""

    def __init__(self, namespace, name, host, port):
        self.namespace, self.name, self.host, self.port = namespace, name, host, port

    def socket(self, timeout):
        """A new connection's socket, not yet connected."""
        with self.namespace.entered():
            made = socket.socket()
        made.settimeout(timeout)
        return made

    def head(self, path):
        return f"GET {path} HTTP/1.1\r\nHost: {self.name}\r\nConnection: close\r\n\r\n".encode()

    def ask(self, path="/", timeout=30):
        """One request; the seconds until the answer's first byte, or None when
        there is none, or another than the kite's."""
        began = time.monotonic()
        with self.socket(timeout) as connection:
            try:
                connection.connect((self.host, self.port))
                connection.sendall(self.head(path))
                answer = connection.recv(HEAD_BYTES)
            except OSError:
                return None
        return time.monotonic() - began if _is_served(answer) else None

    def stay(self, path="/hold", timeout=30):
        """A visitor who has got the first bytes and stays; the socket."""
        connection = self.socket(timeout)
        try:
            connection.connect((self.host, self.port))
            connection.sendall(self.head(path))
            answer = connection.recv(HEAD_BYTES)
        except OSError as error:
            connection.close()
            raise AssertionError(f"{path} is not answered: {error}") from None
        if not _is_served(answer):
            connection.close()
            raise AssertionError(f"{path} is not served: {answer[:80]!r}")
        return connection

    def first_byte(self, since, patience):
        """Seconds from `since`, as time.monotonic() has it, until a visitor
        gets the first byte of the kite's answer. New ones come until then."""
        waiting = selectors.DefaultSelector()
        next_at = time.monotonic()
        try:
            while True:
                now = time.monotonic()
                if now - since > patience:
                    raise NotWithin(f"not within {patience:.0f} s")
                for key in list(waiting.get_map().values()):
                    if now - key.data["began"] > GOES_AFTER:
                        _drop(waiting, key.fileobj)
                if now >= next_at:
                    if len(waiting.get_map()) < MOST_WAITING:
                        self._come(waiting)
                    next_at = now + (FIRST_INTERVAL if now - since < FIRST_SECONDS else INTERVAL)
                for key, _ in waiting.select(max(0.0, next_at - time.monotonic())):
                    if self._advance(waiting, key):
                        return time.monotonic() - since
        finally:
            for key in list(waiting.get_map().values()):
                _drop(waiting, key.fileobj)
            waiting.close()

    def _come(self, waiting):
        connection = self.socket(0)
        connection.connect_ex((self.host, self.port))
        waiting.register(connection, selectors.EVENT_WRITE, {"began": time.monotonic()})

    def _advance(self, waiting, key):
        """Takes one visitor a step further; true when the kite has answered."""
        connection = key.fileobj
        try:
            if key.events & selectors.EVENT_WRITE:
                connection.send(self.head("/"))
                waiting.modify(connection, selectors.EVENT_READ, key.data)
                return False
            answer = connection.recv(HEAD_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            answer = b""
        _drop(waiting, connection)
        return _is_served(answer)


def _drop(waiting, connection):
    waiting.unregister(connection)
    connection.close()


def _is_served(answer):
    """Whether these bytes are the service's and no page of the relay's."""
    return answer.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")) and b"BaseHTTP" in answer


def is_open(connection):
    """Whether a staying visitor's connection is still there; what has come is
    read and forgotten."""
    while select.select([connection], [], [], 0)[0]:
        try:
            if not connection.recv(65536):
                return False
        except OSError:
            return False
    return True
