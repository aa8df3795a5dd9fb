"""A web server behind Debian's relay: what arrives is what it serves."""

import gzip
import hashlib
import os
import unittest
from concurrent.futures import ThreadPoolExecutor

from agents import Agent, kite, to_relay
from harness import Case, Options
from relay import DebianRelay
from services import MEGABYTE, Nginx, random_file, sha256_of
from visitors import Browser, download, get

WEB = "web.kite.test"
BIG_BYTES = 100 * MEGABYTE


class ThroughPlainTunnel(Case):
    """nginx through a tunnel without TLS."""

    @classmethod
    def set_up(cls):
        cls.nginx = cls.share(Nginx(cls.directory))
        cls.big_sha256 = random_file(cls.nginx.files / "big", BIG_BYTES)
        (cls.nginx.files / "small").write_text("a small page\n")
        cls.text = "\n".join(f"line {number}" for number in range(100000)).encode()
        (cls.nginx.files / "packed" / "text").write_bytes(cls.text)
        cls.relay = cls.share(DebianRelay(cls.directory))
        cls.agent = cls.share(Agent(cls.directory, [*to_relay(cls.relay), kite("http", WEB, cls.nginx.port)]))
        cls.relay.wait_for(WEB)

    def test_a_file_of_100_mb_arrives_whole(self):
        status, size, sha256 = download(self.relay, WEB, "/big")
        self.assertEqual((status, size, sha256), (200, BIG_BYTES, self.big_sha256))

    def test_a_range_of_a_file_is_that_range(self):
        first, last = 50 * MEGABYTE - 7, 51 * MEGABYTE + 11
        answer = get(self.relay, WEB, "/big", headers={"Range": f"bytes={first}-{last}"})
        with open(self.nginx.files / "big", "rb") as file:
            file.seek(first)
            expected = file.read(last - first + 1)
        self.assertEqual(answer.status, 206)
        self.assertEqual(answer.headers["Content-Range"], f"bytes {first}-{last}/{BIG_BYTES}")
        self.assertEqual(answer.sha256, hashlib.sha256(expected).hexdigest())

    def test_a_chunked_answer_arrives_whole(self):
        answer = get(self.relay, WEB, "/packed/text", headers={"Accept-Encoding": "gzip"})
        self.assertEqual(answer.headers["Transfer-Encoding"], "chunked")
        self.assertEqual(gzip.decompress(answer.body), self.text)

    def test_1000_requests_on_kept_connections(self):
        def visit(_):
            with Browser(self.relay, WEB) as browser:
                return [browser.get("/small").text for _ in range(100)]

        with ThreadPoolExecutor(10) as crowd:
            pages = [page for pages in crowd.map(visit, range(10)) for page in pages]
        self.assertEqual(pages, ["a small page\n"] * 1000)

    def test_1000_requests_on_a_connection_each(self):
        def visit(_):
            return get(self.relay, WEB, "/small", headers={"Connection": "close"}).text

        # The relay wakes up once a second: the more come at once, the faster.
        # Many ends at once are more than its own agent survives.
        with ThreadPoolExecutor(50 if Options.agent == "kitelet" else 10) as crowd:
            pages = list(crowd.map(visit, range(1000)))
        self.assertEqual(pages, ["a small page\n"] * 1000)

    def test_an_upload_of_20_mb_arrives_whole(self):
        body = os.urandom(20 * MEGABYTE)
        answer = get(self.relay, WEB, "/upload/sent", method="PUT", body=body)
        self.assertEqual(answer.status, 201)
        self.assertEqual(sha256_of(self.nginx.uploads / "sent"), hashlib.sha256(body).hexdigest())

    def test_a_missing_page_is_the_servers_own_404(self):
        answer = get(self.relay, WEB, "/nothing-here")
        self.assertEqual(answer.status, 404)
        self.assertIn("nginx", answer.headers["Server"])

    def test_a_head_request_has_no_body(self):
        answer = get(self.relay, WEB, "/big", method="HEAD")
        self.assertEqual((answer.status, answer.body), (200, b""))
        self.assertEqual(int(answer.headers["Content-Length"]), BIG_BYTES)


if __name__ == "__main__":
    unittest.main()
