"""A VNC server through a raw kite. The server speaks first, and the screen is
noise, so that one wrong byte is a wrong picture."""

import subprocess
import unittest

from agents import Agent, kite, to_relay
from harness import TOOLS, Case
from relay import DebianRelay
from services import Vnc, sha256_of
from visitors import Forwarder

DESK = "desk.kite.test"
VNC_PORT = 5900


class ThroughPlainTunnel(Case):
    """A screen, seen directly and through the relay."""

    @classmethod
    def set_up(cls):
        cls.vnc = cls.share(Vnc(cls.directory))
        cls.relay = cls.share(DebianRelay(cls.directory))
        cls.agent = cls.share(Agent(cls.directory, [*to_relay(cls.relay), kite("raw/5900", DESK, cls.vnc.port)]))
        cls.relay.wait_for(DESK, port=VNC_PORT)
        cls.forwarder = cls.share(Forwarder(cls.relay, DESK, VNC_PORT))

    def capture(self, port, name):
        """The screen as a PNG file; equal pictures make equal files."""
        picture = self.directory / name
        client = TOOLS / "vncdo"
        self.assertTrue(client.exists(), f"{client} is missing: run tests/install")
        done = subprocess.run(
            [client, "-s", f"127.0.0.1::{port}", "--timeout", "60", "capture", picture],
            capture_output=True, text=True, timeout=90, check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return picture

    def test_the_picture_is_the_one_seen_directly(self):
        direct = self.capture(self.vnc.port, "direct.png")
        tunnelled = self.capture(self.forwarder.port, "tunnelled.png")
        # Noise packs badly: a small file would be an empty screen.
        self.assertGreater(direct.stat().st_size, Vnc.WIDTH * Vnc.HEIGHT // 10)
        self.assertEqual(sha256_of(tunnelled), sha256_of(direct))


if __name__ == "__main__":
    unittest.main()
