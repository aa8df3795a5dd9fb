"""A web site for browsers: a page with all that belongs to one, and places
that its scripts talk to. Everything says whose it is, so that a browser can
tell when it gets what is another's."""

import os
import random
import struct
import threading
import zlib

from servers import WebHandler, WebService

IMAGES = 50
# Pixels of the height of each image; its width is one more than its number.
IMAGE_HEIGHT = 200
BIG_BYTES = 10 * 1024 * 1024
# Seconds that a stream of events waits for its visitor to leave.
EVENTS_SECONDS = 30

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{name}</title>
<link rel="stylesheet" href="/style.css"><link rel="icon" href="data:,">
<script src="/script.js"></script>
<h1>{name}</h1><p>{images}</p>
"""


class Site(WebService):
    """Besides what a WebService has:

    /            a page with style, script and images, `name` its title
    /image/N     PNG of noise, N + 1 pixels wide
    /events      three events, then silence until the visitor leaves
    /big         bytes that nothing can compress
    """

    def __init__(self, name):
        super().__init__(name)
        self.name = name
        self.big = os.urandom(BIG_BYTES)
        # Streams of events that were begun, and that the visitor ended.
        self.begun, self.left = 0, threading.Event()

    def handler(self):
        return _Handler


class _Handler(WebHandler):
    def do_GET(self):
        site, path = self.service, self.path.partition("?")[0]
        if path == "/":
            images = "".join(f'<img src="/image/{number}" alt="">' for number in range(IMAGES))
            self._answer(PAGE.format(name=site.name, images=images).encode(), "text/html")
        elif path == "/style.css":
            self._answer(b"h1 { color: rgb(1, 2, 3) }", "text/css")
        elif path == "/script.js":
            self._answer(f"window.owner = {site.name!r};".encode(), "text/javascript")
        elif path.startswith("/image/"):
            number = int(path.removeprefix("/image/"))
            self._answer(noise(number + 1, IMAGE_HEIGHT, number), "image/png")
        elif path == "/big":
            self._answer(site.big, "application/octet-stream")
        elif path == "/events":
            self._events()
        else:
            super().do_GET()

    def send_header(self, keyword, value):
        super().send_header(keyword, value)
        if keyword == "Content-Type":
            super().send_header("Access-Control-Allow-Origin", "*")

    def _events(self):
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.service.begun += 1
        for number in range(3):
            self.wfile.write(f"data: {number}\n\n".encode())
        self.connection.settimeout(EVENTS_SECONDS)
        # The end of input is the visitor's leave.
        if self.rfile.read(1) == b"":
            self.service.left.set()


def noise(width, height, seed):
    """A picture that nothing can compress, as PNG."""
    dice = random.Random(seed)
    rows = b"".join(b"\0" + dice.randbytes(3 * width) for _ in range(height))

    def chunk(kind, content):
        checked = kind + content
        return struct.pack("!I", len(content)) + checked + struct.pack("!I", zlib.crc32(checked))

    head = struct.pack("!IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")
