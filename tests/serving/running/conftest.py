"""The service for these tests. It ends with the last of them: it looks for changes all the time."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import psycopg
import pytest

from tests.serving.bento import Server, bento


@pytest.fixture(scope="package")
def two_workers(
    postgres_url: str, _server: psycopg.Connection, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """The real server, shared by tests that find it as they need it."""
    with bento(postgres_url, _server, tmp_path_factory.mktemp("workers"), "workers") as running:
        yield running


@pytest.fixture(scope="package")
def http(two_workers: Server) -> Iterator[httpx.Client]:
    """A client of it with a connection a call, so that either worker may answer."""
    limits = httpx.Limits(max_keepalive_connections=0)
    url = f"{two_workers.url}/api/v1/"
    with httpx.Client(base_url=url, timeout=20, limits=limits) as client:
        yield client
