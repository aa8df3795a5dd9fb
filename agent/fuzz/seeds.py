#!/usr/bin/env python3
"""Writes the first inputs of the fuzz targets into corpus/, out of the recorded tunnels in
agent/tests/captures. Each input is laid out as its target reads it."""

import struct
from pathlib import Path

HERE = Path(__file__).resolve().parent
CAPTURES = HERE.parent / "tests" / "captures"
LONGEST = 4096
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
    seeds = {"frame": set(), "handshake": set(), "signature": set(), "inflate": set(), "websocket": set()}
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
    for head in (WEBSOCKET_REQUEST, WEBSOCKET_ANSWER):
        seeds["websocket"].add(b"\x00\x00\x05" + head)
    for target, inputs in seeds.items():
        folder = HERE / "corpus" / target
        folder.mkdir(parents=True, exist_ok=True)
        for number, content in enumerate(sorted(inputs)):
            (folder / f"seed-{number}").write_bytes(content)
        print(f"{target}: {len(inputs)} inputs")


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


def signature(line):
    """Time, salt, tampering, secret, signature, payload."""
    signed, _, text = line.rpartition(b":")
    secret = b"s3cret"
    return b"".join((
        struct.pack(">Q", 1_700_000_000), b"\x01\x02\x03\x04", b"\x21",
        bytes([len(secret)]), secret, bytes([len(text)]), text, signed,
    ))


main()
