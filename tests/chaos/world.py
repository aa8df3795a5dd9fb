"""The small world of a scenario: a device behind a router with NAT, and
beyond it the relays, a name server and visitors.

    device              router                relay side
    192.168.7.2 ------- 192.168.7.1
                        203.0.113.1 --------- 203.0.113.10, .20, .30 relays
    192.168.8.2 - - - - 192.168.8.1           203.0.113.53 names

The line to the relay side is a pair of interfaces, or the tests' own link
(link.py) where it has to be slow, long or lossy. Everything that is started
is ended and removed by `close`.
"""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import programs
from certificates import Authority
from harness import Options, temporary_directory
from namespaces import Namespace, command, die_with_parent, make_etc
from services import WebService
from visits import NotWithin, Visitors

RELAYS = ("203.0.113.10", "203.0.113.20", "203.0.113.30")
NAMES = "203.0.113.53"
# An address that nobody has; what goes there is dropped.
DEAD = "203.0.113.66"
DEVICE, DEVICE_NEW = "192.168.7.2", "192.168.7.3"
GATEWAY, SECOND_GATEWAY = "192.168.7.1", "192.168.8.1"
SECOND = "192.168.8.2"
DEVICE6, GATEWAY6, WAN6, RELAY6 = "2001:db8:7::2", "2001:db8:7::1", "2001:db8::1", "2001:db8::10"
LINK = Path(__file__).resolve().with_name("link.py")
# Until the first tunnel is up, in a world without faults.
FLYING_SECONDS = 60

NAT = f"""
table ip nat {{
    chain postrouting {{
        type nat hook postrouting priority srcnat
        oifname "wan0" masquerade
    }}
}}
table inet router {{
    chain forward {{
        type filter hook forward priority 0
        ip daddr {DEAD} drop
        ct state invalid drop
    }}
    chain input {{
        type filter hook input priority 0
        iifname "wan0" ct state invalid drop
    }}
}}
"""


class World:
    """What scenarios use. `relay` is the kind of relay, `relays` how many;
    `link` the settings of the tests' own link, or None; `ipv6` whether there is
    IPv6 beside IPv4."""

    def __init__(self, relay="kitelet", agent="kitelet", relays=1, link=None, ipv6=False, patience=90):
        self.directory = temporary_directory()
        self.agent_kind, self.patience = agent, patience
        self.relay6 = RELAY6 if ipv6 else None
        self._things, self._undo = [], []
        self.agent = self.names = self.service = self._link = None
        self.relay_kind = {"pagekite": "debian", "autossh": "ssh"}.get(agent, relay)
        self.tunnel_port = programs.SSH_PORT if agent == "autossh" else programs.TUNNEL_PORT
        try:
            self._make(relays, link, ipv6)
        except BaseException:
            self.close()
            raise

    def _make(self, relays, link, ipv6):
        self.etc = make_etc(self.directory / "etc")
        self.write_resolv_conf()
        for role in ("device", "router", "relay"):
            namespace = Namespace(role)
            self._undo.append(namespace.remove)
            setattr(self, "relay_side" if role == "relay" else role, namespace)
        self._wire(link)
        if ipv6:
            self._add_ipv6()
        self.authority = Authority(self.directory)
        self.certificate = self.authority.issue(programs.RELAY_NAME)
        kind = programs.RELAYS[self.relay_kind]
        self.relays = [
            self._keep(kind(self, host, self.certificate, f"relay{number}"))
            for number, host in enumerate(RELAYS[:relays], 1)
        ]
        self.relay = self.relays[0]
        self.visitors = self.visitors_of(self.relay)
        self.names = self._keep(programs.NameServer(self, NAMES, f"{RELAYS[0]} {programs.RELAY_NAME}"))

    def _wire(self, link):
        device, router, relay = self.device, self.router, self.relay_side
        for number, (here, gateway) in enumerate(((DEVICE, GATEWAY), (SECOND, SECOND_GATEWAY))):
            command("ip", "link", "add", f"up{number}", "netns", device.name, "type", "veth",
                    "peer", "name", f"lan{number}", "netns", router.name)
            router.ip("address", "add", f"{gateway}/24", "dev", f"lan{number}")
            router.ip("link", "set", f"lan{number}", "up")
        self.uplink_up("up0", DEVICE, GATEWAY)
        if link is None:
            command("ip", "link", "add", "wan0", "netns", router.name, "type", "veth",
                    "peer", "name", "eth0", "netns", relay.name)
        else:
            self._start_link(link)
        for namespace, interface, addresses in (
            (router, "wan0", ["203.0.113.1"]), (relay, "eth0", [*RELAYS, NAMES]),
        ):
            for address in addresses:
                namespace.ip("address", "add", f"{address}/24", "dev", interface)
            namespace.ip("link", "set", interface, "up")
        router.kernel("ipv4/ip_forward", 1)
        # A connection whose beginning was not seen is none.
        router.kernel("netfilter/nf_conntrack_tcp_loose", 0)
        router.nft(NAT)

    def _start_link(self, settings):
        words = [sys.executable, LINK, self.router.name, "wan0", self.relay_side.name, "eth0", json.dumps(settings)]
        self._link = subprocess.Popen(
            [str(word) for word in words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            preexec_fn=die_with_parent,
        )
        self._undo.append(self._end_link)
        if not self._link.stdout.readline():
            raise AssertionError("the link does not start")

    def _end_link(self):
        self._link.stdin.close()
        self._link.wait(timeout=5)

    def link(self, **settings):
        """Gives the link new settings; the packets of both directions so far."""
        self._link.stdin.write(json.dumps(settings) + "\n")
        self._link.stdin.flush()
        return json.loads(self._link.stdout.readline())

    def _add_ipv6(self):
        """Addresses and routes of IPv6 everywhere."""
        for namespace, interface, address, gateway in (
            (self.device, "up0", DEVICE6, GATEWAY6), (self.router, "lan0", GATEWAY6, None),
            (self.router, "wan0", WAN6, None), (self.relay_side, "eth0", RELAY6, WAN6),
        ):
            namespace.ip("address", "add", f"{address}/64", "dev", interface, "nodad")
            if gateway:
                namespace.ip("route", "add", "default", "via", gateway)
        self.router.kernel("ipv6/conf/all/forwarding", 1)

    def _keep(self, thing):
        self._things.append(thing)
        return thing

    def keep(self, thing):
        """Starts a thing that ends with the world."""
        self._keep(thing)
        thing.start()
        return thing

    def visitors_of(self, relay):
        return Visitors(self.relay_side, programs.KITE, relay.host, relay.visitors_port)

    # What scenarios do.

    def begin(self, flying=True, size=0, names=True, relay=True, start=True, **agent):
        """Starts service, names, relays and the agent, and waits until it
        flies. Each can be left out for now; `agent` is for `start_agent`."""
        self.service = self.keep(WebService(self.device, size))
        if names:
            self.names.start()
        if relay:
            for one in self.relays:
                one.start()
        if start:
            self.start_agent(flying, **agent)

    def start_agent(self, flying=False, by=(programs.RELAY_NAME,), **how):
        """Starts the agent with the relays of these names."""
        self.agent = self._keep(programs.agent(self, self.agent_kind, relays=by, **how))
        self.agent.start()
        if flying:
            self.visitors.first_byte(time.monotonic(), FLYING_SECONDS)
            # So that what is measured is not the end of the beginning.
            time.sleep(1)

    def back(self, since=None):
        """Seconds from then, or from now, until a visitor is served."""
        return self.visitors.first_byte(time.monotonic() if since is None else since, self.patience)

    def tunnels(self):
        """The agent's connections to relays."""
        return self.device.connections(self.tunnel_port)

    def new_tunnel(self, before, since):
        """Waits until the agent has another connection than those. No visitor
        comes meanwhile, since that alone tells the relay something."""
        while not self.tunnels() - before:
            if time.monotonic() - since > self.patience:
                raise NotWithin(f"no new tunnel within {self.patience:.0f} s")
            time.sleep(0.02)

    def fault(self, *rules, hook="forward"):
        """The router follows these rules of nftables before its own."""
        body = "\n".join(rules)
        self.router.nft(
            f"table inet fault {{\nchain {hook} {{\ntype filter hook {hook} priority -10\n{body}\n}}\n}}\n"
        )

    def no_fault(self):
        self.router.nft("delete table inet fault\n")

    def forget(self, flows):
        """Rules that drop what belongs to these connections of the device, in
        both directions: (from the device, to the device)."""
        ports = ", ".join(str(int(local.rsplit(":", 1)[1], 16)) for local, _ in flows)
        return f"iifname lan0 tcp sport {{ {ports} }} drop", f"oifname lan0 tcp dport {{ {ports} }} drop"

    def flush_nat(self):
        """The router forgets all connections that it knew."""
        self.router.run("conntrack", "-F")

    def write_resolv_conf(self, server=NAMES):
        """As resolvconf and others do it: a new file takes the old one's place."""
        new = self.etc / "resolv.conf.new"
        new.write_text(f"nameserver {server}\n")
        new.replace(self.etc / "resolv.conf")

    def uplink_up(self, interface, address, gateway, metric=100):
        """As a DHCP client does it."""
        self.device.ip("link", "set", interface, "up")
        self.device.ip("address", "add", f"{address}/24", "dev", interface)
        self.device.ip("route", "add", "default", "via", gateway, "metric", metric)

    def logs(self):
        """The end of what each program has said."""
        told = []
        for thing in self._things:
            process = getattr(thing, "process", None)
            if process is not None and process.child is not None:
                state = "runs" if process.runs() else f"ended with {process.child.poll()}"
                told += [f"--- {process.name} {state}", *process.log().splitlines()[-25:]]
        return "\n".join(line[:300] for line in told)

    def close(self):
        """Ends and removes everything, also after a failure."""
        for thing in reversed(self._things):
            process = getattr(thing, "process", None)
            if process is not None and process.child is None:
                continue
            try:
                thing.stop()
            except Exception as error:  # pylint: disable=broad-except
                print(f"stopping: {error!r}", file=sys.stderr)
        for undo in reversed(self._undo):
            try:
                undo()
            except Exception as error:  # pylint: disable=broad-except
                print(f"removing: {error!r}", file=sys.stderr)
        if not Options.keep:
            shutil.rmtree(self.directory, ignore_errors=True)
