"""The programs around the agent: services, relays, certificates. All of them
listen on loopback and are ended by their process id."""

import atexit
import random
import shutil
import socket
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOAD = ROOT / "target/release/kitelet-test-load"
TEST_RELAY = ROOT / "target/release/kitelet-test-relay"

KITE = "bench.kite.test"
RAW_PORT = 22
SECRET = "s3cret0fTheBench"
RELAY_NAME = "relay.test"

# Below the range that the kernel gives to outgoing connections.
FIRST_PORT, LAST_PORT = 20000, 31999
START_SECONDS = 15
STOP_SECONDS = 5
MIB = 1024 * 1024


class BenchError(Exception):
    """Said to the user in one line."""


class Process:
    """A program in the foreground, its output in a file."""

    alive = set()

    def __init__(self, command, log, **popen):
        self.log = Path(log)
        with open(log, "ab") as output:
            options = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output}
            self.child = subprocess.Popen([str(word) for word in command], **{**options, **popen})
        self.pid = self.child.pid
        Process.alive.add(self)

    def runs(self):
        return self.child.poll() is None

    def stop(self):
        Process.alive.discard(self)
        if self.runs():
            self.child.terminate()
            try:
                self.child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.child.kill()
        self.child.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


@atexit.register
def stop_all():
    for process in list(Process.alive):
        process.stop()


def free_port():
    """A port that nobody listens on."""
    for _ in range(1000):
        port = random.randint(FIRST_PORT, LAST_PORT)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass
    raise BenchError(f"no free TCP port between {FIRST_PORT} and {LAST_PORT}")


def find(program, package):
    path = shutil.which(program, path="/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
    if path is None:
        raise BenchError(f"{program} is missing: apt install {package}")
    return path


def wait_for(process, port):
    """Waits until a program that was just started listens."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.runs():
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise BenchError(f"does not listen: {process.log.name}: {process.log.read_text()[-500:]}")


class Services:
    """What the kites lead to: nginx for HTTP, our own sink for raw streams.
    With a certificate, nginx serves the same over TLS as well."""

    def __init__(self, directory, file_sizes, certificate=None):
        self.http, self.https, self.raw = free_port(), free_port(), free_port()
        tls = certificate and (
            f"listen 127.0.0.1:{self.https} ssl backlog=4096; "
            f"ssl_certificate {certificate.chain}; ssl_certificate_key {certificate.key};"
        )
        noise = random.randbytes(MIB)
        for size in file_sizes:
            with open(directory / f"{size}M", "wb") as file:
                for _ in range(size):
                    file.write(noise)
        (directory / "nginx.conf").write_text(
            f"""
            daemon off; master_process off; pid {directory}/nginx.pid;
            error_log {directory}/nginx.log error; worker_rlimit_nofile 8192;
            events {{ worker_connections 4096; }}
            http {{
                access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000;
                client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
                fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi;
                scgi_temp_path {directory}/scgi;
                server {{
                    listen 127.0.0.1:{self.http} backlog=4096; root {directory}; {tls or ""}
                    location = / {{ return 200 "hello\\n"; }}
                }}
            }}
            """
        )
        nginx = find("nginx", "nginx-light")
        nginx = Process([nginx, "-p", directory, "-c", directory / "nginx.conf"], directory / "nginx.out")
        sink = Process([LOAD, "service", f"127.0.0.1:{self.raw}"], directory / "sink.out")
        wait_for(nginx, self.http)
        wait_for(sink, self.raw)


class Certificate:
    """A certificate of the relay, and the root that signed it."""

    def __init__(self, directory):
        self.root, self.chain = directory / "root.pem", directory / "relay.pem"
        self.key, self.both = directory / "relay.key", directory / "both.pem"
        new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout"]
        extensions, request = directory / "extensions", directory / "request"
        root_key = directory / "root.key"
        extensions.write_text(f"basicConstraints=CA:FALSE\nsubjectAltName=DNS:{RELAY_NAME}\n")
        openssl("req", "-x509", *new_key, root_key, "-out", self.root, "-days", "2", "-subj", "/CN=Bench",
                "-addext", "keyUsage=critical,keyCertSign")
        openssl("req", *new_key, self.key, "-out", request, "-subj", f"/CN={RELAY_NAME}")
        openssl("x509", "-req", "-in", request, "-CA", self.root, "-CAkey", root_key, "-CAcreateserial",
                "-days", "2", "-extfile", extensions, "-out", self.chain)
        self.both.write_text(self.key.read_text() + self.chain.read_text())


def openssl(*arguments):
    command = [find("openssl", "openssl"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise BenchError(f"openssl {arguments[0]}: {done.stderr}")


def start_relay(kind, certificate, directory):
    """The relay, listening, and its port; `certificate` is None for plain."""
    port = free_port()
    if kind == "test":
        files = [certificate.chain, certificate.key] if certificate else []
        command = [TEST_RELAY, f"127.0.0.1:{port}", SECRET, *files]
    else:
        command = [
            find("pagekite", "pagekite"), "--clean", "--nullui", "--noloop", "--isfrontend",
            "--host=127.0.0.1", f"--ports={port}", "--rawports=virtual", "--protos=http,raw",
            f"--domain=*:*.kite.test:{SECRET}", f"--logfile={directory}/debian-relay.log",
            f"--tls_endpoint={RELAY_NAME}:{certificate.both}" if certificate else "--nossl",
        ]
    relay = Process(command, directory / "relay.out", cwd=directory)
    wait_for(relay, port)
    return relay, port


def write_settings(path, relay_port, certificate, services):
    """The agent's rc file for this relay."""
    security = f"fe_certname = {RELAY_NAME}\nca_certs = {certificate.root}" if certificate else "nossl"
    path.write_text(
        f"frontend = 127.0.0.1:{relay_port}\n{security}\n"
        f"service_on = http:{KITE}:127.0.0.1:{services.http}:{SECRET}\n"
        f"service_on = raw-{RAW_PORT}:{KITE}:127.0.0.1:{services.raw}:{SECRET}\n"
    )
    path.chmod(0o600)
