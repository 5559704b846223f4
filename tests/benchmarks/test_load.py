"""The load generator counts every answer, and believes none."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.common import clients as load
from benchmarks.common.report import BenchmarkError


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            with suppress(ConnectionError):  # the clients leave when their time is up
                self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def asked(url: str, *, clients: int = 2) -> load.Point:
    requests = load.encode(url, load.feed_paths(["a", "é&?"], 20))
    return load.measure(url, requests, clients=clients, seconds=0.2, mark=b"good")


def test_every_answer_is_counted_and_whole() -> None:
    body = b"x" * 600_000 + b"good"  # more than is received at once
    with answering(200, body) as url:
        point = asked(url)
    assert point.sample == body
    assert point.unmarked == 0
    assert len(point.latencies) > 2
    assert 0 < point.milliseconds(50) <= point.milliseconds(99)


def test_answers_without_the_mark_are_counted() -> None:
    with answering(200, b"bad") as url:
        point = asked(url)
    assert point.unmarked == len(point.latencies)


def test_another_status_ends_the_measurement() -> None:
    with answering(500, b"good") as url, pytest.raises(BenchmarkError, match="500"):
        asked(url)


def test_ids_are_quoted() -> None:
    assert load.feed_paths(["é&?"], 5) == ["/api/v1/feed?user_id=%C3%A9%26%3F&limit=5"]
