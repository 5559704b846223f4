"""The clients: keep-alive HTTP over non-blocking sockets, cheap enough not to be what is measured.

One process, one epoll (or kqueue) loop. Requests are encoded beforehand, and of an answer
only the length, the status and a mark are looked at: about 20 µs a request, against some
hundred of the server's.
"""

from __future__ import annotations

import itertools
import selectors
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

import numpy as np
from numpy.typing import NDArray

from benchmarks.common.report import BenchmarkError

ANSWER_SECONDS = 10.0
RECEIVE_BYTES = 1 << 18
END = b"\r\n\r\n"
LENGTH = b"content-length: "
TAIL_BYTES = 400
"""The page's own fields come after its items."""


@dataclass(frozen=True)
class Point:
    """One measurement.

    Attributes:
        latencies: seconds, one an answer, from before the send to the last byte.
        seconds: how long it took.
        generator: share of one core that the clients took.
        unmarked: answers with status 200 that lacked the mark.
        sample: one whole body.
    """

    latencies: NDArray[np.float64]
    seconds: float
    generator: float
    unmarked: int
    sample: bytes

    def milliseconds(self, percentile: float) -> float:
        return float(np.percentile(self.latencies, percentile)) * 1e3

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds


def encode(url: str, paths: Sequence[str]) -> list[bytes]:
    """GET requests of those paths (with their query), to be sent as they are."""
    host = urlsplit(url).netloc
    return [f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode() for path in paths]


def feed_paths(users: Sequence[str], limit: int) -> list[str]:
    """Paths of those users' feeds."""
    return [f"/api/v1/feed?user_id={quote(user, safe='')}&limit={limit}" for user in users]


@dataclass
class _Client:
    connection: socket.socket
    sent: float = 0.0
    received: bytes = field(default=b"")


def measure(
    url: str, requests: Sequence[bytes], *, clients: int, seconds: float, mark: bytes
) -> Point:
    """Ask for ``seconds``, each client one request after the other.

    Args:
        mark: what the last bytes of every good answer hold.

    Raises:
        BenchmarkError: a status other than 200, or no answer in ``ANSWER_SECONDS``.
    """
    address = urlsplit(url)
    where = address.hostname or "", address.port or 80
    latencies: list[float] = []
    unmarked = 0
    body = b""
    following = itertools.cycle(requests)
    with selectors.DefaultSelector() as selector:
        try:
            for _ in range(clients):
                connection = socket.create_connection(where, ANSWER_SECONDS)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(connection, selectors.EVENT_READ, _Client(connection))
            cpu, started = time.process_time(), time.perf_counter()
            for key in selector.get_map().values():
                _send(key.data, following)
            end = started + seconds
            while time.perf_counter() < end:
                ready = selector.select(ANSWER_SECONDS)
                if not ready:
                    raise BenchmarkError(f"{url} gave no answer in {ANSWER_SECONDS} s")
                for key, _ in ready:
                    client: _Client = key.data
                    answer = _receive(client)
                    if answer is None:
                        continue
                    latencies.append(time.perf_counter() - client.sent)
                    if not answer.startswith(b"HTTP/1.1 200"):
                        raise BenchmarkError(f"{url} answered {answer[:300].decode('latin-1')}")
                    unmarked += mark not in answer[-TAIL_BYTES:]
                    body = answer
                    _send(client, following)
            took = time.perf_counter() - started
            busy = (time.process_time() - cpu) / took
        finally:
            for key in list(selector.get_map().values()):
                key.data.connection.close()
    return Point(np.array(latencies), took, busy, unmarked, body.partition(END)[2])


def _send(client: _Client, following: Iterator[bytes]) -> None:
    client.sent = time.perf_counter()
    client.connection.sendall(next(following))


def _receive(client: _Client) -> bytes | None:
    """The whole answer, or None while a part of it is still to come."""
    part = client.connection.recv(RECEIVE_BYTES)
    if not part:
        raise BenchmarkError("the server closed a connection")
    answer = client.received + part if client.received else part
    head = answer.find(END)
    if head >= 0:
        begin = answer.find(LENGTH, 0, head) + len(LENGTH)
        length = int(answer[begin : answer.index(b"\r", begin)])
        if len(answer) >= head + len(END) + length:
            client.received = b""
            return answer
    client.received = answer
    return None
