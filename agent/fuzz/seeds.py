#!/usr/bin/env python3
"""Writes the first inputs of the fuzz targets into corpus/, out of the recorded tunnels in
agent/tests/captures and the requests and answers below. Each input is laid out as its target
reads it."""

import struct
from pathlib import Path

HERE = Path(__file__).resolve().parent
CAPTURES = HERE.parent / "tests" / "captures"
LONGEST = 4096
REQUESTS = (
    b"GET /a?b HTTP/1.1\r\nHost: kite.test\r\n\r\n",
    b"GET /a HTTP/1.0\nConnection: keep-alive\n\n",
    b"\r\nHEAD http://Kite.Test.:80?a HTTP/1.0\r\nX_Real_IP: b\r\n\r\n",
    b"OPTIONS https://0x7f000001--kite.test HTTP/1.1\r\nHost: a\r\nForwarded: for=a\r\n\r\n",
    b"GET /ws HTTP/1.1\r\nHost: [::1]:1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: kite.test\r\nX-Forwarded-For: a\r\nExpect: 100-continue\r\n"
    b"Content-Length: 3\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nHost: kite.test\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    b"3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n",
    b"CONNECT kite.test:22 HTTP/1.0\r\n\r\n",
)
ANSWERS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\nTransfer-Encoding: gzip, chunked\n\n"
    b"3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\nConnection: close\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x00",
    b"HTTP/1.1 205 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\nabc",
)


def main():
    seeds = {"frame": set(), "handshake": set(), "signature": set(), "inflate": set(),
             "visitor": set()}
    for path in sorted(CAPTURES.glob("*/*.bin")):
        head, blank, frames = path.read_bytes().partition(b"\r\n\r\n")
        head += blank
        seeds["handshake"].add(b"\x00\x05" + head[:LONGEST])
        if frames:
            seeds["frame"].add(b"\x03\x00\x07" + frames[:LONGEST])
            seeds["inflate"].add(b"\x00" + compressed(frames)[:LONGEST])
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b": ")
            if name == b"X-PageKite" and value.count(b":") == 4:
                seeds["signature"].add(signature(value))
    text = b"GET / HTTP/1.1\r\nHost: kite.test\r\n\r\n"
    for level in range(10):
        body = struct.pack(">BH", 0x80, len(text)) + text
        seeds["inflate"].add(struct.pack(">BBHB", 1, level, 7, 0) + body * 3)
        seeds["inflate"].add(struct.pack(">BBHB", 1, level, 7, 3 + level) + body * 3)
    for number, request in enumerate(REQUESTS):
        for flags, answer in enumerate(ANSWERS):
            two = request + REQUESTS[(number + flags) % len(REQUESTS)]
            seeds["visitor"].add(struct.pack(">BHH", flags % 4, 7, len(two)) + two + answer)
    for target, inputs in seeds.items():
        folder = HERE / "corpus" / target
        folder.mkdir(parents=True, exist_ok=True)
        for number, content in enumerate(sorted(inputs)):
            (folder / f"seed-{number}").write_bytes(content)
        print(f"{target}: {len(inputs)} inputs")


def compressed(frames):
    """The zlib chunks of a tunnel: control byte, declared length, length, bytes."""
    out = b""
    while frames:
        size, _, frames = frames.partition(b"\r\n")
        plain, _, wire = size.partition(b"Z")
        try:
            plain, wire = int(plain, 16), int(wire, 16) if wire else None
        except ValueError:
            break
        length = plain if wire is None else wire
        if wire is not None and length < 2048 and plain < 65536:
            out += struct.pack(">BHH", 4, plain, length) + frames[:length]
        frames = frames[length:]
    return out


def signature(line):
    """Time, salt, tampering, secret, signature, payload."""
    signed, _, text = line.rpartition(b":")
    secret = b"s3cret"
    return b"".join((
        struct.pack(">Q", 1_700_000_000), b"\x01\x02\x03\x04", b"\x21",
        bytes([len(secret)]), secret, bytes([len(text)]), text, signed,
    ))


main()
