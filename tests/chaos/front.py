"""What stands before a relay and misbehaves: accepts and says nothing, stops
in the middle, closes at once; and later passes everything on."""

import socket
import threading

from namespaces import thread
from programs import TUNNEL_PORT

CHUNK_BYTES = 65536


class Front:
    """Listens for agents at one address of the relay side and passes to the
    relay at another. `mode` holds for connections to come:

    "pass"     everything goes through
    "silent"   it is accepted, and no more
    "close"    it is accepted and closed
    a number   so many bytes of the relay's go through, then no more at all
    """

    def __init__(self, namespace, host, target, mode="pass"):
        self.namespace, self.host, self.target, self.mode = namespace, host, target, mode
        self.accepted = 0
        self._listener = None
        self._held = []
        self._lock = threading.Lock()

    def start(self):
        with self.namespace.entered():
            self._listener = socket.create_server((self.host, TUNNEL_PORT), backlog=64)
        thread(self._accept)

    def stop(self):
        self._listener.close()
        for connection in self._held:
            for end in connection.ends:
                end.close()

    def freeze(self):
        """The connections that are there pass the first half of what the
        relay sends next, and nothing more in any direction."""
        for connection in self._held:
            connection.is_freezing = True

    def _accept(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            mode = self.mode
            if mode == "close":
                near.close()
                continue
            connection = _Connection(near, None if mode in ("pass", "silent") else mode)
            with self._lock:
                self._held.append(connection)
            if mode != "silent":
                thread(self._connect, connection)

    def _connect(self, connection):
        try:
            with self.namespace.entered():
                far = socket.create_connection((self.target, TUNNEL_PORT), timeout=10)
        except OSError:
            connection.ends[0].close()
            return
        far.settimeout(None)
        connection.ends.append(far)
        thread(connection.carry, connection.ends[0], far, False)
        thread(connection.carry, far, connection.ends[0], True)


class _Connection:
    def __init__(self, near, left):
        self.ends, self.left, self.is_freezing = [near], left, False

    def carry(self, source, target, is_answer):
        """Carries one direction until its end, or until it is to be silent."""
        try:
            while part := source.recv(CHUNK_BYTES):
                if is_answer and self.is_freezing and self.left is None:
                    self.left = len(part) // 2
                if is_answer and self.left is not None:
                    part = part[: self.left]
                    self.left -= len(part)
                if part and not (self.left == 0 and not is_answer):
                    target.sendall(part)
                if self.left == 0:
                    return
            target.shutdown(socket.SHUT_WR)
        except OSError:
            for end in self.ends:
                end.close()
