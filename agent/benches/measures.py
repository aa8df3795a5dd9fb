"""One function per thing that is measured. Each raises `BenchError` when its
number would be wrong: requests that failed, bytes that are missing."""

import re
import select
import socket
import subprocess
import time
from pathlib import Path

from peers import KITE, LOAD, MIB, RAW_PORT, BenchError, Process, find

# A single measure that takes longer than this has failed.
PATIENCE_SECONDS = 60
GIB = 1024 * MIB
UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


def download(port, mebibytes):
    """Seconds for a file from nginx, with nginx or a relay at `port`."""
    return _load("download", f"127.0.0.1:{port}", KITE, f"/{mebibytes}M")


def upload(port, via, mebibytes):
    """Seconds for bytes to the sink; `via`: whether a relay is at `port`."""
    return _load("upload", f"127.0.0.1:{port}", _raw(via), mebibytes * MIB)


def bulk(transfer, mebibytes, repeat, agent=None):
    """MB/s of the median of some transfers, and the agent's CPU seconds per
    GiB over all of them."""
    before = cpu_seconds(agent) if agent else 0
    seconds = sorted(transfer() for _ in range(repeat))
    spent = cpu_seconds(agent) - before if agent else None
    speed = mebibytes * MIB / 1e6 / seconds[repeat // 2]
    return speed, spent and spent / (repeat * mebibytes * MIB) * GIB


def requests(port, seconds, close=False, agent=None):
    """Requests per second over 50 connections, kept alive or one each; what
    a request costs the agent in microseconds of CPU, and in bytes that it
    sends into the tunnel (an answer has about 160)."""
    options = ["-H", "Connection: close"] if close else []
    if agent is None:
        return wrk(_url(port), 50, seconds, options)["rate"], None, None
    cpu, sent = cpu_seconds(agent), _bytes_sent(agent, port)
    found = wrk(_url(port), 50, seconds, options)
    cpu, sent = cpu_seconds(agent) - cpu, _bytes_sent(agent, port) - sent
    return found["rate"], cpu / found["count"] * 1e6, sent / found["count"]


def latency(port, seconds):
    """Milliseconds of the median and the 99th percentile of small requests,
    one after the other on one connection."""
    found = wrk(_url(port), 1, seconds, ["--latency"])
    return found["50"], found["99"]


def answers(port):
    """Whether a request is answered by the service now."""
    request = f"GET / HTTP/1.1\r\nHost: {KITE}\r\nConnection: close\r\n\r\n".encode()
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as visitor:
            visitor.sendall(request)
            return visitor.recv(256).split(b" ")[1:2] == [b"200"]
    except OSError:
        return False


def cold_start(start, port, pause):
    """Starts the agent; the process, and milliseconds to the first answer."""
    begin = time.monotonic()
    agent = start()
    while not answers(port):
        if time.monotonic() > begin + 30 or not agent.runs():
            agent.stop()
            raise BenchError(f"the agent does not serve: {agent.log.read_text()[-400:]}")
        time.sleep(pause)
    return agent, (time.monotonic() - begin) * 1000


class IdleStreams:
    """Holds idle raw streams, each of which was answered once."""

    def __init__(self, port, count, directory):
        command = [LOAD, "hold", f"127.0.0.1:{port}", _raw(True), count]
        log = directory / "holder.out"
        log.unlink(missing_ok=True)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.holder = Process(command, log, **pipes)

    def __enter__(self):
        output = self.holder.child.stdout
        ready, _, _ = select.select([output], [], [], PATIENCE_SECONDS)
        if not ready or output.readline().strip() != "holding":
            self.holder.stop()
            raise BenchError(f"idle streams: {self.holder.log.read_text()[-300:] or 'not in time'}")

    def __exit__(self, *_):
        self.holder.child.stdin.close()
        self.holder.stop()


def resident(process):
    """Kilobytes in RAM: all, and those that are not of the file."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return tuple(int(re.search(rf"{key}:\s+(\d+)", status)[1]) for key in ("VmRSS", "RssAnon"))


def cpu_seconds(process):
    """User and system time of all threads, to the nanosecond where the kernel
    tells, else to the clock tick."""
    tasks = Path(f"/proc/{process.pid}/task").iterdir()
    try:
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    except FileNotFoundError:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / 100


def switches(process, seconds):
    """Voluntary context switches of all threads in this time."""
    before = _count_switches(process)
    time.sleep(seconds)
    return _count_switches(process) - before


def _count_switches(process):
    tasks = Path(f"/proc/{process.pid}/task").iterdir()
    texts = ((task / "status").read_text() for task in tasks)
    return sum(int(re.search(r"\nvoluntary_ctxt_switches:\s+(\d+)", text)[1]) for text in texts)


def _bytes_sent(process, port):
    """What the agent has sent to the relay at this port."""
    lines = _run([find("ss", "iproute2"), "-tinHp", "dport", "=", f":{port}"])
    found = re.search(rf"pid={process.pid},.*?bytes_sent:(\d+)", lines, re.DOTALL)
    if found is None:
        raise BenchError("the agent has no tunnel any more")
    return int(found[1])


def _raw(via):
    return f"{KITE}:{RAW_PORT}" if via else "-"


def _load(*arguments):
    return float(_run([LOAD, *map(str, arguments)]))


def _url(port):
    return f"http://127.0.0.1:{port}/"


def wrk(url, connections, seconds, options):
    """What `wrk` finds of requests for the kite: their rate, their number, and
    with `--latency` the percentiles in milliseconds."""
    host = ["-H", f"Host: {KITE}"]
    command = [find("wrk", "wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s"]
    text = _run([*command, *host, *options, url])
    failed = re.search(r"Socket errors: (.*)|Non-2xx.*", text)
    found = {
        percent: float(number) * UNITS[unit]
        for percent, number, unit in re.findall(r"^\s+(\d+)%\s+([\d.]+)([a-z]+)", text, re.MULTILINE)
    }
    found["rate"] = float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])
    found["count"] = int(re.search(r"(\d+) requests in", text)[1])
    if failed or found["count"] == 0:
        raise BenchError(f"wrk: {failed[0] if failed else 'no request was answered'}")
    return found


def _run(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        raise BenchError(f"{Path(command[0]).name} was not done in {PATIENCE_SECONDS} s") from None
    if done.returncode:
        raise BenchError(f"{Path(command[0]).name}: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout
