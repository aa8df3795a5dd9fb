"""The relays: Debian's pagekite as a front-end and Kitelet's own, plain or with
TLS, and a proxy that stands between agent and relay and counts."""

import signal
import socket
import threading
import time

from harness import Options, Process, accepts, free_port, needs, wait_until
from visitors import carry, shut

# The domain below which every kite flies with this secret.
DOMAIN = "kite.test"
SECRET = "s3cret0fTheTests"
# The name on the relay's own certificate.
RELAY_NAME = "relay.test"
# Seconds until a started agent has to have its kites in the air. Debian's
# front-end lets each new connection wait up to 1.1 s and has two of them.
FLYING_SECONDS = 20


class _Relay:
    """What both relays have: one port of loopback, and an answer to whether a
    kite flies."""

    process = None
    host = "127.0.0.1"
    port = None

    def start(self):
        self.process.start()
        wait_until(lambda: accepts(self.port) or not self.process.runs(), 15, "the relay does not listen")
        if not self.process.runs():
            raise AssertionError("the relay ended: " + self.process.log()[-500:])

    def stop(self):
        return self.process.stop()

    def flies(self, name, port=80):
        """Whether the relay would send a visitor to this kite. Ports 80 and
        443 ask for http and https kites and touch no agent (protocol.md 11);
        any other port opens and closes a stream of a raw kite."""
        request = f"CONNECT {name}:{port} HTTP/1.1\r\n\r\n".encode()
        try:
            with socket.create_connection((self.host, self.port), timeout=10) as asked:
                asked.sendall(request)
                return asked.recv(64).split(b" ")[1:2] == [b"200"]
        except OSError:
            return False

    def wait_for(self, *names, port=80, seconds=FLYING_SECONDS):
        """Waits until all these kites fly."""
        for name in names:
            wait_until(lambda: self.flies(name, port), seconds, f"{name} (port {port}) does not fly")

    def wait_without(self, name, port=80, seconds=FLYING_SECONDS):
        """Waits until the relay has noticed that a kite is gone."""
        wait_until(lambda: not self.flies(name, port), seconds, f"{name} still flies")


class DebianRelay(_Relay):
    """`pagekite --isfrontend`. It knows the kites NAME.kite.test and those in
    `kites`, each a pair of domain and secret."""

    def __init__(self, directory, kites=(), certificate=None, port=None):
        self.port = port or free_port()
        command = [
            needs("pagekite"), "--clean", "--nullui", "--noloop", "--isfrontend",
            f"--host={self.host}", f"--ports={self.port}", "--rawports=virtual", "--logfile=stdio",
        ]
        command += ["--nossl"] if certificate is None else [f"--tls_endpoint={RELAY_NAME}:{certificate.both}"]
        command += [f"--domain=*:{domain}:{secret}" for domain, secret in [(f"*.{DOMAIN}", SECRET), *kites]]
        self.process = Process("relay", command, directory / "relay.log", cwd=directory)


class KiteletRelay(_Relay):
    """`kitelet relay` with an rc file and a kites file. It knows the kites
    NAME.kite.test and those in `kites`, each a pair of domain and secret;
    `lines` are further lines of its rc file, and `more_ports` are ports that
    it has besides the one that agents and tests come to."""

    def __init__(self, directory, kites=(), certificate=None, port=None, lines=(), name="relay", more_ports=()):
        self.port = port or free_port()
        self.ports = [self.port, *more_ports]
        self.rc, self.kites_file = directory / f"{name}.rc", directory / f"{name}.kites"
        for path in (self.rc, self.kites_file):
            path.touch(mode=0o600)
        self.certificate = certificate
        self.write_rc(*lines)
        self.write_kites(*(f"*:{domain}:{secret}" for domain, secret in [(f"*.{DOMAIN}", SECRET), *kites]))
        program = Options.kitelet()
        if not program.exists():
            raise AssertionError(f"{program} is missing: run `cargo build --release`, or set KITELET")
        self.process = Process(name, [program, "relay", "-c", self.rc], directory / f"{name}.log", cwd=directory)

    def write_rc(self, *lines):
        """Writes the rc file: address, kites file, certificate and these."""
        own = [f"host = {self.host}", f"ports = {','.join(map(str, self.ports))}", f"kites = {self.kites_file}"]
        if self.certificate is not None:
            own.append(f"tls_endpoint = {RELAY_NAME}:{self.certificate.both}")
        self.rc.write_text("\n".join([*own, *lines, ""]))

    def write_kites(self, *lines):
        """Writes the kites file anew."""
        self.kites_file.write_text("\n".join([*lines, ""]))

    def reload(self, told="the configuration was read again"):
        """Sends SIGHUP and waits for what the log says of it."""
        before = self.log().count(told)
        self.process.child.send_signal(signal.SIGHUP)
        wait_until(lambda: self.log().count(told) > before, 10, f"after SIGHUP the log does not say: {told}")

    def log(self):
        return self.process.log()


class Proxy:
    """Passes connections on to a port, counts them, keeps their first bytes
    and can cut them or refuse new ones."""

    KEPT_BYTES = 4096

    def __init__(self, target_port, refuse=None):
        self.target = ("127.0.0.1", target_port)
        self.host, self.port = "127.0.0.1", free_port()
        # Given the first bytes of a connection, the answer to those that may
        # not go on, and None for those that may.
        self.refuse = refuse
        self.connections = []
        self._listener = None
        self._lock = threading.Lock()

    def start(self):
        self._listener = socket.create_server((self.host, self.port), backlog=256)
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self):
        shut(self._listener)
        self._listener.close()
        self.cut()

    def count(self):
        """Connections since the start."""
        return len(self.connections)

    def open(self):
        """Connections that are still up."""
        with self._lock:
            return [connection for connection in self.connections if connection["open"]]

    def cut(self):
        """Ends every open connection at once."""
        for connection in self.open():
            for end in connection["ends"]:
                shut(end)

    def _accept(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near):
        record = {"first": b"", "open": True, "ends": [near], "began": time.monotonic()}
        with self._lock:
            self.connections.append(record)
        try:
            beginning = b""
            if self.refuse is not None:
                beginning = near.recv(self.KEPT_BYTES)
                record["first"] = beginning
                answer = self.refuse(beginning)
                if answer is not None:
                    near.sendall(answer)
                    return
            far = socket.create_connection(self.target, timeout=10)
            record["ends"].append(far)
            far.sendall(beginning)

            def remember(part):
                record["first"] += part[: self.KEPT_BYTES - len(record["first"])]

            carry(near, far, remember)
        except OSError:
            pass
        finally:
            record["open"] = False
            for end in record["ends"]:
                end.close()
