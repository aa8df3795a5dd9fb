"""What a booted device has to do, from an agent that starts without network in
1970 to its orderly end, seen from the host."""

import contextlib
import hashlib
import time

import guest
import kernels
import relay
from guest import Guest, Trouble

# Seconds that everything may take.
LONGEST = 900
# Seconds that the agent runs without a network.
ALONE = 5
STREAM_BYTES = 64 << 20
VISITORS, IDLE_STREAMS = 50, 100
# The port of the raw kite whose streams idle; it leads to the web server.
IDLE_PORT = 8000
# The kernel's unit of processor times on every architecture here (proc(5)).
TICKS = 100
# Seconds after which a wait has failed; emulated processors are slow, and
# several may share one real one.
BOOT, TUNNEL, TRANSFER, ANSWER, END = 180, 120, 400, 90, 60


def stream_digest(binary):
    """SHA-256 of what the device's web server sends."""
    digest, left, number = hashlib.sha256(), STREAM_BYTES, 0
    while left:
        for part in (b"%d\n" % number, binary):
            digest.update(part[:left])
            left -= min(left, len(part))
        number += 1
    return digest.hexdigest()


def rc(secret):
    """The agent's configuration."""
    kite = relay.KITE
    return f"""\
frontend = {guest.RELAY_ADDRESS}:{guest.RELAY_PORT}
fe_certname = {relay.RELAY_NAME}
ca_certs = /etc/authority.pem
runtime_directory = /run/kitelet
service_on = http:{kite}:127.0.0.1:80:{secret}
service_on = raw-22:{kite}:127.0.0.1:22:{secret}
service_on = raw-{IDLE_PORT}:{kite}:127.0.0.1:80:{secret}
"""


class Job:
    """The job on one machine; `say` takes a line for each step, `measures` are
    what is left of it."""

    def __init__(self, machine, binary, relay_program, folder, say):
        self.machine, self.binary, self.relay_program = machine, binary, relay_program
        self.folder, self.say, self.measures = folder, say, {}
        self.deadline = time.monotonic() + LONGEST
        self.guest = self.relay = None

    def run(self):
        machine = self.machine
        kernel = kernels.kernel(machine.suite, machine.architecture, machine.kernel, machine.modules,
                                machine.device_tree)
        self.say(f"{kernel.package} {kernel.version} of {machine.suite}")
        authority = relay.Authority(self.folder / "certificates")
        old = authority.issue("old", relay.LONG_AGO)
        self.relay = relay.Relay(self.relay_program, self.folder, old)
        root, sources = guest.initramfs(
            machine, kernel, self.binary.read_bytes(), rc(self.relay.secret), authority.roots.read_bytes(), STREAM_BYTES,
        )
        self.measures.update(mode="booted", kernel=kernel.version, memory_mb=machine.memory, remark=machine.remark,
                             programs=sources)
        try:
            self.relay.start()
            self.guest = Guest(machine, kernel, root, self.relay.port, self.folder, self.deadline)
            self._boot()
            self._fly()
            self._transfer()
            self._crowd()
            self._ssh()
            self._idle()
            self._relay_lost()
            self._new_certificate(authority)
            self._end()
        finally:
            if self.guest is not None:
                self.guest.stop()
            self.relay.stop()
        return self.measures

    def _boot(self):
        ready = self.guest.answer("ready", BOOT)
        self.measures.update(release=ready["kernel"], processor=ready["machine"])
        self._in_1970(ready)
        time.sleep(ALONE)
        if not self._measure()["threads"]:
            raise Trouble(f"the agent ended before there was a network; see {self.guest.console}")
        self.say(f"Linux {ready['kernel']} on {ready['machine']}: the agent runs for {ALONE} s without network, "
                 f"the clock says {_day(ready['clock'])}")

    def _fly(self):
        before = time.monotonic()
        link = self.guest.ask("link")
        self._wait(self.relay.is_answered, TUNNEL, "no visitor is answered after the link came up")
        self.measures["tunnel_seconds"] = round(time.monotonic() - before, 1)
        time.sleep(3)
        idle = self._measure()
        self._in_1970(idle)
        self.measures["idle"] = _memory(idle)
        self.say(f"{link['device']} is up, and {self.measures['tunnel_seconds']} s later a visitor is answered; "
                 f"the clock says {_day(idle['clock'])}, the certificate is checked all the same")

    def _transfer(self):
        before, start = self._measure(), time.monotonic()
        status, length, digest = self.relay.get("/cgi-bin/stream", TRANSFER)
        seconds = time.monotonic() - start
        spent = self._measure()["ticks"] - before["ticks"]
        if (status, length, digest) != (200, STREAM_BYTES, stream_digest(self.binary.read_bytes())):
            raise Trouble(f"of {STREAM_BYTES} bytes, {length} came (HTTP {status}), SHA-256 {digest}")
        self.measures.update(transfer_seconds=round(seconds, 1), transfer_processor_seconds=spent / TICKS)
        self.say(f"{length >> 20} MiB came intact in {seconds:.0f} s, {spent / TICKS:.2f} s of the device's processor "
                 "in the agent")

    def _crowd(self):
        answered = self.relay.at_once(VISITORS, ANSWER)
        if answered != VISITORS:
            raise Trouble(f"of {VISITORS} visitors at the same time, {answered} were answered")
        self.say(f"{VISITORS} visitors at the same time are answered")

    def _ssh(self):
        visitor, banner = self.relay.connect(22, ANSWER)
        with visitor:
            while b"\n" not in banner and len(banner) < 256:
                piece = visitor.recv(256)
                if not piece:
                    break
                banner += piece
        if not banner.startswith(b"SSH-2.0-"):
            raise Trouble(f"the SSH server says {banner[:80]!r}")
        self.say(f"the SSH server says {banner.split()[0].decode(errors='replace')}")

    def _idle(self):
        files = self._measure()["files"]
        with contextlib.ExitStack() as stack:
            visitors = []
            for _ in range(IDLE_STREAMS):
                visitor, _ = self.relay.connect(IDLE_PORT, ANSWER)
                visitors.append(stack.enter_context(visitor))
            time.sleep(3)
            measured = self._measure()
            opened = measured["files"] - files
            if opened < IDLE_STREAMS:
                raise Trouble(f"the agent has {opened} connections for {IDLE_STREAMS} streams")
            answered = 0
            for visitor in visitors:
                visitor.sendall(b"GET / HTTP/1.0\r\n\r\n")
                answered += b" 200 " in visitor.recv(256)
            if answered != IDLE_STREAMS:
                raise Trouble(f"of {IDLE_STREAMS} streams that idled, {answered} still answer")
        self.measures["idle_streams"] = _memory(measured)
        self.say(f"{IDLE_STREAMS} streams idle, and all answer afterwards")

    def _relay_lost(self):
        self.relay.stop()
        time.sleep(2)
        self.relay.start()
        before = time.monotonic()
        self._wait(self.relay.is_answered, TUNNEL, "no visitor is answered after the relay was killed and started")
        self.measures["back_seconds"] = round(time.monotonic() - before, 1)
        self.say(f"the relay is killed and started: {self.measures['back_seconds']} s later a visitor is answered")

    def _new_certificate(self, authority):
        """A certificate that is younger than the program cannot be checked by
        a device in 1970: it says so, and flies when the clock is set."""
        now = time.time()
        self.relay.stop()
        self.relay.show(authority.issue("new", time.strftime("%Y%m%d%H%M%SZ", time.gmtime(now))))
        shown = len(self.guest.lines)
        self.relay.start()
        self._wait(lambda: self.guest.said("clock of this machine is not set", shown) or self.relay.is_answered(),
                   TUNNEL, "the agent says nothing of a certificate that is younger than it")
        is_refused = self.guest.said("clock of this machine is not set", shown)
        before = time.monotonic()
        clock = self.guest.ask("clock", value=int(time.time()))["clock"]
        self._wait(self.relay.is_answered, TUNNEL, "no visitor is answered after the clock was set")
        self.measures.update(young_certificate="refused until the clock is set" if is_refused else "taken in 1970",
                             clock_seconds=round(time.monotonic() - before, 1))
        self.say(f"a certificate of today is {self.measures['young_certificate']}; {self.measures['clock_seconds']} s "
                 f"after the clock says {_day(clock)} a visitor is answered")

    def _end(self):
        status = self.guest.ask("end", END)["status"]
        if status != "0":
            raise Trouble(f"after SIGTERM, the agent ends with {status}; see {self.guest.console}")
        if not self.guest.ended(END):
            raise Trouble(f"the device does not switch itself off; see {self.guest.console}")
        self.say("SIGTERM: the agent ends with 0, and the device switches itself off")

    def _measure(self):
        said = self.guest.ask("measure")
        return {
            "rss": int(said.get("VmRSS", 0)), "anonymous": int(said.get("RssAnon", 0)),
            "threads": int(said.get("Threads", 0)), "files": int(said.get("files", 0)),
            "ticks": int(said.get("utime") or 0) + int(said.get("stime") or 0), "clock": said["clock"],
        }

    def _in_1970(self, said):
        if int(said["clock"]) > 365 * 86_400:
            raise Trouble(f"the device's clock says {_day(said['clock'])} and not 1970")

    def _wait(self, condition, seconds, what):
        end = min(time.monotonic() + seconds, self.deadline)
        while not condition():
            if time.monotonic() > end:
                if not what:
                    return
                raise Trouble(f"{what} within {seconds} s; see {self.guest.console}")
            if self.guest.child.poll() is not None:
                raise Trouble(f"the device ended; see {self.guest.console}")
            time.sleep(0.2)


def _memory(measured):
    return {"rss_kb": measured["rss"], "anonymous_kb": measured["anonymous"], "threads": measured["threads"]}


def _day(seconds):
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(int(seconds)))
