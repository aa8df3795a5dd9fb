"""What stands behind the kite: a small web server on the device, made for
visitors who wait, and for those who come again for the rest."""

import hashlib
import http.server
import random
import socket
import socketserver
import time

from namespaces import thread

PORT = 8080
HOST = "127.0.0.1"
TEXT = b"here"
CHUNK_BYTES = 16384


class WebService:
    """An HTTP/1.1 server on the device's loopback.

    /hold      an answer's head, and no more until the visitor goes
    /drip      a byte every half second
    /endless   bytes for as long as somebody reads them
    /file      `size` bytes that a seed makes; knows Range
    other      "here"
    """

    def __init__(self, namespace, size=0):
        self.namespace = namespace
        self.file = random.Random(7).randbytes(size)
        self._server = None

    @property
    def sha256(self):
        return hashlib.sha256(self.file).hexdigest()

    def start(self):
        handler = type("Handler", (_Handler,), {"service": self})
        with self.namespace.entered():
            self._server = _Server((HOST, PORT), handler)
        thread(self._server.serve_forever, 0.05)

    def stop(self):
        self._server.shutdown()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 512

    def handle_error(self, request, client_address):
        """Visitors who leave early are the rule here."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service = None

    def setup(self):
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def log_message(self, *_):
        """Silent."""

    def address_string(self):
        return "visitor"

    def do_GET(self):
        answer = {
            "/hold": self._hold, "/drip": self._drip, "/endless": self._endless, "/file": self._file,
        }.get(self.path.partition("?")[0])
        if answer is None:
            self._whole(200, TEXT)
        else:
            answer()

    def _head(self, status, length=None, **more):
        self.send_response(status)
        if length is None:
            self.send_header("Connection", "close")
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(length))
        for name, value in more.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.flush()

    def _whole(self, status, body, **more):
        self._head(status, len(body), **more)
        self.wfile.write(body)

    def _hold(self):
        self._head(200)
        while self.connection.recv(1024):
            pass

    def _drip(self):
        self._head(200)
        while True:
            self.wfile.write(b".")
            time.sleep(0.5)

    def _endless(self):
        self._head(200)
        chunk = bytes(CHUNK_BYTES)
        while True:
            self.wfile.write(chunk)

    def _file(self):
        whole, begin = self.service.file, 0
        asked = self.headers.get("Range", "")
        if asked.startswith("bytes="):
            begin = int(asked[len("bytes="):].split("-")[0])
        if begin > len(whole) or (asked and begin == len(whole)):
            self._whole(416, b"", Content_Range=f"bytes */{len(whole)}")
        elif asked:
            self._whole(206, whole[begin:], Content_Range=f"bytes {begin}-{len(whole) - 1}/{len(whole)}")
        else:
            self._whole(200, whole, Accept_Ranges="bytes")
