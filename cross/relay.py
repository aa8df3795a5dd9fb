"""The relay on the host that the device flies at, and its visitors."""

import concurrent.futures
import contextlib
import hashlib
import random
import secrets
import signal
import socket
import subprocess
import time
from pathlib import Path

KITE = "box.kite.test"
RELAY_NAME = "relay.test"
# Bytes that are read at once, and the longest head of an answer.
PIECE, MAX_HEAD = 65536, 16384
# A certificate that began before any Kitelet was built, and that ends after
# this run.
LONG_AGO = "20200101000000Z"
LIFE_SECONDS = 7 * 86_400
# Below those of connections that go out (ip(7), ip_local_port_range).
PORTS = range(20_000, 32_000)


class RelayError(Exception):
    """The relay on the host, in words for a person."""


def free_port():
    """A port of loopback that nobody listens on. It is none that the kernel
    gives to connections that go out: the relay comes back to it later."""
    for port in random.sample(PORTS, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RelayError("no port of 127.0.0.1 is free for the relay")


class Authority:
    """Signs certificates of chosen dates, by the openssl program."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.roots = self.folder / "authority.pem"
        (self.folder / "openssl.cnf").write_text(f"""\
[ca]
default_ca = own
[own]
dir = {self.folder}
new_certs_dir = {self.folder}
database = {self.folder}/index.txt
rand_serial = yes
default_md = sha256
policy = any
[any]
commonName = supplied
[req]
distinguished_name = subject
prompt = no
[subject]
CN = Kitelet
[authority]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign
[server]
basicConstraints = critical,CA:FALSE
extendedKeyUsage = serverAuth
subjectAltName = DNS:{RELAY_NAME}
""")
        (self.folder / "index.txt").write_text("")
        (self.folder / "index.txt.attr").write_text("unique_subject = no\n")
        self._certificate("authority", "authority", LONG_AGO, "-selfsign", "-keyfile", "authority.key")

    def issue(self, name, begins):
        """Key and certificate of the relay in one file, valid from `begins`,
        as openssl writes times."""
        self._certificate(name, "server", begins, "-cert", "authority.pem", "-keyfile", "authority.key")
        both = self.folder / f"{name}-both.pem"
        both.touch(0o600)
        both.write_text((self.folder / f"{name}.key").read_text() + (self.folder / f"{name}.pem").read_text())
        return both

    def _certificate(self, name, extensions, begins, *signer):
        self._openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                      "-keyout", f"{name}.key", "-out", f"{name}.csr")
        ends = time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + LIFE_SECONDS))
        self._openssl("ca", "-batch", "-notext", "-in", f"{name}.csr", "-out", f"{name}.pem",
                      "-extensions", extensions, "-startdate", begins, "-enddate", ends, *signer)

    def _openssl(self, command, *words):
        done = subprocess.run(
            ["openssl", command, "-config", "openssl.cnf", *words], cwd=self.folder,
            capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL,
        )
        if done.returncode != 0:
            raise RelayError(f"openssl {command}: {done.stderr.strip()[-300:]}")


class Relay:
    """`kitelet relay` on a port of loopback."""

    def __init__(self, program, folder, certificate):
        self.program, self.folder, self.port = program, Path(folder), free_port()
        self.secret, self.child = secrets.token_hex(16), None
        self.show(certificate)
        kites = self.folder / "kites"
        kites.touch(0o600)
        kites.write_text(f"*:{KITE}:{self.secret}\n")

    def show(self, certificate):
        """The certificate from the next start on."""
        (self.folder / "relay.rc").write_text(f"""\
host = 127.0.0.1
ports = {self.port}
protos = http,raw
rawports = virtual
kites = {self.folder}/kites
tls_endpoint = {RELAY_NAME}:{certificate}
""")

    def start(self):
        with (self.folder / "relay.log").open("ab") as log:
            self.child = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", str(self.program), "relay", "-c", str(self.folder / "relay.rc")],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )
        end = time.monotonic() + 20
        while time.monotonic() < end:
            if self.child.poll() is not None:
                break
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.1)
        self.stop()
        raise RelayError(f"the relay on the host does not start; see {self.folder / 'relay.log'}")

    def stop(self, how=signal.SIGKILL):
        if self.child is not None and self.child.poll() is None:
            self.child.send_signal(how)
            try:
                self.child.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()

    # Visitors.

    def get(self, path, seconds):
        """The status and the body of an HTTP answer, the body as its length
        and SHA-256."""
        end = time.monotonic() + seconds
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as visitor:
            visitor.sendall(f"GET {path} HTTP/1.0\r\nHost: {KITE}\r\n\r\n".encode())
            head, body = _head(visitor, end)
            length, digest = len(body), hashlib.sha256(body)
            while body := _receive(visitor, end):
                length += len(body)
                digest.update(body)
        return _status(head), length, digest.hexdigest()

    def is_answered(self):
        """Whether a visitor gets the page of the device now."""
        try:
            return self.get("/", 10)[0] == 200
        except OSError:
            return False

    def at_once(self, count, seconds):
        """How many of `count` visitors at the same time get the page."""
        def visit(_):
            try:
                return self.get("/", seconds)[0] == 200
            except OSError:
                return False

        with concurrent.futures.ThreadPoolExecutor(count) as pool:
            return sum(pool.map(visit, range(count)))

    def connect(self, port, seconds):
        """A stream to a raw kite, and what came behind the relay's answer."""
        visitor = socket.create_connection(("127.0.0.1", self.port), timeout=seconds)
        try:
            visitor.sendall(f"CONNECT {KITE}:{port} HTTP/1.1\r\nHost: {KITE}:{port}\r\n\r\n".encode())
            head, rest = _head(visitor, time.monotonic() + seconds)
            if _status(head) != 200:
                raise OSError(f"the relay answers {_status(head)}")
            return visitor, rest
        except BaseException:
            visitor.close()
            raise


def _receive(visitor, end):
    visitor.settimeout(max(end - time.monotonic(), 0.1))
    return visitor.recv(PIECE)


def _head(visitor, end):
    data = b""
    while b"\r\n\r\n" not in data:
        piece = _receive(visitor, end)
        if not piece or len(data) > MAX_HEAD:
            raise OSError("the connection ended before an answer")
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def _status(head):
    words = head.split(b" ", 2)
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
