"""What a booted device has to do, from an agent that starts without network in
1970 to its orderly end, seen from the host."""

import contextlib
import hashlib
import time

import guest
import kernels
import relay
from guest import Guest, Trouble
from user_mode import Services, UserMode

# Seconds that everything may take, from the start of the device.
LONGEST = 900
# Seconds that the agent runs without a network.
ALONE = 5
# Seconds until memory is measured, after what was done before.
CALM = 3
VISITORS, IDLE_STREAMS = 50, 100
# The port of the raw kite whose streams idle; it leads to the web server.
IDLE_PORT = 8000
# The kernel's unit of processor times on every architecture here (proc(5)).
TICKS = 100
# Seconds after which a wait has failed; emulated processors are slow, and
# several may share one real one.
BOOT, TUNNEL, TRANSFER, ANSWER, END = 180, 120, 400, 90, 60
# What the agent says of a certificate that it cannot check in 1970.
NOT_SET = "clock of this machine is not set"


def stream(binary, size):
    """The `size` bytes that the device's web server sends: a number and the
    program, again and again."""
    left, number = size, 0
    while left:
        for part in (b"%d\n" % number, binary):
            yield part[:left]
            left -= min(left, len(part))
        number += 1


def stream_digest(binary, size):
    """SHA-256 of the stream."""
    digest = hashlib.sha256()
    for part in stream(binary, size):
        digest.update(part)
    return digest.hexdigest()


def rc(address, authority, secret, web=80, ssh=22):
    """The agent's configuration; `web` and `ssh` are ports of its services."""
    kite = relay.KITE
    return f"""\
frontend = {address}
fe_certname = {relay.RELAY_NAME}
ca_certs = {authority}
service_on = http:{kite}:127.0.0.1:{web}:{secret}
service_on = raw-22:{kite}:127.0.0.1:{ssh}:{secret}
service_on = raw-{IDLE_PORT}:{kite}:127.0.0.1:{web}:{secret}
"""


class Job:
    """The job of one family of devices. `say` takes a line for each step,
    `measures` are what was found."""

    def __init__(self, binary, relay_program, folder, say):
        self.binary, self.relay_program = binary, relay_program
        self.folder, self.say, self.measures = folder, say, {}
        # Set when what has to be loaded is here.
        self.deadline = None
        self.device = self.relay = self.authority = None
        self.is_cancelled, self.stream_size = False, 64 << 20

    def boot(self, machine):
        """On an emulated machine with a kernel of its own."""
        kernel = kernels.kernel(machine.suites, machine.architecture, machine.kernel, machine.modules,
                                machine.device_tree)
        if kernel.remark:
            self.say(kernel.remark)
        self.say(f"{kernel.package} {kernel.version} of {kernel.suite}")
        self.stream_size = machine.stream << 20
        self._prepare()
        text = rc(f"{guest.RELAY_ADDRESS}:{guest.RELAY_PORT}", "/etc/authority.pem", self.relay.secret)
        root, sources = guest.initramfs(
            machine, kernel, self.binary.read_bytes(), text + "runtime_directory = /run/kitelet\n",
            self.authority.roots.read_bytes(), self.stream_size,
        )
        self.measures.update(mode="booted", suite=kernel.suite, kernel=kernel.version, memory_mb=machine.memory,
                             remark=machine.remark, programs=sources)
        self.deadline = time.monotonic() + LONGEST
        try:
            self._start_relay()
            self.device = Guest(machine, kernel, root, self.relay.port, self.folder, self.deadline)
            self._wake()
            self._link()
            self._serve()
            self._young_certificate()
            self._end("the agent ends with 0, and the device switches itself off")
        finally:
            self._stop()

    def user_mode(self, program):
        """As a program on the kernel of this machine."""
        self._prepare()
        services = Services(lambda: stream(self.binary.read_bytes(), self.stream_size))
        self.measures.update(mode="emulated user mode", remark="no kernel of its own, no clock in 1970")
        self.deadline = time.monotonic() + LONGEST
        try:
            web, ssh = services.ports()
            text = rc(f"127.0.0.1:{self.relay.port}", self.authority.roots, self.relay.secret, web, ssh)
            self.device = UserMode(program, self.binary, text, self.folder)
            time.sleep(ALONE)
            if not self.device.runs():
                raise Trouble(f"the agent ended before there was a relay; see {self.device.console}")
            self._start_relay()
            before = time.monotonic()
            self._wait(self.relay.is_answered, TUNNEL, "no visitor is answered after the relay came up")
            self.say(f"emulated user mode ({program}): {time.monotonic() - before:.1f} s after the relay came up, "
                     "a visitor is answered")
            self._serve()
            self._end("the agent ends with 0")
        finally:
            self._stop()
            services.stop()

    def cancel(self):
        """Ends what runs, from another thread; the job itself then fails."""
        self.is_cancelled = True
        for one in (self.device, self.relay):
            if one is not None and one.child is not None and one.child.poll() is None:
                one.child.kill()

    def _prepare(self):
        self.authority = relay.Authority(self.folder / "certificates")
        self.relay = relay.Relay(self.relay_program, self.folder, self.authority.issue("old", relay.LONG_AGO))

    def _start_relay(self):
        if self.is_cancelled:
            raise Trouble("cancelled")
        self.relay.start()

    def _stop(self):
        if self.device is not None:
            self.device.stop()
        self.relay.stop()

    def _serve(self):
        """What booted and other devices do alike."""
        steps = {"the stream": self._transfer, "visitors at the same time": self._crowd, "SSH": self._ssh,
                 "idle streams": self._idle, "the relay's restart": self._relay_lost}
        for name, step in steps.items():
            try:
                step()
            except OSError as error:
                raise Trouble(f"{name}: a visitor's connection: {error}; see {self.device.console}") from None

    def _wake(self):
        ready = self.device.answer("ready", BOOT)
        self.measures.update(release=ready["kernel"], processor=ready["machine"])
        _in_1970(ready)
        time.sleep(ALONE)
        if not self._measure()["threads"]:
            raise Trouble(f"the agent ended before there was a network; see {self.device.console}")
        self.say(f"Linux {ready['kernel']} on {ready['machine']}: the agent runs for {ALONE} s without network, "
                 f"the clock says {_day(ready['clock'])}")

    def _link(self):
        before = time.monotonic()
        link = self.device.ask("link")
        self._wait(self.relay.is_answered, TUNNEL, "no visitor is answered after the link came up")
        self.measures["tunnel_seconds"] = round(time.monotonic() - before, 1)
        time.sleep(CALM)
        idle = self._measure()
        _in_1970(idle)
        self.measures["idle"] = _memory(idle)
        self.say(f"{link['device']} is up, and {self.measures['tunnel_seconds']} s later a visitor is answered; the "
                 f"clock says {_day(idle['clock'])}, a certificate older than the program is checked all the same")

    def _transfer(self):
        before, start = self._measure(), time.monotonic()
        status, length, digest = self.relay.get("/cgi-bin/stream", self._left(TRANSFER))
        seconds = time.monotonic() - start
        spent = self._measure()["ticks"] - before["ticks"]
        right = stream_digest(self.binary.read_bytes(), self.stream_size)
        if (status, length, digest) != (200, self.stream_size, right):
            raise Trouble(f"of {self.stream_size} bytes, {length} came (HTTP {status}), SHA-256 {digest}, not {right}")
        self.measures.update(transfer_mb=length >> 20, transfer_seconds=round(seconds, 1),
                             transfer_processor_seconds=spent / TICKS)
        self.say(f"{length >> 20} MiB came intact in {seconds:.0f} s, {spent / TICKS:.2f} s of the device's processor "
                 "in the agent")

    def _crowd(self):
        answered = self.relay.at_once(VISITORS, self._left(ANSWER))
        if answered != VISITORS:
            raise Trouble(f"of {VISITORS} visitors at the same time, {answered} were answered")
        self.say(f"{VISITORS} visitors at the same time are answered")

    def _ssh(self):
        visitor, banner = self.relay.connect(22, self._left(ANSWER))
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
        with contextlib.ExitStack() as stack:
            visitors = []
            for _ in range(IDLE_STREAMS):
                visitor, _ = self.relay.connect(IDLE_PORT, self._left(ANSWER))
                visitors.append(stack.enter_context(visitor))
            time.sleep(CALM)
            measured = self._measure()
            answered = 0
            for visitor in visitors:
                visitor.sendall(b"GET / HTTP/1.0\r\n\r\n")
                answered += b" 200 " in visitor.recv(256)
        if answered != IDLE_STREAMS:
            raise Trouble(f"of {IDLE_STREAMS} streams that idled, {answered} still answer")
        if measured["files"] is not None and measured["files"] < IDLE_STREAMS:
            raise Trouble(f"the agent has {measured['files']} open files with {IDLE_STREAMS} streams")
        self.measures["idle_streams"] = _memory(measured)
        self.say(f"{IDLE_STREAMS} streams idle, and all answer afterwards")

    def _relay_lost(self):
        self.relay.stop()
        time.sleep(2)
        self._start_relay()
        before = time.monotonic()
        self._wait(self.relay.is_answered, TUNNEL, "no visitor is answered after the relay was killed and started")
        self.measures["back_seconds"] = round(time.monotonic() - before, 1)
        self.say(f"the relay is killed and started: {self.measures['back_seconds']} s later a visitor is answered")

    def _young_certificate(self):
        """A certificate that is younger than the program cannot be checked by
        a device in 1970: it says so, and flies when the clock is set."""
        self.relay.stop()
        self.relay.show(self.authority.issue("new", time.strftime("%Y%m%d%H%M%SZ", time.gmtime())))
        shown = len(self.device.lines)
        self._start_relay()
        self._wait(lambda: self.device.said(NOT_SET, shown) or self.relay.is_answered(), TUNNEL,
                   "the agent says nothing of a certificate that is younger than it")
        if not self.device.said(NOT_SET, shown):
            raise Trouble("a certificate that is younger than the program is taken with the clock in 1970")
        outcome = "refused until the clock is set"
        before = time.monotonic()
        clock = self.device.ask("clock", value=int(time.time()))["clock"]
        self._wait(self.relay.is_answered, TUNNEL, "no visitor is answered after the clock was set")
        seconds = round(time.monotonic() - before, 1)
        self.measures.update(young_certificate=outcome, clock_seconds=seconds)
        self.say(f"a certificate of today is {outcome}; {seconds} s after the clock says {_day(clock)}, "
                 "a visitor is answered")

    def _end(self, what):
        status = self.device.ask("end", self._left(END))["status"]
        if status != "0":
            raise Trouble(f"after SIGTERM, the agent ends with {status}; see {self.device.console}")
        if not self.device.ended(END):
            raise Trouble(f"the device does not switch itself off; see {self.device.console}")
        self.say(f"SIGTERM: {what}")

    def _measure(self):
        said = self.device.ask("measure")
        number = {name: int(said[name]) if said.get(name, "").isdigit() else None
                  for name in ("VmRSS", "RssAnon", "Threads", "files", "utime", "stime")}
        return {
            "rss": number["VmRSS"], "anonymous": number["RssAnon"], "threads": number["Threads"],
            "files": number["files"], "ticks": (number["utime"] or 0) + (number["stime"] or 0), "clock": said["clock"],
        }

    def _left(self, seconds):
        """So many seconds, but not beyond the end of the whole job."""
        left = min(seconds, self.deadline - time.monotonic())
        if left <= 0:
            raise Trouble(f"the job takes more than {LONGEST} s")
        return left

    def _wait(self, condition, seconds, what):
        end = time.monotonic() + self._left(seconds)
        while not condition():
            if not self.device.runs():
                raise Trouble(f"the device ended; see {self.device.console}")
            if time.monotonic() > end:
                raise Trouble(f"{what} within {seconds} s; see {self.device.console}")
            time.sleep(0.2)


def _in_1970(said):
    if int(said["clock"]) > 365 * 86_400:
        raise Trouble(f"the device's clock says {_day(said['clock'])} and not 1970")


def _memory(measured):
    if measured["rss"] is None:
        return None
    return {"rss_kb": measured["rss"], "anonymous_kb": measured["anonymous"], "threads": measured["threads"]}


def _day(seconds):
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(int(seconds)))
