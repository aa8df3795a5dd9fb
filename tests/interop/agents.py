"""The device end: Kitelet, or Debian's pagekite to check the tests themselves.
Both read the same rc file."""

from harness import Options, Process, needs
from relay import RELAY_NAME, SECRET


class Agent:
    """An agent with one rc file, or with a directory of them."""

    def __init__(self, directory, lines=None, rc=None, kind=None, name="agent"):
        kind = kind or Options.agent
        if rc is None:
            rc = directory / f"{name}.rc"
            rc.touch(mode=0o600)
            rc.write_text("\n".join([*lines, "END", ""]))
        self.rc = rc
        log = directory / f"{name}.{kind}.log"
        self.process = Process(f"{name} ({kind})", COMMANDS[kind](rc), log, cwd=directory)

    def start(self):
        self.process.start()

    def stop(self, **how):
        return self.process.stop(**how)

    def log(self):
        return self.process.log()


def _kitelet(rc):
    program = Options.kitelet()
    if not program.exists():
        raise AssertionError(f"{program} is missing: run `cargo build --release`, or set KITELET")
    return [program, "run", "-c", rc]


def _debian(rc):
    option = "--optdir" if rc.is_dir() else "--optfile"
    # Its own front-end drops the tunnel at the first PING (protocol.md 18), and
    # it throws dice for PINGs, more seldom with a long keepalive.
    quiet = "--keepalive=100000"
    return [needs("pagekite"), "--clean", "--nullui", "--noloop", "--logfile=stdio", quiet, f"{option}={rc}"]


COMMANDS = {"kitelet": _kitelet, "debian": _debian}


def to_relay(relay, authority=None):
    """The rc lines for a relay (or a proxy before it), plain or with TLS."""
    lines = [f"frontend = {relay.host}:{relay.port}"]
    if authority is None:
        return [*lines, "nossl"]
    return [*lines, f"fe_certname = {RELAY_NAME}", f"ca_certs = {authority.roots}"]


def kite(protocol, name, service, secret=SECRET):
    """The rc line for a kite; `service` is a port, or a host and a port as
    they stand in the file."""
    if isinstance(service, int):
        service = f"127.0.0.1:{service}"
    return f"service_on = {protocol}:{name} : {service} : {secret}"


def flag(name, key, value="True", port=80):
    """The rc line for a kite's flag."""
    return f"service_cfg = {name}/{port} : {key} : {value}"
