"""The public end: people who come to the relay with a browser, a program
that speaks through HTTP CONNECT, TLS or WebSockets."""

import base64
import contextlib
import hashlib
import http.client
import os
import socket
import ssl
import struct
import threading
import time

from harness import free_port

# Seconds without a byte until a visitor gives up. Debian's front-end alone
# takes up to 1.1 s for a new connection, more when many come at once.
PATIENCE_SECONDS = 60
CHUNK_BYTES = 65536


class Answer:
    """An HTTP answer, its body read whole."""

    def __init__(self, response, body):
        self.status, self.headers, self.body = response.status, response.headers, body

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

    @property
    def sha256(self):
        return hashlib.sha256(self.body).hexdigest()


class Browser:
    """Speaks HTTP with one kite on one connection, for as long as it is kept;
    `close` in the headers has the usual meaning."""

    def __init__(self, relay, name, tls=None):
        self.name = name
        self.http = http.client.HTTPConnection(relay.host, relay.port, timeout=PATIENCE_SECONDS)
        if tls is not None:
            self.http.sock = tls

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.http.close()

    def ask(self, path="/", method="GET", headers=None, body=None):
        """Sends a request and returns the head of the answer."""
        self.http.request(method, path, body=body, headers={"Host": self.name, **(headers or {})})
        return self.http.getresponse()

    def get(self, path="/", method="GET", headers=None, body=None):
        """Sends a request and returns the whole answer."""
        response = self.ask(path, method, headers, body)
        return Answer(response, response.read())


def get(relay, name, path="/", **request):
    """One request on a connection of its own."""
    with Browser(relay, name) as browser:
        return browser.get(path, **request)


def download(relay, name, path, seconds=180, tls=None):
    """Reads a large answer without keeping it: status, bytes, SHA-256. Gives
    up after `seconds`."""
    deadline = time.monotonic() + seconds
    with Browser(relay, name, tls) as browser:
        response = browser.ask(path)
        digest, size = hashlib.sha256(), 0
        while part := response.read1(CHUNK_BYTES):
            if time.monotonic() > deadline:
                raise AssertionError(f"only {size} bytes of {path} in {seconds} s")
            digest.update(part)
            size += len(part)
        return response.status, size, digest.hexdigest()


class Refused(Exception):
    """The relay did not open the way that CONNECT asked for."""


def connect(relay, name, port):
    """A connection to a raw or https kite by HTTP CONNECT."""
    way = socket.create_connection((relay.host, relay.port), timeout=PATIENCE_SECONDS)
    way.sendall(f"CONNECT {name}:{port} HTTP/1.1\r\nHost: {name}:{port}\r\n\r\n".encode())
    head = b""
    # Byte by byte: what follows the head belongs to the service.
    while not head.endswith(b"\r\n\r\n"):
        byte = way.recv(1)
        if not byte:
            break
        head += byte
    if head.split(b" ")[1:2] != [b"200"]:
        way.close()
        raise Refused(head.decode("latin-1"))
    return way


def tls_to(relay, name, roots):
    """TLS with the service of an https kite; checks its certificate against
    `roots`. The way is that of a browser behind a proxy: Debian's front-end
    dies of a TLS connection that does not begin with CONNECT."""
    context = ssl.create_default_context(cafile=roots)
    return context.wrap_socket(connect(relay, name, 443), server_hostname=name)


def tls_straight_to(relay, name, roots, **context_options):
    """TLS by server name on the relay's own port, as browsers do it. Kitelet's
    relay brings it to the https kite of that name, or ends it itself."""
    context = ssl.create_default_context(cafile=roots)
    for option, value in context_options.items():
        setattr(context, option, value)
    way = socket.create_connection((relay.host, relay.port), timeout=PATIENCE_SECONDS)
    try:
        return context.wrap_socket(way, server_hostname=name)
    except OSError:
        way.close()
        raise


def read_all(way):
    """Reads to the end of input."""
    received = bytearray()
    while part := way.recv(CHUNK_BYTES):
        received += part
    return bytes(received)


def read_exactly(way, size):
    """Reads so many bytes; fewer mean that the other end stopped early."""
    received = bytearray()
    while len(received) < size:
        part = way.recv(min(CHUNK_BYTES, size - len(received)))
        if not part:
            raise AssertionError(f"the connection ended after {len(received)} of {size} bytes")
        received += part
    return bytes(received)


class Forwarder:
    """A port of this machine that leads to a raw kite, for programs that know
    nothing of proxies."""

    def __init__(self, relay, name, port):
        self.relay, self.name, self.kite_port = relay, name, port
        self.port = free_port()
        self._listener = None

    def start(self):
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self):
        shut(self._listener)
        self._listener.close()

    def _accept(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near):
        carry(near, connect(self.relay, self.name, self.kite_port))


def carry(near, far, remember=None):
    """Copies between two connections, both ways, until both have ended;
    `remember` is given what goes from near to far."""
    with near, far:
        near.settimeout(None)
        far.settimeout(None)
        back = threading.Thread(target=_copy, args=(far, near), daemon=True)
        back.start()
        _copy(near, far, remember)
        back.join()


def _copy(source, sink, remember=None):
    try:
        while part := source.recv(CHUNK_BYTES):
            if remember is not None:
                remember(part)
            sink.sendall(part)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        # The other direction is not to wait for an end that is gone.
        shut(source)
        shut(sink)


def shut(end):
    """Ends a connection, or what waits in accept, for whoever blocks on it."""
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


class WebSocket:
    """A visitor's WebSocket (RFC 6455), as much of it as an echo needs."""

    GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    TEXT, BINARY, CLOSE = 1, 2, 8

    def __init__(self, relay, name, path="/echo", tls=None):
        self.way = tls or socket.create_connection((relay.host, relay.port), timeout=PATIENCE_SECONDS)
        key = base64.b64encode(os.urandom(16))
        self.way.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {name}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key.decode()}\r\n\r\n".encode()
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += read_exactly(self.way, 1)
        self.status = int(head.split(b" ")[1])
        self.accepted = websocket_accept(key) in head

    def send(self, kind, message):
        mask = os.urandom(4)
        self.way.sendall(websocket_head(kind, len(message), masked=True) + mask + masked(message, mask))

    def receive(self):
        return websocket_read(self.way)

    def close(self):
        self.way.close()


def websocket_accept(key):
    """What a server answers to a key."""
    return base64.b64encode(hashlib.sha1(key + WebSocket.GUID).digest())


def websocket_head(kind, size, masked=False):
    """The first bytes of an unfragmented frame."""
    bit = 0x80 if masked else 0
    if size < 126:
        return struct.pack("!BB", 0x80 | kind, bit | size)
    if size < 65536:
        return struct.pack("!BBH", 0x80 | kind, bit | 126, size)
    return struct.pack("!BBQ", 0x80 | kind, bit | 127, size)


def websocket_read(way):
    """One unfragmented frame: its kind and its message."""
    first, second = read_exactly(way, 2)
    size = second & 0x7F
    if size == 126:
        (size,) = struct.unpack("!H", read_exactly(way, 2))
    elif size == 127:
        (size,) = struct.unpack("!Q", read_exactly(way, 8))
    mask = read_exactly(way, 4) if second & 0x80 else None
    message = read_exactly(way, size)
    return first & 0x0F, masked(message, mask) if mask else message


def masked(message, mask):
    """XORs a message with its repeated mask, both ways."""
    repeated = (mask * (len(message) // 4 + 1))[: len(message)]
    return (int.from_bytes(message, "big") ^ int.from_bytes(repeated, "big")).to_bytes(len(message), "big")
