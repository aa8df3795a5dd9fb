"""Faults of the device's own network: addresses, cables, names, IPv6."""

import time

from programs import RELAY_NAME
from scenario import DETECT_WITH_STREAMS, Measure, scenario
from world import (
    DEAD, DEVICE, DEVICE_NEW, GATEWAY, NAMES, RELAY6, RELAYS, SECOND, SECOND_GATEWAY,
)

# A name that leads nowhere stands first in the answers of dnsmasq.
DEAD_FIRST = (f"{DEAD} {RELAY_NAME}", f"{RELAYS[0]} {RELAY_NAME}")
V6_FIRST = (f"{RELAY6} {RELAY_NAME}", f"{RELAYS[0]} {RELAY_NAME}")


@scenario("6 address changed under the tunnel", compare=True, quick=[{}])
def address_changed(world):
    world.begin()
    world.device.ip("address", "del", f"{DEVICE}/24", "dev", "up0")
    time.sleep(0.5)
    world.uplink_up("up0", DEVICE_NEW, GATEWAY)
    return Measure(cure=world.back())


@scenario("6 address changed under the tunnel, with a visitor on /drip", quick=[])
def address_changed_with_visitor(world):
    world.begin()
    with world.visitors.stay("/drip"):
        world.device.ip("address", "del", f"{DEVICE}/24", "dev", "up0")
        time.sleep(0.5)
        world.uplink_up("up0", DEVICE_NEW, GATEWAY)
        return Measure(cure=world.back())


@scenario("7 cable out {seconds} s, {path}", compare=True, quick=[{"seconds": 1, "path": "/drip"}],
          full=[{"seconds": seconds, "path": path} for path in ("/drip", "nobody") for seconds in (1, 60)])
def cable_out(world, seconds, path):
    """The carrier goes away, addresses and routes stay."""
    world.begin()
    visitor = world.visitors.stay(path) if path != "nobody" else None
    before = world.tunnels()
    world.router.ip("link", "set", "lan0", "down")
    time.sleep(seconds)
    world.router.ip("link", "set", "lan0", "up")
    back = world.back()
    if visitor:
        visitor.close()
    return Measure(cure=back, remark="tunnel kept" if before & world.tunnels() else "new tunnel")


@scenario("7 interface down {seconds} s", compare=True, quick=[{"seconds": 5}], full=[{"seconds": 1}, {"seconds": 60}])
def interface_down(world, seconds):
    """Address and routes go as well, and come back the same, as by DHCP."""
    world.begin()
    world.device.ip("address", "flush", "dev", "up0")
    world.device.ip("link", "set", "up0", "down")
    time.sleep(seconds)
    world.uplink_up("up0", DEVICE, GATEWAY)
    return Measure(cure=world.back())


LATER = {"compare": True, "quick": [{"seconds": 10}], "full": [{"seconds": 10}, {"seconds": 60}]}


@scenario("8 no name server at the start, there after {seconds} s", **LATER)
def no_name_server(world, seconds):
    """Nobody listens there: each question is refused at once."""
    world.begin(names=False, flying=False)
    time.sleep(seconds)
    world.names.start()
    return Measure(cure=world.back())


@scenario("8 name server silent at the start, there after {seconds} s", **{**LATER, "quick": []})
def silent_name_server(world, seconds):
    """Questions are dropped on the way."""
    world.fault(f"ip daddr {NAMES} drop")
    world.begin(flying=False)
    time.sleep(seconds)
    world.no_fault()
    return Measure(cure=world.back())


@scenario("8 no resolv.conf at the start, there after {seconds} s", **LATER)
def no_resolv_conf(world, seconds):
    (world.etc / "resolv.conf").unlink()
    world.begin(flying=False)
    time.sleep(seconds)
    world.write_resolv_conf()
    return Measure(cure=world.back())


@scenario("8 relay's name unknown at the start, known after {seconds} s", **LATER)
def unknown_name(world, seconds):
    lines = world.names.file.read_text()
    world.names.write()
    world.begin(flying=False)
    time.sleep(seconds)
    world.names.write(lines)
    world.names.reload()
    return Measure(cure=world.back())


@scenario("8 resolv.conf names a dead server at the start, another after {seconds} s", quick=[],
          full=[{"seconds": 20}])
def another_name_server(world, seconds):
    """As when a router was replaced."""
    world.write_resolv_conf(DEAD)
    world.begin(flying=False)
    time.sleep(seconds)
    world.write_resolv_conf()
    return Measure(cure=world.back())


@scenario("8 relay killed and restarted while the name server is {state}", within=30, quick=[{"state": "gone"}],
          full=[{"state": "gone"}, {"state": "silent"}])
def relay_killed_without_names(world, state):
    """The agent has been there and could know the way."""
    world.begin()
    if state == "gone":
        world.names.stop()
    else:
        world.fault(f"ip daddr {NAMES} drop")
    world.relay.kill()
    time.sleep(2)
    world.relay.start()
    return Measure(cure=world.back())


@scenario("9 a dead address first in DNS, at the start", compare=True, quick=[{}])
def dead_address_first(world):
    world.names.write(*DEAD_FIRST)
    begin_with_first(world, DEAD)
    return Measure(cure=world.back())


def begin_with_first(world, address):
    """Begins when the device's resolver has that address first."""
    world.begin(start=False)
    told = world.device.run("sh", "-c", f'mount --bind {world.etc} /etc && getent ahosts {RELAY_NAME}').split()
    assert told[0] == address, f"{told[0]} is first and not {address}"
    world.start_agent()


@scenario("9 relay moved to another address after it died", quick=[], relays=2, compare=True)
def relay_moved(world):
    """The one at the old address is dead and silent, the name leads to the
    other. The agent knows the old address."""
    world.begin()
    world.fault(f"ip daddr {RELAYS[0]} drop", f"ip saddr {RELAYS[0]} drop")
    world.relay.kill()
    world.visitors = world.visitors_of(world.relays[1])
    time.sleep(5)
    world.names.write(f"{RELAYS[1]} {RELAY_NAME}")
    world.names.reload()
    return Measure(cure=world.back())


@scenario("10 IPv6 first and a black hole, at the start", ipv6=True, compare=True, quick=[{}])
def black_hole(world):
    world.names.write(*V6_FIRST)
    world.fault("meta nfproto ipv6 drop")
    begin_with_first(world, RELAY6)
    return Measure(cure=world.back())


@scenario("10 IPv6 becomes a black hole under the tunnel, {path}", ipv6=True, detect=DETECT_WITH_STREAMS,
          quick=[], full=[{"path": "/hold"}, {"path": "/drip"}])
def black_hole_later(world, path):
    world.names.write(*V6_FIRST)
    world.begin()
    visitor = world.visitors.stay(path)
    time.sleep(1)
    before = world.tunnels()
    assert any(len(remote) > 20 for _, remote in before), f"the tunnel does not go by IPv6: {before}"
    since = time.monotonic()
    world.fault("meta nfproto ipv6 drop")
    world.new_tunnel(before, since)
    back = world.back(since)
    visitor.close()
    return Measure(fault=back)


@scenario("20 a second interface comes up, the first goes {seconds} s later", compare=True,
          quick=[{"seconds": 0}], full=[{"seconds": 0}, {"seconds": 5}])
def uplink_changes(world, seconds):
    """As from Wi-Fi to a cable. The new one has the better route."""
    world.begin()
    world.uplink_up("up1", SECOND, SECOND_GATEWAY, metric=50)
    time.sleep(seconds)
    world.device.ip("address", "flush", "dev", "up0")
    world.device.ip("link", "set", "up0", "down")
    return Measure(cure=world.back())


@scenario("20 the uplink fails silently and a worse one is there, {path}", detect=DETECT_WITH_STREAMS,
          quick=[], full=[{"path": "/hold"}])
def uplink_fails(world, path):
    """Behind the first router everything is dropped. Its route goes 5 s later,
    as by a program that watches uplinks; that is the cure."""
    world.uplink_up("up1", SECOND, SECOND_GATEWAY, metric=200)
    world.begin()
    with world.visitors.stay(path):
        world.fault("iifname lan0 drop", "oifname lan0 drop")
        time.sleep(5)
        world.device.ip("route", "del", "default", "via", GATEWAY)
        return Measure(cure=world.back())
