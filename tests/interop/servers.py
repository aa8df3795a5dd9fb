"""Services of our own that do what no well-behaved program does on demand:
stall, die, tell what they saw and count what they could send."""

import hashlib
import http.server
import json
import os
import socket
import socketserver
import struct
import threading
import time

from harness import free_port
from visitors import WebSocket, shut, websocket_accept, websocket_head, websocket_read

# Kernel buffer of a service that counts: what it wrote, less this, has left it.
COUNTING_BUFFER_BYTES = 65536


class WebService:
    """An HTTP/1.1 server that tells what it saw.

    /seen      the request as it arrived, as JSON
    /sum       SHA-256 and size of the body that was sent
    /endless   bytes for as long as somebody reads them
    /die       half of what was promised, then a reset connection
    /slow      an answer in small pieces over a second
    /echo      a WebSocket that sends back what it gets
    other      `text`
    """

    def __init__(self, text="hello", address=None):
        """`address`: a host, or the path of a Unix socket."""
        self.text = text
        self.host = address or "127.0.0.1"
        self.port = None if self.host.startswith("/") else free_port()
        # Bytes that /endless could hand to the kernel, by the query string.
        self.sent = {}
        self.requests = 0
        self._server = None

    def handler(self):
        """The class that answers."""
        return WebHandler

    def start(self):
        handler = type("Handler", (self.handler(),), {"service": self})
        address = self.host if self.port is None else (self.host, self.port)
        server = type("Server", (_Server,), {"address_family": self._family()})
        self._server = server(address, handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        if self.port is None and os.path.exists(self.host):
            os.unlink(self.host)

    def _family(self):
        if self.port is None:
            return socket.AF_UNIX
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 512

    def handle_error(self, request, client_address):
        """Visitors that leave early are part of the tests."""


class WebHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service = None

    def setup(self):
        super().setup()
        if self.service.port is not None:
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def address_string(self):
        return "visitor"

    def log_message(self, *_):
        """Silent: a thousand requests are a thousand lines."""

    def do_GET(self):
        self.service.requests += 1
        path, _, query = self.path.partition("?")
        answer = {"/seen": self._seen, "/die": self._die, "/slow": self._slow, "/echo": self._websocket}.get(path)
        if answer:
            answer()
        elif path == "/endless":
            self._endless(query)
        else:
            self._answer(self.service.text.encode())

    def do_POST(self):
        self.service.requests += 1
        digest, left = hashlib.sha256(), int(self.headers["Content-Length"])
        size = left
        while left:
            part = self.rfile.read(min(left, 65536))
            if not part:
                return
            digest.update(part)
            left -= len(part)
        self._answer(json.dumps({"sha256": digest.hexdigest(), "size": size}).encode())

    do_PUT = do_POST

    def _answer(self, body, kind="text/plain"):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _seen(self):
        seen = {"line": self.requestline, "headers": [list(pair) for pair in self.headers.items()]}
        self._answer(json.dumps(seen).encode(), "application/json")

    def _die(self):
        self.send_response(200)
        self.send_header("Content-Length", "200000")
        self.end_headers()
        self.wfile.write(b"x" * 100000)
        self.wfile.flush()
        time.sleep(0.5)
        # Linger of zero: the end is a reset, as when a machine loses power.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def _slow(self):
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        for _ in range(10):
            self.wfile.write(b"0123456789")
            self.wfile.flush()
            time.sleep(0.1)

    def _endless(self, key):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, COUNTING_BUFFER_BYTES)
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        block = os.urandom(16384)
        self.service.sent[key] = 0
        try:
            while True:
                self.service.sent[key] += self.connection.send(block)
        except OSError:
            pass

    def _websocket(self):
        self.close_connection = True
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", websocket_accept(self.headers["Sec-WebSocket-Key"].encode()).decode())
        self.end_headers()
        reader = _Reader(self.rfile)
        while True:
            kind, message = websocket_read(reader)
            self.wfile.write(websocket_head(kind, len(message)) + message)
            self.wfile.flush()
            if kind == WebSocket.CLOSE:
                return


class _Reader:
    """The reading half of a socket, over a buffered file."""

    def __init__(self, file):
        self.file = file

    def recv(self, size):
        return self.file.read(size)


class RawService:
    """A TCP service whose conversation is a function of the connection."""

    def __init__(self, talk, port=None):
        self.talk = talk
        self.host, self.port = "127.0.0.1", port or free_port()
        # What the conversations returned, in the order of their end.
        self.results = []
        self._listener = None

    def start(self):
        self._listener = socket.create_server((self.host, self.port), backlog=256)
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self):
        shut(self._listener)
        self._listener.close()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection:
            connection.settimeout(60)
            try:
                self.results.append(self.talk(connection))
            except OSError as error:
                self.results.append(error)


class NameServer:
    """A DNS server that says which kites may fly, as PageKite's service does
    (protocol.md 14). `kites` leads from a name to its secret and to the four
    bytes of the answer for a good signature; of others it knows nothing."""

    REFUSED = bytes([255, 255, 255, 1])

    def __init__(self, suffix, kites):
        self.suffix, self.kites = suffix, kites
        self.host, self.port = "127.0.0.1", free_port()
        self.questions = []
        self._socket = None

    def start(self):
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((self.host, self.port))
        threading.Thread(target=self._serve, args=(self._socket,), daemon=True).start()

    def stop(self):
        shut(self._socket)
        self._socket.close()

    def _serve(self, server):
        while True:
            try:
                question, address = server.recvfrom(4096)
                if question:
                    server.sendto(self._answer(question), address)
            except OSError:
                return

    def _answer(self, question):
        labels, place = [], 12
        while size := question[place]:
            labels.append(question[place + 1:place + 1 + size].decode())
            place += 1 + size
        asked = question[12:place + 5]
        self.questions.append(labels)
        # Response, recursion available; one question and one answer, a name
        # that points to the question's, type A, class IN, a minute.
        head = question[:2] + b"\x85\x80" + struct.pack("!HHHH", 1, 1, 0, 0)
        return head + asked + b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + self._ruling(labels)

    def _ruling(self, labels):
        bsalt, fsalt, signature, protocol, *name = labels
        name = ".".join(name).removesuffix("." + self.suffix)
        if name not in self.kites:
            return self.REFUSED
        secret, ruling = self.kites[name]
        signed = f"{secret}{protocol}:{name}:{bsalt}:{fsalt}{signature[:8]}"
        right = signature[:8] + hashlib.sha1(signed.encode()).hexdigest()[:28]
        return ruling if signature == right else self.REFUSED
