"""Compilers that run side by side, each with all that it starts in a process group of
its own, so that they can be ended with this program."""

import os
import signal
import subprocess
import threading

# What a compiler may take to tidy up before it is killed.
END_SECONDS = 10


class Ended(KeyboardInterrupt):
    """This program is to end, by that signal."""

    def __init__(self, number):
        super().__init__(number)
        self.number = number


def end_by_signals():
    """Raises `Ended` in the main thread at Ctrl-C, SIGTERM and SIGHUP; what the
    caller ignores (nohup, a job in the background) stays ignored."""

    def ended(number, _):
        raise Ended(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, ended)


class Children:
    """Those that run."""

    def __init__(self):
        self._running, self._is_ended, self._lock = set(), False, threading.Lock()

    def run(self, command, heard, **options):
        """Runs a program and hands each line that it prints, of both kinds, to
        `heard`; its exit code."""
        with self._lock:
            if self._is_ended:
                return -signal.SIGTERM
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                     start_new_session=True, **options)
            self._running.add(child)
        try:
            with child.stdout:
                for line in child.stdout:
                    heard(line)
            return child.wait()
        finally:
            with self._lock:
                self._running.discard(child)

    def end(self):
        """Ends all, and whatever would start from now on."""
        with self._lock:
            self._is_ended = True
            running = list(self._running)
        for child in running:
            _signal(child, signal.SIGTERM)
        for child in running:
            try:
                child.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                pass
            # What the first of a group started may live on.
            _signal(child, signal.SIGKILL)


def _signal(child, number):
    try:
        os.killpg(child.pid, number)
    except (ProcessLookupError, PermissionError):
        pass
