"""Faults of the device itself: memory, open files, sleep, sudden death; and
lines that are slow, long and lossy."""

import resource
import selectors
import signal
import statistics
import time
from pathlib import Path

from cgroup import MemoryLimit
from namespaces import thread
from scenario import Measure, scenario

MEGABYTE = 1 << 20
# Part of the visitors on a bad line who have to be served.
SERVED_PART = 0.8


def watch(world, seconds, interval, patience):
    """Visitors who come in turn for so long: a list with the seconds of each
    until the answer, or None."""
    answers, threads = [], []

    def ask():
        answers.append(world.visitors.ask(timeout=patience))

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        threads.append(thread(ask))
        time.sleep(interval)
    for one in threads:
        one.join()
    return answers


def told(answers):
    served = sorted(seconds for seconds in answers if seconds is not None)
    words = f"{len(served)} of {len(answers)} visitors served"
    return f"{words}, {statistics.median(served):.1f} s, at most {served[-1]:.1f} s" if served else words


def check_kept(world, before, answers):
    """The tunnel is the same, and most were served."""
    assert world.tunnels() == before, f"another tunnel: {before} became {world.tunnels()}; {told(answers)}"
    served = [seconds for seconds in answers if seconds is not None]
    assert len(served) >= SERVED_PART * len(answers), told(answers)


@scenario("11 a round trip of 2 s and 10 % loss each way, {seconds} s", link={},
          quick=[{"seconds": 40}], full=[{"seconds": 180}])
def long_and_lossy(world, seconds):
    world.begin()
    before = world.tunnels()
    world.link(delay=1.0, loss=0.1)
    return kept_and_served(world, seconds, before)


def kept_and_served(world, seconds, before):
    answers = watch(world, seconds, 5, 60)
    check_kept(world, before, answers)
    counts = world.link()
    lost, carried = (sum(way[what] for way in counts) for what in ("lost", "carried"))
    return Measure(remark=f"tunnel kept; {told(answers)}; {lost} of {lost + carried} packets lost")


@scenario("11 the same with jitter and reordering, {seconds} s", link={}, full=[{"seconds": 180}])
def long_and_mixed_up(world, seconds):
    world.begin()
    before = world.tunnels()
    world.link(delay=1.0, jitter=0.5, loss=0.1, reorder=0.1)
    return kept_and_served(world, seconds, before)


@scenario("11 agent started on such a line", link={"delay": 1.0, "loss": 0.1}, full=[{}])
def begins_long_and_lossy(world):
    world.begin(flying=False)
    return Measure(cure=world.back())


NARROW = {"rate": 64000, "delay": 0.02}


@scenario("12 64 kbit/s, bulk transfer and heartbeat, {seconds} s", link=NARROW,
          quick=[{"seconds": 50}], full=[{"seconds": 180}])
def narrow(world, seconds):
    """The line's queue takes 8 s to pass; the heartbeat comes every 20 s."""
    world.begin(lines=["keepalive = 20"])
    return bulk_and_heartbeat(world, seconds)


def bulk_and_heartbeat(world, seconds):
    before = world.tunnels()
    got, began = [0], time.monotonic()
    with world.visitors.stay("/endless") as bulk:

        def read():
            try:
                while part := bulk.recv(65536):
                    got[0] += len(part)
            except OSError:
                pass

        thread(read)
        answers = watch(world, seconds, 10, 60)
        rate = got[0] * 8 / (time.monotonic() - began) / 1000
        check_kept(world, before, answers)
    return Measure(remark=f"tunnel kept; {told(answers)}; bulk {rate:.0f} kbit/s")


@scenario("12 the line falls to 64 kbit/s, bulk transfer and heartbeat, {seconds} s", link={},
          full=[{"seconds": 180}])
def narrowed(world, seconds):
    """What the kernel has learned of the line is wrong from one moment to the
    next: much is lost in the full queue, and what arrives behind a gap does
    not reach the program for half a minute."""
    world.begin(lines=["keepalive = 20"])
    world.link(**NARROW)
    return bulk_and_heartbeat(world, seconds)


def crowd(world, paths):
    """One visitor for each path, all in the same moment; their connections."""
    made = []
    for path in paths:
        connection = world.visitors.socket(5)
        connection.connect((world.visitors.host, world.visitors.port))
        connection.sendall(world.visitors.head(path))
        made.append(connection)
    return made


def served(connections, seconds):
    """How many have got an answer from the service within so many seconds.
    Those with none are asked; those with an endless one are not read on."""
    end, count, waiting = time.monotonic() + seconds, 0, selectors.DefaultSelector()
    for connection in connections:
        waiting.register(connection, selectors.EVENT_READ)
    with waiting:
        while waiting.get_map() and time.monotonic() < end:
            for key, _ in waiting.select(0.2):
                waiting.unregister(key.fileobj)
                try:
                    count += key.fileobj.recv(15).startswith((b"HTTP/1.1 200", b"HTTP/1.0 200"))
                except OSError:
                    pass
    return count


@scenario("16 {megabytes} MB of memory, {streams} streams", once=True,
          quick=[{"megabytes": 16, "streams": 300}],
          full=[{"megabytes": megabytes, "streams": 1000} for megabytes in (16, 8)])
def little_memory(world, megabytes, streams):
    """Most visitors want endless data and do not read it, the others get a
    byte now and then."""
    limit = world.keep(MemoryLimit(megabytes * MEGABYTE))
    world.begin(before=limit.enter)
    before = world.tunnels()
    visitors = crowd(world, ["/drip" if number % 4 == 0 else "/endless" for number in range(streams)])
    count = served(visitors, 20)
    answers = watch(world, 10, 1, 20)
    for visitor in visitors:
        visitor.close()
    remark = f"{count} of {streams} streams, meanwhile {told(answers)}, peak {limit.peak() / MEGABYTE:.1f} MB"
    assert world.agent.process.runs(), f"the agent died; {remark}"
    back = world.back()
    assert world.tunnels() == before, f"the tunnel was lost; {remark}"
    return Measure(cure=back, remark=remark)


@scenario("17 {files} open files at most, {visitors} visitors", quick=[{"files": 96, "visitors": 200}],
          full=[{"files": 96, "visitors": 200}])
def few_open_files(world, files, visitors):
    """They stay for 10 s; the cure is that they go."""
    world.begin(before=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)))
    return crowded(world, visitors)


@scenario("17 open files run out for {visitors} visitors", full=[{"visitors": 200}])
def no_open_files(world, visitors):
    """The limit is lowered to ten more than are open when it runs already, as
    if something in the agent or the system had taken the others."""
    world.begin()
    files = max(int(file.name) for file in Path(f"/proc/{world.agent.pid}/fd").iterdir()) + 10
    resource.prlimit(world.agent.pid, resource.RLIMIT_NOFILE, (files, files))
    return crowded(world, visitors)


def crowded(world, visitors):
    before = world.tunnels()
    connections = crowd(world, ["/hold"] * visitors)
    count = served(connections, 10)
    for connection in connections:
        connection.close()
    back = world.back()
    kept = "tunnel kept" if world.tunnels() == before else "new tunnel"
    assert world.agent.process.runs(), "the agent died"
    return Measure(cure=back, remark=f"{count} of {visitors} served at the same time, {kept}")


STOPS = {"quick": [{"seconds": 10, "path": "nobody"}],
         "full": [{"seconds": 40, "path": path} for path in ("nobody", "/drip")]}


@scenario("19 agent stopped {seconds} s, {path}", **STOPS)
def stopped(world, seconds, path, asleep=lambda: None):
    world.begin()
    visitor = world.visitors.stay(path) if path != "nobody" else None
    before = world.tunnels()
    world.agent.send(signal.SIGSTOP)
    asleep()
    time.sleep(seconds)
    world.agent.send(signal.SIGCONT)
    back = world.back()
    if visitor:
        visitor.close()
    return Measure(cure=back, remark="tunnel kept" if before & world.tunnels() else "new tunnel")


@scenario("19 agent stopped {seconds} s, {path}, NAT forgets meanwhile", **{**STOPS, "quick": []})
def suspended(world, seconds, path):
    """As a laptop that sleeps."""
    return stopped(world, seconds, path, world.flush_nat)


@scenario("22 agent killed and started at once", compare=True, quick=[{}])
def killed(world):
    world.begin()
    world.agent.kill()
    world.agent.start()
    return Measure(cure=world.back())


@scenario("22 power cut: killed without a word to the relay, started {seconds} s later", compare=True,
          quick=[{"seconds": 0}], full=[{"seconds": 0}, {"seconds": 30}])
def power_cut(world, seconds):
    """Nothing that belongs to the old tunnel passes any more."""
    world.begin()
    world.fault(*world.forget(world.tunnels()))
    world.agent.kill()
    time.sleep(seconds)
    world.agent.start()
    return Measure(cure=world.back())


@scenario("22 the same with Debian's relay, started {seconds} s later", relay="debian",
          full=[{"seconds": 0}, {"seconds": 30}])
def power_cut_with_debian(world, seconds):
    return power_cut(world, seconds)
