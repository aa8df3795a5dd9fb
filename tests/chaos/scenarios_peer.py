"""Relays that accept and then misbehave, and those that an agent has to
distrust."""

import time

from front import Front
from namespaces import command
from programs import RELAY_NAME, SECRET
from scenario import DETECT_WITH_STREAMS, Measure, scenario
from harness import needs, wait_until
from world import RELAYS

# Where the misbehaving one stands; the name leads to it.
FRONT = RELAYS[1]
# What openssl needs to sign with dates of our choice.
DATES_CONFIG = """[ca]
default_ca = own
[own]
database = {directory}/index
new_certs_dir = {directory}
default_md = sha256
policy = any
[any]
commonName = supplied
"""


def behind(world, mode):
    """A front that the agent takes for the relay."""
    world.names.write(f"{FRONT} {RELAY_NAME}")
    return world.keep(Front(world.relay_side, FRONT, RELAYS[0], mode))


# Bytes of the relay's that pass: some of its TLS; none of its handshake in
# clear, where the agent speaks first.
STAGES = {"TCP": ("silent", []), "TLS": (60, []), "the handshake": (0, ["nossl"]), "the challenge": (200, ["nossl"])}


@scenario("13 relay silent after {stage}, well after {seconds} s", quick=[{"stage": "TCP", "seconds": 10}],
          full=[{"stage": stage, "seconds": 30} for stage in STAGES])
def silent_relay(world, stage, seconds):
    mode, lines = STAGES[stage]
    front = behind(world, mode)
    world.begin(flying=False, lines=lines)
    time.sleep(seconds)
    front.mode = "pass"
    return Measure(cure=world.back(), remark=f"tries: {front.accepted}")


@scenario("13 relay silent in the middle of a frame, with a visitor", detect=DETECT_WITH_STREAMS,
          full=[{}])
def half_a_frame(world):
    front = behind(world, "pass")
    world.begin(lines=["nossl"])
    with world.visitors.stay("/hold"):
        time.sleep(1)
        before = world.tunnels()
        since = time.monotonic()
        front.freeze()
        # Their stream's first frame is what is cut.
        world.visitors.ask(timeout=1)
        world.new_tunnel(before, since)
        return Measure(fault=world.back(since))


@scenario("14 relay closes at once for {seconds} s", quick=[{"seconds": 10}], full=[{"seconds": 10}, {"seconds": 60}])
def closing_relay(world, seconds):
    front = behind(world, "close")
    world.begin(flying=False)
    time.sleep(seconds)
    tries = front.accepted
    front.mode = "pass"
    return Measure(cure=world.back(), remark=f"tries: {tries}")


def reload(world):
    """The relay reads everything again; when it has."""
    told = "the configuration was read again"
    before = world.relay.log().count(told)
    world.relay.reload()
    wait_until(lambda: world.relay.log().count(told) > before, 10, "the relay does not read again")


@scenario("14 wrong secret, mended after {seconds} s", quick=[{"seconds": 10}],
          full=[{"seconds": 10}, {"seconds": 60}])
def wrong_secret(world, seconds):
    """The relay's list of kites has another secret at first."""
    world.relay.write_secret("an0therSecret")
    world.begin(flying=False)
    time.sleep(seconds)
    world.relay.write_secret(SECRET)
    reload(world)
    return Measure(cure=world.back())


def bad_certificate(world, what):
    """Key and certificate in one PEM text, in the name of the authority that
    the agent trusts."""
    if what == "for another name":
        return world.authority.issue("other.test").both.read_text()
    begin, end = {
        "expired": ("20200101000000Z", "20210101000000Z"), "not yet valid": ("20450101000000Z", "20460101000000Z"),
    }[what]
    directory = world.authority.directory / "dates"
    directory.mkdir()
    (directory / "index").touch()
    (directory / "config").write_text(DATES_CONFIG.format(directory=directory))
    stem = world.authority.directory / RELAY_NAME
    command(
        needs("openssl"), "ca", "-batch", "-notext", "-config", directory / "config", "-rand_serial",
        "-cert", world.authority.roots, "-keyfile", world.authority.key, "-startdate", begin, "-enddate", end,
        "-extfile", f"{stem}.ext", "-in", f"{stem}.csr", "-out", directory / "crt",
    )
    return world.certificate.key.read_text() + (directory / "crt").read_text()


@scenario("15 certificate {what}, a good one after {seconds} s", quick=[{"what": "expired", "seconds": 10}],
          full=[{"what": what, "seconds": seconds}
                for what in ("expired", "not yet valid", "for another name") for seconds in (10, 60)])
def certificate(world, what, seconds):
    good = world.certificate.both.read_text()
    world.certificate.both.write_text(bad_certificate(world, what))
    world.begin(flying=False)
    time.sleep(seconds)
    assert not world.relay.log().count("flies http"), f"the agent trusts a certificate that is {what}"
    world.certificate.both.write_text(good)
    reload(world)
    return Measure(cure=world.back())
