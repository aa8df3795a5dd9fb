"""A real browser before the relay: Debian's Chromium without a screen, told
what to do over a pipe (the DevTools protocol), in a network of its own that
holds nothing but loopback. So it reaches what the tests started, and calls
nobody else, whatever it tries."""

import base64
import contextlib
import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
import threading
import time

from harness import Process, needs

# Seconds for one order, such as to load a page, on a busy machine.
PATIENCE_SECONDS = 30
# Seconds from the start until the browser listens to orders.
START_SECONDS = 60
READ_BYTES = 65536

# linux/sched.h and linux/if.h, netdevice(7).
CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1

# Where the browser reads orders and writes answers.
ORDERS_FD, ANSWERS_FD = 3, 4


class Loopback:
    """A network namespace for the calling thread, and for all threads and
    programs that it starts, until `stop`. Every port is free in it."""

    def __init__(self):
        self._before = None

    def start(self):
        libc = ctypes.CDLL(None, use_errno=True)
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        if libc.unshare(CLONE_NEWNET) != 0:
            os.close(before)
            raise AssertionError("run this as root, a network of its own takes it: " + os.strerror(ctypes.get_errno()))
        self._before = before
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
            request = struct.pack("16sH14x", b"lo", 0)
            flags = struct.unpack("16sH14x", fcntl.ioctl(asked, SIOCGIFFLAGS, request))[1]
            fcntl.ioctl(asked, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | IFF_UP))

    def stop(self):
        if self._before is None:
            return
        with os.fdopen(self._before) as before:
            self._before = None
            if ctypes.CDLL(None, use_errno=True).setns(before.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")


class Refused(AssertionError):
    """The browser cannot do what it was told."""


class Chromium:
    """The browser. Every name below `domains` leads to this machine, and no
    other name anywhere. It trusts `authority` besides the roots of its maker,
    and checks certificates as ever."""

    def __init__(self, directory, domains, authority=None):
        self.directory = directory / "browser"
        self.directory.mkdir()
        self.authority = authority
        rules = [f"MAP *.{domain}{dot} 127.0.0.1" for domain in domains for dot in ("", ".")]
        command = [
            needs("chromium"), "--headless", "--remote-debugging-pipe", f"--user-data-dir={self.directory}/profile",
            f"--host-resolver-rules={', '.join([*rules, 'MAP * ~NOTFOUND', 'EXCLUDE 127.0.0.1'])}", "--no-proxy-server",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--disable-default-apps", "--disable-extensions", "--no-first-run", "--no-default-browser-check",
            # A visitor's http stays http; the tests of https ask for it.
            "--disable-features=HttpsUpgrades,HttpsFirstBalancedModeAutoEnable,OptimizationHints,MediaRouter",
            "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio", "--log-level=3",
        ]
        if os.getuid() == 0:
            command.append("--no-sandbox")
        # Certificates, settings and caches are found below HOME.
        environment = {**os.environ, "HOME": str(self.directory), "LANG": "C.UTF-8"}
        for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "DISPLAY", "DBUS_SESSION_BUS_ADDRESS"):
            environment.pop(name, None)
        self.process = Process(
            "chromium", [*command, "about:blank"], self.directory / "log", env=environment, close_fds=False,
            preexec_fn=self._hand_over,
        )
        self._pipes = None
        self._orders = self._answers = None
        self._lock = threading.Condition()
        self._last_id = 0
        self._results = {}
        self._events = []
        self._ended = False

    def start(self):
        if self.authority is not None:
            self._trust()
        # High numbers, so that none of them is one that is handed over.
        ours = [os.pipe2(os.O_CLOEXEC) for _ in range(2)]
        high = [[fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in pipe] for pipe in ours]
        for pipe in ours:
            for end in pipe:
                os.close(end)
        (read_orders, write_orders), (read_answers, write_answers) = high
        self._pipes = (read_orders, write_answers)
        self._orders, self._answers = write_orders, read_answers
        try:
            self.process.start()
        finally:
            os.close(read_orders)
            os.close(write_answers)
        threading.Thread(target=self._listen, daemon=True).start()
        self.tell("Browser.getVersion", seconds=START_SECONDS)

    def stop(self):
        if self._orders is None:
            return None
        with contextlib.suppress(AssertionError, OSError):
            self.tell("Browser.close", seconds=2)
        code = self.process.stop()
        os.close(self._orders)
        self._orders = None
        return code

    def _hand_over(self):
        """Between fork and exec: pipes where the browser looks for them."""
        os.dup2(self._pipes[0], ORDERS_FD)
        os.dup2(self._pipes[1], ANSWERS_FD)

    def _trust(self):
        """The list of certificates that programs with NSS read."""
        folder = self.directory / ".pki/nssdb"
        folder.mkdir(parents=True)
        certutil = needs("certutil")
        for words in (["-N", "--empty-password"], ["-A", "-n", "tests", "-t", "C,,", "-i", self.authority.roots]):
            subprocess.run([certutil, "-d", f"sql:{folder}", *words], check=True, capture_output=True)

    def tell(self, method, session=None, seconds=PATIENCE_SECONDS, **parameters):
        """Gives an order and returns its result."""
        with self._lock:
            self._last_id += 1
            number = self._last_id
            order = {"id": number, "method": method, "params": parameters}
            if session is not None:
                order["sessionId"] = session
            text = json.dumps(order).encode() + b"\0"
            while text:
                text = text[os.write(self._orders, text):]
            if not self._lock.wait_for(lambda: number in self._results or self._ended, seconds):
                raise Refused(f"no answer to {method} in {seconds} s")
            if number not in self._results:
                raise Refused(f"the browser ended at {method}")
            answer = self._results.pop(number)
        if "error" in answer:
            raise Refused(f"{method}: {answer['error'].get('message')} {answer['error'].get('data', '')}")
        return answer["result"]

    def events(self, session, method):
        """What the browser has told about a tab so far."""
        with self._lock:
            return [told["params"] for told in self._events
                    if told.get("sessionId") == session and told["method"] == method]

    def wait_for_event(self, session, method, fits, seconds=PATIENCE_SECONDS):
        """The first such thing that the browser tells, or has told."""
        deadline = time.monotonic() + seconds
        with self._lock:
            while True:
                for told in self._events:
                    if told.get("sessionId") == session and told["method"] == method and fits(told["params"]):
                        return told["params"]
                if self._ended or not self._lock.wait(max(deadline - time.monotonic(), 0)):
                    raise Refused(f"no {method} in {seconds} s")

    def _listen(self):
        rest = bytearray()
        with os.fdopen(self._answers, "rb", buffering=0) as answers:
            while part := answers.read(READ_BYTES):
                rest += part
                if b"\0" not in part:
                    continue
                *whole, rest = rest.split(b"\0")
                with self._lock:
                    for text in whole:
                        told = json.loads(text)
                        if "id" in told:
                            self._results[told["id"]] = told
                        else:
                            self._events.append(told)
                    self._lock.notify_all()
        with self._lock:
            self._ended = True
            self._lock.notify_all()

    def tab(self, **context):
        """A tab without cookies, cache or connections of others. `context`
        may name a `proxyServer`."""
        return Tab(self, **context)


class Visit:
    """What came of opening an address: the answer for the document, or why
    there is none."""

    def __init__(self, response=None, error=None):
        self.error = error
        self.status = response and response["status"]
        self.protocol = response and response.get("protocol")
        self.mime = response and response["mimeType"]
        self.headers = {name.lower(): value for name, value in (response or {}).get("headers", {}).items()}

    def __repr__(self):
        return f"Visit({self.error or self.status})"


class Tab:
    """One tab, with a jar of cookies of its own (or that of `beside`)."""

    def __init__(self, browser, beside=None, **context):
        self.browser = browser
        self.owns_context = beside is None
        if beside is None:
            self.context = browser.tell("Target.createBrowserContext", **context)["browserContextId"]
        else:
            self.context = beside.context
        target = browser.tell("Target.createTarget", url="about:blank", browserContextId=self.context)
        self.target = target["targetId"]
        self.session = browser.tell("Target.attachToTarget", targetId=self.target, flatten=True)["sessionId"]
        self.tell("Page.enable")
        # Without what is uploaded, which is large.
        self.tell("Network.enable", maxPostDataSize=0)
        self.tell("Page.setLifecycleEventsEnabled", enabled=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        with contextlib.suppress(Refused):
            self.browser.tell("Target.closeTarget", targetId=self.target)
            if self.owns_context:
                self.browser.tell("Target.disposeBrowserContext", browserContextId=self.context)

    def tell(self, method, **parameters):
        return self.browser.tell(method, session=self.session, **parameters)

    def start(self, url):
        """Begins to open an address; `finish` takes what it returns."""
        return self.tell("Page.navigate", url=url)

    def finish(self, began):
        """Waits until a page and all that belongs to it is loaded."""
        loader = began.get("loaderId")
        if began.get("errorText"):
            return Visit(error=began["errorText"])
        self._await_load(loader)
        return Visit(self._document(lambda found: found == loader)["response"])

    def open(self, url):
        """Opens an address and waits for all of the page."""
        return self.finish(self.start(url))

    def reload(self):
        """Loads the page once more, as the button does."""
        before = [told["loaderId"] for told in self.browser.events(self.session, "Network.responseReceived")]
        self.tell("Page.reload")
        told = self._document(lambda loader: loader not in before)
        self._await_load(told["loaderId"])
        return Visit(told["response"])

    def _document(self, fits):
        """What was told of the answer for a page."""
        return self.browser.wait_for_event(
            self.session, "Network.responseReceived",
            lambda told: told["type"] == "Document" and fits(told["loaderId"]),
        )

    def _await_load(self, loader):
        self.browser.wait_for_event(
            self.session, "Page.lifecycleEvent", lambda told: told["loaderId"] == loader and told["name"] == "load"
        )

    def run(self, script, seconds=PATIENCE_SECONDS):
        """The value of a script in the page; it may `await`."""
        done = self.browser.tell(
            "Runtime.evaluate", session=self.session, seconds=seconds, expression=f"(async () => {{ {script} }})()",
            awaitPromise=True, returnByValue=True,
        )
        if "exceptionDetails" in done:
            thrown = done["exceptionDetails"]
            raise Refused(thrown.get("exception", {}).get("description") or thrown["text"])
        return done["result"].get("value")

    def text(self):
        """The text of the page, as one reads it."""
        return self.run("return document.body.innerText")

    def look(self, width, height, dark=False, phone=False):
        """From now on a window of that size, light or dark."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.tell("Emulation.setEmulatedMedia", features=[scheme, still])
        self.tell(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, mobile=phone,
            deviceScaleFactor=2 if phone else 1,
        )

    def screenshot(self, path):
        """A picture of the window, as PNG."""
        path.write_bytes(base64.b64decode(self.tell("Page.captureScreenshot")["data"]))
