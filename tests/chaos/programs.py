"""The programs of a scenario: Kitelet and Debian's pagekite as relay, and the
agents that are compared: Kitelet, pagekite, and autossh with OpenSSH."""

import os
import signal
import socket
import time

import services
from harness import Options, Process, needs, wait_until
from namespaces import command, descendants, die_with_parent

KITE = "box.kite.test"
RELAY_NAME = "relay.test"
SECRET = "s3cret0fTheTests"
# Visitors come to the one, agents to the other.
VISITORS_PORT, TUNNEL_PORT = 80, 443
SSH_PORT, SSH_VISITORS_PORT = 22, 8000
START_SECONDS = 20


class Program:
    """A program in a namespace of the world, with the world's /etc."""

    def __init__(self, world, namespace, name, words, environment=None, before=None):
        self.world, self.namespace = world, namespace

        def prepare():
            die_with_parent()
            if before is not None:
                before()

        self.process = Process(
            name, namespace.command_of(world.etc, *words), world.directory / f"{name}.log", cwd=world.directory,
            preexec_fn=prepare, env={**os.environ, **(environment or {})},
        )

    @property
    def pid(self):
        return self.process.child.pid

    def start(self):
        self.process.start()

    def send(self, number):
        self.process.child.send_signal(number)

    def stop(self, how=signal.SIGTERM):
        """Ends the program and the processes that it has started."""
        if self.process.child is None:
            return
        others = descendants(self.pid)
        if self.process.runs():
            self.send(signal.SIGCONT)
        self.process.stop(how=how, seconds=3)
        for pid in others:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def kill(self):
        """Ends it without a chance to say goodbye."""
        self.stop(how=signal.SIGKILL)

    def log(self):
        return self.process.log()

    def wait_for_port(self, host, port):
        """Waits until it listens."""

        def accepts():
            with self.namespace.entered():
                probe = socket.socket()
            with probe:
                probe.settimeout(1)
                return probe.connect_ex((host, port)) == 0

        deadline = time.monotonic() + START_SECONDS
        while not accepts():
            if time.monotonic() > deadline or not self.process.runs():
                raise AssertionError(f"{self.process.name} does not listen: {self.log()[-500:]}")
            time.sleep(0.02)


class KiteletRelay(Program):
    """`kitelet relay` at one address of the relay's namespace."""

    def __init__(self, world, host, certificate, name):
        self.host, self.visitors_port = host, VISITORS_PORT
        self.rc, self.kites = world.directory / f"{name}.rc", world.directory / f"{name}.kites"
        self.rc.touch(mode=0o600)
        self.kites.touch(mode=0o600)
        hosts = [host, world.relay6] if world.relay6 and name == "relay1" else [host]
        self.rc.write_text(
            "".join(f"host = {one}\n" for one in hosts) +
            f"ports = {VISITORS_PORT},{TUNNEL_PORT}\nkites = {self.kites}\n"
            f"tls_endpoint = {RELAY_NAME}:{certificate.both}\n"
            # All visitors come from one address here.
            "max_connections = 5000\n"
        )
        self.write_secret(SECRET)
        super().__init__(world, world.relay_side, name, [Options.kitelet(), "relay", "-c", self.rc])

    def write_secret(self, secret):
        self.kites.write_text(f"*:{KITE}:{secret}\n")

    def reload(self):
        """Lets new files hold."""
        self.send(signal.SIGHUP)

    def start(self):
        super().start()
        self.wait_for_port(self.host, TUNNEL_PORT)


class DebianRelay(Program):
    """`pagekite --isfrontend`."""

    def __init__(self, world, host, certificate, name):
        self.host, self.visitors_port = host, VISITORS_PORT
        super().__init__(world, world.relay_side, name, [
            needs("pagekite"), "--clean", "--nullui", "--noloop", "--isfrontend", f"--host={host}",
            f"--ports={VISITORS_PORT},{TUNNEL_PORT}", "--logfile=stdio",
            f"--tls_endpoint={RELAY_NAME}:{certificate.both}", f"--domain=*:{KITE}:{SECRET}",
        ])

    def start(self):
        super().start()
        self.wait_for_port(self.host, TUNNEL_PORT)


class SshRelay(Program):
    """OpenSSH's sshd, which lets an agent listen for visitors. It looks for
    dead clients as is often advised; by default it never does."""

    def __init__(self, world, host, _certificate, name):
        self.host, self.visitors_port = host, SSH_VISITORS_PORT
        keys = world.directory / "ssh"
        if not keys.exists():
            keys.mkdir(mode=0o700)
            for key in ("host", "client"):
                command(needs("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", keys / key)
        world.ssh_key, world.ssh_known = keys / "client", keys / "known"
        world.ssh_known.write_text(f"{RELAY_NAME} {(keys / 'host.pub').read_text()}")
        settings = keys / f"{name}.conf"
        settings.write_text(
            f"ListenAddress {host}\nPort {SSH_PORT}\nHostKey {keys}/host\nAuthorizedKeysFile {keys}/client.pub\n"
            "StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\nUseDNS no\n"
            "GatewayPorts clientspecified\nPidFile none\nClientAliveInterval 30\nClientAliveCountMax 3\n"
        )
        os.makedirs("/run/sshd", exist_ok=True)
        super().__init__(world, world.relay_side, name, [needs("sshd"), "-D", "-e", "-f", settings])

    def start(self):
        super().start()
        self.wait_for_port(self.host, SSH_PORT)


RELAYS = {"kitelet": KiteletRelay, "debian": DebianRelay, "ssh": SshRelay}


def agent(world, kind, **how):
    """The agent of a scenario. `how`: `relays`, their names; `lines` for the rc file, `before` to be
    called in its process before it begins."""
    return {"kitelet": _kitelet, "pagekite": _pagekite, "autossh": _autossh}[kind](world, **how)


def _rc(world, relays, secret, lines):
    rc = world.directory / "agent.rc"
    rc.touch(mode=0o600)
    rc.write_text("\n".join([
        *(f"frontend = {relay}:{TUNNEL_PORT}" for relay in relays),
        f"fe_certname = {RELAY_NAME}", f"ca_certs = {world.authority.roots}",
        f"service_on = http:{KITE} : {services.HOST}:{services.PORT} : {secret}",
        *lines, "END", "",
    ]))
    return rc


def _kitelet(world, relays, lines=(), before=None):
    rc = _rc(world, relays, SECRET, lines)
    environment = {}
    # What a service manager gives.
    for kind in ("RUNTIME", "STATE"):
        (world.directory / kind.lower()).mkdir(mode=0o700, exist_ok=True)
        environment[f"{kind}_DIRECTORY"] = str(world.directory / kind.lower())
    words = [Options.kitelet(), "run", "-c", rc]
    return Program(world, world.device, "agent", words, environment, before)


def _pagekite(world, relays, lines=(), before=None):
    rc = _rc(world, relays, SECRET, [])
    words = [needs("pagekite"), "--clean", "--nullui", "--logfile=stdio", f"--optfile={rc}"]
    return Program(world, world.device, "agent", words, before=before)


def _autossh(world, relays, lines=(), before=None):
    (relay,) = relays
    words = [
        needs("autossh"), "-M", "0", "-N", "-p", SSH_PORT, "-i", world.ssh_key,
        "-o", f"UserKnownHostsFile={world.ssh_known}", "-o", f"HostKeyAlias={RELAY_NAME}",
        "-o", "ServerAliveInterval=30", "-o", "ServerAliveCountMax=3", "-o", "ExitOnForwardFailure=yes",
        "-o", "BatchMode=yes", "-R", f"*:{SSH_VISITORS_PORT}:{services.HOST}:{services.PORT}", f"root@{relay}",
    ]
    # The first connection may fail as well.
    return Program(world, world.device, "agent", words, {"AUTOSSH_GATETIME": "0"}, before)


class NameServer(Program):
    """dnsmasq, with a file of names that it reads again."""

    def __init__(self, world, host, *lines):
        self.host = host
        self.file = world.directory / "names"
        self.write(*lines)
        # It reads the file as another user.
        self.file.chmod(0o644)
        super().__init__(world, world.relay_side, "dnsmasq", [
            needs("dnsmasq"), "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
            "--no-round-robin", "--log-facility=-", "--pid-file=", "--bind-interfaces", "--user=root",
            f"--listen-address={host}", f"--addn-hosts={self.file}", "--local=/test/", "--log-queries",
        ])

    def write(self, *lines):
        """Each line is an address and a name, the first one first."""
        self.file.write_text("\n".join([*lines, ""]))

    def reload(self):
        read = self.log().count("read ")
        self.send(signal.SIGHUP)
        wait_until(lambda: self.log().count("read ") > read, 5, "dnsmasq does not read its file again")

    def start(self):
        super().start()
        self.wait_for_port(self.host, 53)
