"""The agent of a family for which there is no kernel to boot: QEMU runs the
program on the kernel of this machine. The services are the host's, and there
is neither a link that comes up nor a clock in 1970."""

import http.server
import socketserver
import subprocess
import threading
import time

from guest import Trouble


class _Web(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class _Page(http.server.BaseHTTPRequestHandler):
    """A page and the stream, as the web server of a booted device has them."""

    stream = ()
    timeout = 120

    def do_GET(self):  # noqa: N802 - the library's name
        self.send_response(200)
        self.end_headers()
        if self.path == "/":
            self.wfile.write(b"the device answers\n")
            return
        for part in self.server.stream():
            self.wfile.write(part)

    def log_message(self, *_):
        pass


class _Banner(socketserver.BaseRequestHandler):
    """The first line of an SSH server, and no more of it."""

    def handle(self):
        self.request.sendall(b"SSH-2.0-banner\r\n")
        self.request.settimeout(60)
        try:
            while self.request.recv(4096):
                pass
        except OSError:
            pass


class _Banners(socketserver.ThreadingTCPServer):
    daemon_threads = True


class Services:
    """The host's services, on ports of loopback."""

    def __init__(self, stream):
        self.servers = [_Web(("127.0.0.1", 0), _Page), _Banners(("127.0.0.1", 0), _Banner)]
        self.servers[0].stream = stream
        for server in self.servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()

    def ports(self):
        """Those of the web server and of the banner."""
        return [server.server_address[1] for server in self.servers]

    def stop(self):
        for server in self.servers:
            server.shutdown()
            server.server_close()


class UserMode:
    """The running agent, asked as a device is."""

    def __init__(self, program, binary, rc, folder):
        self.console = folder / "console.log"
        rc_file = folder / "agent.rc"
        rc_file.touch(0o600)
        rc_file.write_text(rc)
        self.log = self.console.open("wb")
        self.child = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", program, str(binary), "run", "-c", str(rc_file)],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT,
        )

    def ask(self, word, seconds=60):
        """The one question that this device answers besides its end."""
        if word == "end":
            self.child.terminate()
            try:
                return {"status": str(self.child.wait(timeout=seconds))}
            except subprocess.TimeoutExpired:
                raise Trouble(f"the agent did not end within {seconds:.0f} s; see {self.console}") from None
        # Memory and threads are those of QEMU and tell nothing; so is the time.
        with open(f"/proc/{self.child.pid}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
        return {"Threads": "1", "utime": fields[11], "stime": fields[12], "clock": str(int(time.time()))}

    def runs(self):
        return self.child.poll() is None

    def ended(self, seconds):
        return not self.runs()

    def stop(self):
        if self.runs():
            self.child.kill()
        self.child.wait()
        self.log.close()
