"""Several relays, of which some die."""

import hashlib
import signal
import socket
import subprocess
import sys
import time

from harness import needs, wait_until
from namespaces import thread
from programs import KITE, RELAY_NAME, TUNNEL_PORT
from scenario import DETECT_WITH_STREAMS, Measure, scenario
from world import RELAYS

MEGABYTE = 1 << 20
RATE_KBIT = 8000
NAMES = ("one.test", "two.test", "three.test")
# How far the download is when the relay that carries it dies, and how long
# that is away.
DEATHS, AWAY_SECONDS = (0.25, 0.6), 5
DOWNLOAD_SECONDS = 400


class Download:
    """`curl -C -` in a loop, at whichever relay has the kite."""

    def __init__(self, world, path):
        self.world, self.path, self.tries, self.by, self.is_done = world, path, 0, None, False
        self.is_given_up = False

    def start(self):
        thread(self._run)

    def stop(self):
        self.is_given_up = True

    def size(self):
        return self.path.stat().st_size if self.path.exists() else 0

    def _run(self):
        while not self.is_given_up:
            for relay in self.world.relays:
                self.by = relay
                self.tries += 1
                words = [
                    needs("curl"), "-sS", "-f", "-C", "-", "-o", self.path, "--connect-timeout", "3",
                    "--speed-time", "10", "--speed-limit", "1", "--noproxy", "*", "-H", f"Host: {KITE}",
                    f"http://{relay.host}/file",
                ]
                done = subprocess.run(self.world.relay_side.command_of(self.world.etc, *words),
                                      capture_output=True, check=False)
                if done.returncode == 0:
                    self.is_done = True
                    return
            time.sleep(0.1)


@scenario("18 two of three relays die in turn, download of {megabytes} MB", relays=3, within=None,
          detect=DETECT_WITH_STREAMS, quick=[{"megabytes": 10}], full=[{"megabytes": 40}])
def relays_die(world, megabytes):
    """Measured is the longest time without a byte after a relay's death."""
    world.names.write(*(f"{host} {name}" for host, name in zip(RELAYS, NAMES)))
    world.router.run("tc", "qdisc", "add", "dev", "wan0", "root", "tbf",
                     "rate", f"{RATE_KBIT}kbit", "burst", "32kb", "latency", "100ms")
    size = megabytes * MEGABYTE
    world.begin(start=False, size=size)
    world.start_agent(by=NAMES)
    download = world.keep(Download(world, world.directory / "file"))
    end, gaps, dead, killed = time.monotonic() + DOWNLOAD_SECONDS, [], None, []
    last_size, last_at = 0, time.monotonic()
    while not download.is_done:
        time.sleep(0.02)
        now, here = time.monotonic(), download.size()
        assert now < end, f"the download is not done after {DOWNLOAD_SECONDS} s: {here} of {size} bytes"
        if here > last_size:
            if dead is not None and len(gaps) < len(killed):
                gaps.append(0.0)
            if gaps:
                gaps[-1] = max(gaps[-1], now - last_at)
            last_size, last_at = here, now
        if dead is not None and now > dead[1] + AWAY_SECONDS:
            dead[0].start()
            dead = None
        if dead is None and len(killed) < len(DEATHS) and here > DEATHS[len(killed)] * size:
            dead = download.by, now
            killed.append(download.by.host)
            dead[0].kill()
            last_at = now
    sum_found = hashlib.sha256(download.path.read_bytes()).hexdigest()
    assert sum_found == world.service.sha256, "the file is not the same"
    remark = f"file is right, curl ran {download.tries} times, relays that died: {', '.join(killed)}"
    return Measure(fault=max(gaps), remark=remark)


@scenario("18 the relay that was chosen of two is {what}", relays=2, within=None, detect=DETECT_WITH_STREAMS,
          quick=[{"what": "killed"}], full=[{"what": "killed"}, {"what": "stopped in order"}, {"what": "silent"}])
def chosen_relay_goes(world, what):
    """One name, two addresses, and `frontends = 1`. Measured is when a visitor
    at the other relay is served; one waits at the first, if it is silent."""
    world.names.write(*(f"{host} {RELAY_NAME}" for host in RELAYS[:2]))
    world.begin(start=False)
    world.start_agent(by=(), lines=[f"frontends = 1:{RELAY_NAME}:{TUNNEL_PORT}"])
    wait_until(world.tunnels, 30, "no tunnel")
    time.sleep(1)
    first, other = (by_address(world, world.tunnels(), is_there) for is_there in (True, False))
    before, since = world.tunnels(), time.monotonic()
    world.visitors = world.visitors_of(other)
    if what == "silent":
        with world.visitors_of(first).stay("/hold"):
            world.fault(f"ip daddr {first.host} drop", f"ip saddr {first.host} drop")
            world.new_tunnel(before, since)
    elif what == "killed":
        first.kill()
    else:
        first.send(signal.SIGTERM)
    return Measure(fault=world.back(since))


def by_address(world, tunnels, is_there):
    """The relay that a tunnel goes to, or that none goes to."""
    # The kernel writes the bytes of an address in its own order.
    there = {socket.inet_ntoa(int(remote.split(":")[0], 16).to_bytes(4, sys.byteorder)) for _, remote in tunnels}
    (found,) = [relay for relay in world.relays if (relay.host in there) == is_there]
    return found
