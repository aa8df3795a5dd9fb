"""The proxies between agent and relay: tinyproxy (HTTP), microsocks (SOCKS 5)
and Tor. The first two know the names in their own /etc/hosts, which nobody else
on this machine has: an agent that looks one up itself does not find it."""

import shlex

from harness import Process, accepts, free_port, needs, wait_until
from relay import RELAY_NAME

USER, PASSWORD = "kitelet", "pr0xyPa55word"
# Seconds that Tor tries before it gives a connection up; it needs none to fail.
TOR_PATIENCE_SECONDS = 2


class _Proxy:
    host = "127.0.0.1"

    def __init__(self, name, directory, command):
        self.name = name
        self.process = Process(name, command, directory / f"{name}.log", cwd=directory)

    def start(self):
        self.process.start()
        wait_until(lambda: accepts(self.port) or not self.process.runs(), 15, f"{self.name} does not listen")
        if not self.process.runs():
            raise AssertionError(f"{self.name} ended: {self.log()[-500:]}")

    def stop(self):
        return self.process.stop()

    def log(self):
        return self.process.log()

    def line(self, who=""):
        """The rc line for the agent; `who` is `USER:PASSWORD@`."""
        return f"proxy = {self.kind}:{who}{self.host}:{self.port}"


def _with_hosts(directory, command):
    """The same command in a mount namespace where RELAY_NAME has an address."""
    hosts = directory / "hosts"
    hosts.write_text(f"127.0.0.1 localhost {RELAY_NAME}\n")
    script = f"mount --bind {hosts} /etc/hosts && exec {shlex.join(map(str, command))}"
    return [needs("unshare"), "--mount", "sh", "-c", script]


class Tinyproxy(_Proxy):
    """An HTTP proxy; `lines` are further lines of its file."""

    kind = "http"

    def __init__(self, directory, password=False, lines=(), name="tinyproxy"):
        self.port = free_port()
        file = directory / f"{name}.conf"
        own = [f"Port {self.port}", f"Listen {self.host}", "Allow 127.0.0.1", "MaxClients 20", "LogLevel Connect"]
        if password:
            own.append(f"BasicAuth {USER} {PASSWORD}")
        file.write_text("\n".join([*own, *lines, ""]))
        super().__init__(name, directory, _with_hosts(directory, [needs("tinyproxy"), "-d", "-c", file]))


class Microsocks(_Proxy):
    """A SOCKS 5 proxy."""

    kind = "socks5"

    def __init__(self, directory, password=False, name="microsocks"):
        self.port = free_port()
        command = [needs("microsocks"), "-i", self.host, "-p", self.port]
        if password:
            command += ["-u", USER, "-P", PASSWORD]
        super().__init__(name, directory, _with_hosts(directory, command))


class Tor(_Proxy):
    """Tor, which never gets to its network: run it where there is nothing but
    loopback."""

    def __init__(self, directory):
        self.port = free_port()
        file = directory / "torrc"
        file.write_text("\n".join([
            f"SocksPort {self.host}:{self.port}", f"DataDirectory {directory / 'tor'}",
            f"SocksTimeout {TOR_PATIENCE_SECONDS}", "Log notice stdout", "",
        ]))
        super().__init__("tor", directory, [needs("tor"), "--defaults-torrc", "/dev/null", "-f", file])

    def line(self, who=""):
        return f"torify = {self.host}:{self.port}"
