#!/usr/bin/env python3
"""A link between two network namespaces with the faults that kernels without
netem cannot make: delay, a rate, loss and reordering, from a seed.

    link.py NAMESPACE INTERFACE NAMESPACE INTERFACE [SETTINGS]

Makes a TUN interface in each namespace and carries packets between them until
standard input ends. Each line there is JSON with new settings, as SETTINGS is,
and is answered by a line with the packets carried, lost and turned away so far:

    rate      bits a second in each direction, 0 for no limit (0)
    delay     seconds that a packet is on its way (0)
    jitter    seconds that it may be later, in order (0)
    loss      part of the packets that is lost, 0..1 (0)
    reorder   part of the packets that overtakes, by `delay` / 2 (0)
    queue     bytes that wait for the rate, in each direction (65536)
    seed      of all chances; each direction has its own sequence (1)
"""

import ctypes
import fcntl
import heapq
import json
import os
import random
import select
import struct
import sys
import time

# <linux/if_tun.h>
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
CLONE_NEWNET = 0x40000000
# More than the largest packet of a TUN interface of ours.
PACKET_BYTES = 2048
DEFAULTS = {"rate": 0, "delay": 0.0, "jitter": 0.0, "loss": 0.0, "reorder": 0.0, "queue": 65536, "seed": 1}


class Direction:
    """One queue: first the rate, then the way. Time is passed in."""

    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.settings = DEFAULTS
        # When the last bit of what has come so far has left the queue.
        self.free_at = 0.0
        self.latest = 0.0
        self.on_the_way = []
        self.count = {"carried": 0, "lost": 0, "full": 0}
        self._number = 0

    def put(self, now, packet):
        """A packet has come in."""
        rate = self.settings["rate"]
        left_at = now
        if rate:
            waiting = max(0.0, self.free_at - now) * rate / 8
            if waiting + len(packet) > self.settings["queue"]:
                self.count["full"] += 1
                return
            left_at = max(now, self.free_at) + len(packet) * 8 / rate
            self.free_at = left_at
        # All chances are drawn for each packet, so that one setting does not
        # change the others' sequence.
        lost, late, overtakes = (self.chance.random() for _ in range(3))
        if lost < self.settings["loss"]:
            self.count["lost"] += 1
            return
        arrival = left_at + self.settings["delay"]
        if overtakes < self.settings["reorder"]:
            arrival -= self.settings["delay"] / 2
        else:
            arrival = max(arrival + late * self.settings["jitter"], self.latest)
            self.latest = arrival
        self._number += 1
        heapq.heappush(self.on_the_way, (arrival, self._number, packet))

    def due(self, now):
        """The packets that have arrived."""
        while self.on_the_way and self.on_the_way[0][0] <= now:
            self.count["carried"] += 1
            yield heapq.heappop(self.on_the_way)[2]

    def next_at(self):
        return self.on_the_way[0][0] if self.on_the_way else None


def tun(namespace, interface):
    """A TUN interface in a namespace; the file that carries its packets."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{namespace}", "rb") as there:
        if libc.setns(there.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {namespace}")
    file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH22x", interface.encode(), IFF_TUN | IFF_NO_PI))
    return file


def main():
    ends = [tun(*sys.argv[1:3]), tun(*sys.argv[3:5])]
    settings = {**DEFAULTS, **json.loads(sys.argv[5] if len(sys.argv) > 5 else "{}")}
    ways = [Direction(settings["seed"] * 2 + number) for number in range(2)]
    for way in ways:
        way.settings = settings
    print(json.dumps([way.count for way in ways]), flush=True)
    poll = select.poll()
    for file in (*ends, 0):
        poll.register(file, select.POLLIN)
    while True:
        times = [way.next_at() for way in ways if way.on_the_way]
        timeout = max(0.0, min(times) - time.monotonic()) * 1000 if times else None
        ready = [file for file, _ in poll.poll(timeout)]
        now = time.monotonic()
        for number, end in enumerate(ends):
            if end in ready:
                take(end, ways[number], now)
            for packet in ways[1 - number].due(now):
                try:
                    os.write(end, packet)
                except OSError:
                    ways[1 - number].count["full"] += 1
        if 0 in ready:
            line = sys.stdin.buffer.raw.readline()
            if not line:
                return
            settings = {**settings, **json.loads(line)}
            for way in ways:
                way.settings = settings
            print(json.dumps([way.count for way in ways]), flush=True)


def take(file, way, now):
    """All packets that the kernel has for the link."""
    while True:
        try:
            packet = os.read(file, PACKET_BYTES)
        except OSError:
            return
        way.put(now, packet)


if __name__ == "__main__":
    main()
