"""`kitelet demo`, which is the first thing that a newcomer sees: all that it
prints works as it is printed."""

import json
import re
import shlex
import signal
import subprocess
import urllib.request

from harness import Case, Options, Process, kitelet_only, wait_until

PATIENCE_SECONDS = 15


@kitelet_only("it is the program's own demonstration")
class Demo(Case):
    @classmethod
    def set_up(cls):
        process = Process("demo", [Options.kitelet(), "demo"], cls.directory / "demo.log")
        cls.demo = cls.share(_Demo(process))
        cls.said = wait_until(cls.demo.said, PATIENCE_SECONDS, "the demonstration says nothing")

    def fetch(self, path=""):
        url = re.search(r"http://localhost:[0-9]+/", self.said)[0]
        with urllib.request.urlopen(url + path, timeout=PATIENCE_SECONDS) as answer:
            return answer.read().decode()

    def test_the_page_comes_through_relay_and_agent(self):
        page = self.fetch()
        self.assertIn("It flies", page)
        self.assertIn("<svg", page)
        self.assertIn("127.0.0.1", page, "the service knows the visitor's address")

    def test_the_lines_to_try_work_as_they_are_printed(self):
        lines = [line.strip() for line in self.said.splitlines() if line.startswith("  ")]
        self.assertEqual(len(lines), 3, self.said)
        page, greeting, status = (self.run_line(line) for line in lines)
        self.assertIn("It flies", page)
        self.assertIn("This service spoke first", greeting)
        self.assertTrue(greeting.endswith("typed\n"), greeting)
        status = json.loads(status)
        self.assertEqual(status["tunnels"], 1)
        self.assertEqual(status["kites"], ["http:localhost", "raw-22:localhost"])

    def run_line(self, line):
        done = subprocess.run(
            shlex.split(line), input="typed\n", capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
        )
        self.assertEqual(done.returncode, 0, f"{line}: {done.stderr}")
        return done.stdout

    def test_it_stops_at_once(self):
        process = Process("second demo", [Options.kitelet(), "demo"], self.directory / "second.log")
        second = self.use(_Demo(process))
        wait_until(second.said, PATIENCE_SECONDS, "the second one says nothing")
        self.assertNotEqual(port(second.said()), port(self.said), "each has a port of its own")
        self.assertEqual(process.stop(signal.SIGINT), 0)


def port(said):
    return re.search(r"http://localhost:([0-9]+)/", said)[1]


class _Demo:
    def __init__(self, process):
        self.process = process

    def start(self):
        self.process.start()

    def stop(self):
        return self.process.stop()

    def said(self):
        """What it prints, once it is complete."""
        said = self.process.log()
        return said if "Ctrl-C" in said else None
