"""Three relays, of which some die while somebody downloads."""

import hashlib
import subprocess
import time

from harness import needs
from namespaces import thread
from programs import KITE
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
