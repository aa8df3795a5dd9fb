"""Faults of the device itself: memory, open files, sleep, sudden death; and
lines that are slow, long and lossy."""

import resource
import select
import signal
import statistics
import time

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


@scenario("11 a round trip of 2 s and 10 % loss each way, {seconds} s", link={}, once=True,
          quick=[{"seconds": 40}], full=[{"seconds": 180}])
def long_and_lossy(world, seconds):
    world.begin()
    before = world.tunnels()
    world.link(delay=1.0, loss=0.1)
    answers = watch(world, seconds, 5, 60)
    check_kept(world, before, answers)
    return Measure(remark=f"tunnel kept; {told(answers)}")


@scenario("11 the same with jitter and reordering, {seconds} s", link={}, once=True, full=[{"seconds": 180}])
def long_and_mixed_up(world, seconds):
    world.begin()
    before = world.tunnels()
    world.link(delay=1.0, jitter=0.5, loss=0.1, reorder=0.1)
    answers = watch(world, seconds, 5, 60)
    check_kept(world, before, answers)
    return Measure(remark=f"tunnel kept; {told(answers)}")


@scenario("11 agent started on such a line", link={"delay": 1.0, "loss": 0.1}, full=[{}])
def begins_long_and_lossy(world):
    world.begin(flying=False)
    return Measure(cure=world.back())


@scenario("12 64 kbit/s, bulk transfer and heartbeat, {seconds} s", link={}, once=True,
          quick=[{"seconds": 50}], full=[{"seconds": 180}])
def narrow(world, seconds):
    """The line's queue takes 8 s to pass; the heartbeat comes every 20 s."""
    world.begin(lines=["keepalive = 20"])
    before = world.tunnels()
    world.link(rate=64000, delay=0.02)
    got = [0]
    with world.visitors.stay("/endless") as bulk:

        def read():
            try:
                while part := bulk.recv(65536):
                    got[0] += len(part)
            except OSError:
                pass

        thread(read)
        answers = watch(world, seconds, 10, 60)
        check_kept(world, before, answers)
    return Measure(remark=f"tunnel kept; {told(answers)}; bulk {got[0] * 8 / seconds / 1000:.0f} kbit/s")


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
    end, waiting, count = time.monotonic() + seconds, set(connections), 0
    while waiting and time.monotonic() < end:
        for connection in select.select(list(waiting), [], [], 0.2)[0]:
            waiting.discard(connection)
            try:
                count += connection.recv(15).startswith((b"HTTP/1.1 200", b"HTTP/1.0 200"))
            except OSError:
                pass
    return count


@scenario("16 {megabytes} MB of memory, {streams} streams", once=True,
          quick=[{"megabytes": 16, "streams": 300}], full=[{"megabytes": 16, "streams": 800}])
def little_memory(world, megabytes, streams):
    """Most visitors want endless data and do not read it, the others get a
    byte now and then."""
    limit = world.keep(MemoryLimit(megabytes * MEGABYTE))
    world.begin(before=limit.enter)
    before, pid = world.tunnels(), world.agent.pid
    visitors = crowd(world, ["/drip" if number % 4 == 0 else "/endless" for number in range(streams)])
    count = served(visitors, 20)
    answers = watch(world, 10, 1, 20)
    for visitor in visitors:
        visitor.close()
    back = world.back()
    remark = (f"{count} of {streams} streams, meanwhile {told(answers)}, peak {limit.peak() / MEGABYTE:.1f} MB, "
              f"VmHWM {world.agent.process.peak_kilobytes() / 1024:.1f} MB")
    assert world.agent.process.runs() and world.agent.pid == pid, f"the agent died; {remark}"
    assert world.tunnels() == before, f"the tunnel was lost; {remark}"
    return Measure(cure=back, remark=remark)


@scenario("17 {files} open files at most, {visitors} visitors", quick=[{"files": 32, "visitors": 100}],
          full=[{"files": 32, "visitors": 100}])
def few_open_files(world, files, visitors):
    """They stay for 10 s; the cure is that they go."""
    world.begin(before=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)))
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
