"""Faults of the relay and of the way to it."""

import time

from scenario import DETECT_WITH_STREAMS, KEEPALIVE, SHORT_KEEPALIVE, Measure, idle_bound, scenario
from world import RELAYS


@scenario("1 relay killed and restarted, {seconds} s", compare=True,
          quick=[{"seconds": 1}], full=[{"seconds": 1}, {"seconds": 20}])
def relay_killed(world, seconds):
    world.begin()
    world.relay.kill()
    time.sleep(seconds)
    world.relay.start()
    return Measure(cure=world.back())


@scenario("1 Debian's relay killed and restarted, {seconds} s", relay="debian",
          quick=[], full=[{"seconds": 1}, {"seconds": 20}])
def debian_relay_killed(world, seconds):
    return relay_killed(world, seconds)


OUTAGES = {"compare": True, "quick": [{"seconds": 10, "path": "/drip"}],
           "full": [{"seconds": seconds, "path": path} for path in ("/drip", "nobody") for seconds in (20, 60)]}


def waiting(world, path):
    """A visitor who waits for the rest of the answer to `path`, or nobody."""
    if path == "nobody":
        return None
    visitor = world.visitors.stay(path)
    # What was on its way has arrived.
    time.sleep(1)
    return visitor


def away(world, seconds, path, fault, cure):
    """For so long there is a fault, while a visitor waits for the rest of
    `path`, or nobody is there."""
    world.begin()
    visitor = waiting(world, path)
    before = world.tunnels()
    fault()
    time.sleep(seconds)
    cure()
    back = world.back()
    if visitor:
        visitor.close()
    return Measure(cure=back, remark="tunnel kept" if before & world.tunnels() else "new tunnel")


@scenario("2 relay unreachable, dropped {seconds} s, {path}", **OUTAGES)
def dropped(world, seconds, path):
    rules = f"ip daddr {RELAYS[0]} drop", f"ip saddr {RELAYS[0]} drop"
    return away(world, seconds, path, lambda: world.fault(*rules), world.no_fault)


@scenario("2 relay unreachable, dropped {seconds} s, {path}", once=True, quick=[],
          full=[{"seconds": 590, "path": "/drip"}])
def dropped_for_long(world, seconds, path):
    return dropped(world, seconds, path)


@scenario("3 relay unreachable, rejected {seconds} s, {path}", **OUTAGES)
def rejected(world, seconds, path):
    rules = f"ip daddr {RELAYS[0]} reject with icmp type port-unreachable", f"ip saddr {RELAYS[0]} drop"
    return away(world, seconds, path, lambda: world.fault(*rules), world.no_fault)


@scenario("4 relay unroutable {seconds} s, {path}", **OUTAGES)
def unroutable(world, seconds, path):
    """The router has no way to the relay, as when its own uplink is away."""

    def fault():
        world.router.ip("route", "add", "unreachable", f"{RELAYS[0]}/32")
        world.fault(f"ip saddr {RELAYS[0]} drop")

    def cure():
        world.no_fault()
        world.router.ip("route", "del", "unreachable", f"{RELAYS[0]}/32")

    return away(world, seconds, path, fault, cure)


def silent(world, fault, path="nobody", keepalive=None):
    """A fault that only silence tells of, with a visitor on `path` or nobody
    there; a new tunnel would work at once."""
    world.begin(lines=[f"keepalive = {keepalive}"] if keepalive else [])
    visitor = waiting(world, path)
    before = world.tunnels()
    since = time.monotonic()
    fault(before)
    world.new_tunnel(before, since)
    measured = world.back(since)
    if visitor:
        visitor.close()
    return Measure(fault=measured)


def flush(world):
    """The NAT forgets, and drops what it does not know."""
    return lambda _: world.flush_nat()


def flush_and_reset(world):
    """The NAT forgets, and resets what it does not know."""

    def fault(_):
        world.fault("iifname lan0 ct state invalid reject with tcp reset")
        world.flush_nat()

    return fault


def one_way(world, number):
    """What belongs to the tunnel is dropped in one direction: 0 from the
    device, 1 to it."""
    return lambda flows: world.fault(world.forget(flows)[number])


STREAMS = {"full": [{"path": "/hold"}, {"path": "/drip"}], "detect": DETECT_WITH_STREAMS}
IDLE = {"quick": [{"keepalive": SHORT_KEEPALIVE}], "full": [{"keepalive": SHORT_KEEPALIVE}],
        "detect": idle_bound(SHORT_KEEPALIVE)}


@scenario("5 NAT forgets and drops, idle, keepalive {keepalive} s", **IDLE)
def flushed_idle(world, keepalive):
    return silent(world, flush(world), keepalive=keepalive)


@scenario("5 NAT forgets and drops, idle", once=True, compare=True, detect=idle_bound(KEEPALIVE))
def flushed_idle_by_default(world):
    return silent(world, flush(world))


@scenario("5 NAT forgets and resets, idle, keepalive {keepalive} s", **IDLE)
def flushed_and_reset_idle(world, keepalive):
    return silent(world, flush_and_reset(world), keepalive=keepalive)


@scenario("5 NAT forgets and drops, with a visitor on {path}", compare=True, quick=[{"path": "/hold"}], **STREAMS)
def flushed(world, path):
    return silent(world, flush(world), path)


@scenario("5 NAT forgets and resets, with a visitor on {path}", compare=True, **STREAMS)
def flushed_and_reset(world, path):
    return silent(world, flush_and_reset(world), path)


@scenario("5 only device to relay is dropped, with a visitor on {path}", quick=[{"path": "/drip"}], **STREAMS)
def deaf_relay(world, path):
    return silent(world, one_way(world, 0), path)


@scenario("5 only relay to device is dropped, with a visitor on {path}", **STREAMS)
def deaf_device(world, path):
    return silent(world, one_way(world, 1), path)


@scenario("5 only device to relay is dropped, idle, keepalive {keepalive} s", **{**IDLE, "quick": []})
def deaf_relay_idle(world, keepalive):
    return silent(world, one_way(world, 0), keepalive=keepalive)


@scenario("5 only relay to device is dropped, idle, keepalive {keepalive} s", **{**IDLE, "quick": []})
def deaf_device_idle(world, keepalive):
    return silent(world, one_way(world, 1), keepalive=keepalive)
