#!/usr/bin/env python3
"""Writes the first inputs of the fuzz targets into corpus/, out of the recorded tunnels in
agent/tests/captures, the recorded ClientHellos of the relay's unit tests, and the requests and
answers below. Each input is laid out as its target reads it."""

import struct
from pathlib import Path

HERE = Path(__file__).resolve().parent
CAPTURES = HERE.parent / "tests" / "captures"
HELLOS = HERE.parent / "src" / "relay" / "arrival" / "client_hello" / "fixtures"
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
# RFC 6455 section 1.3 with the path and subprotocol of Kitelet's tunnels.
WEBSOCKET_REQUEST = (
    b"GET /.kitelet/tunnel HTTP/1.1\r\nHost: relay.test\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: tunnel.kitelet\r\n\r\n"
)
WEBSOCKET_ANSWER = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
    b"Sec-WebSocket-Protocol: tunnel.kitelet\r\n\r\n"
)


def main():
    seeds = {"frame": set(), "handshake": set(), "signature": set(), "inflate": set(),
             "authority": set(), "visitor": set(), "websocket": set()}
    seeds["arrival"] = {b"\x07\x00\x09" + content for content in arrivals()}
    for path in sorted(CAPTURES.glob("*/*.bin")):
        head, blank, frames = path.read_bytes().partition(b"\r\n\r\n")
        head += blank
        seeds["handshake"].add(b"\x00\x05" + head[:LONGEST])
        if frames:
            seeds["frame"].add(b"\x03\x00\x07" + frames[:LONGEST])
            seeds["inflate"].add(b"\x00" + compressed(frames)[:LONGEST])
            seeds["websocket"].add(b"\x01\x00\x07" + messages(frames[:LONGEST // 2]))
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b": ")
            if name == b"X-PageKite" and value.count(b":") == 4:
                seeds["signature"].add(signature(value))
    text = b"GET / HTTP/1.1\r\nHost: kite.test\r\n\r\n"
    for level in range(10):
        body = struct.pack(">BH", 0x80, len(text)) + text
        seeds["inflate"].add(struct.pack(">BBHB", 1, level, 7, 0) + body * 3)
        seeds["inflate"].add(struct.pack(">BBHB", 1, level, 7, 3 + level) + body * 3)
    seeds["authority"].update(authority())
    for number, request in enumerate(REQUESTS):
        for flags, answer in enumerate(ANSWERS):
            two = request + REQUESTS[(number + flags) % len(REQUESTS)]
            seeds["visitor"].add(struct.pack(">BHH", flags % 4, 7, len(two)) + two + answer)
    for head in (WEBSOCKET_REQUEST, WEBSOCKET_ANSWER):
        seeds["websocket"].add(b"\x00\x00\x05" + head)
    for target, inputs in seeds.items():
        folder = HERE / "corpus" / target
        folder.mkdir(parents=True, exist_ok=True)
        for number, content in enumerate(sorted(inputs)):
            (folder / f"seed-{number}").write_bytes(content)
        print(f"{target}: {len(inputs)} inputs")


def arrivals():
    """What visitors of all protocols send first; the ClientHellos also in small records."""
    for path in sorted(HELLOS.glob("*.hex")):
        hello = bytes.fromhex(path.read_text())
        yield hello
        parts = (hello[at:at + 60] for at in range(5, len(hello), 60))
        yield b"".join(hello[:3] + struct.pack(">H", len(part)) + part for part in parts)
    yield b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10"
    yield b"GET / HTTP/1.1\r\nHost: kite.test\r\n\r\n"
    yield b"CONNECT PageKite:1 HTTP/1.0\r\n\r\n"
    yield b"NICK /joe@irc.test HTTP/1.1\r\n\r\n"
    yield b"PASS sekrit\r\nNICK joe\r\nUSER joe@irc.test 0 * :x\r\n"
    yield b"CAP LS 302\r\nNICK joe@irc.test\r\n"
    yield b"<?xml version='1.0'?><stream:stream to='xmpp.test' version='1.0'>"
    yield b"<stream:stream from=\"a@b.test\" to=\"joe@xmpp.test/x\">"
    yield b"\x0d\x00\x2f\x07mc.test\x46\xa0\x02"
    yield b"\x13\x00\xfd\x05\x0cmc.test\x00FML\x00\x46\xa0\x01"


def messages(stream):
    """The stream in masked messages of growing length, with a ping before each and a close."""
    mask, out, length = b"\x37\xfa\x21\x3d", b"", 50
    while stream:
        part, stream = stream[:length], stream[length:]
        size = bytes([0x80 | len(part)]) if len(part) < 126 else struct.pack(">BH", 0xfe, len(part))
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(part))
        out += b"\x89\x80" + mask + b"\x82" + size + mask + masked
        length *= 3
    return out + b"\x88\x82" + mask + b"\x34\x12"


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


def authority():
    """Whether the rest is a whole message, flags, numbers of records, records."""
    address = b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04"
    target = b"\x08ok-5-e10\x022a\x021e\x013\x01x\0"
    alias = b"\xc0\x0c\0\x05\0\x01\0\0\0\0" + struct.pack(">H", len(target)) + target
    for quota in (b"\0\0\x04\0", b"\xff\xff\xff\x01", b"\xff\xff\xfe\xff"):
        yield b"\0" + struct.pack(">HHHH", 0x8180, 1, 0, 0) + address + quota
        yield b"\0" + struct.pack(">HHHH", 0x8180, 2, 0, 0) + alias + target + address[2:] + quota
    yield b"\0" + struct.pack(">HHHH", 0x8183, 0, 0, 0)
    yield b"\0" + struct.pack(">HHHH", 0x8380, 0, 0, 0)
    # One record of each kind that the parser knows.
    for kind in (*range(1, 65), *range(99, 110), *range(249, 258)):
        record = b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 0, 20) + bytes(range(1, 21))
        yield b"\0" + struct.pack(">HHHH", 0x8180, 1, 0, 0) + record


def signature(line):
    """Time, salt, tampering, secret, signature, payload."""
    signed, _, text = line.rpartition(b":")
    secret = b"s3cret"
    return b"".join((
        struct.pack(">Q", 1_700_000_000), b"\x01\x02\x03\x04", b"\x21",
        bytes([len(secret)]), secret, bytes([len(text)]), text, signed,
    ))


main()
