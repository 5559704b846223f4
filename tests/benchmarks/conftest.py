"""Benchmarks in this process get a database of the session's Postgres: one of their own takes
seconds to make. Those that are started as a person starts them make it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from benchmarks.common import servers
from tests.conftest import TEMPLATE, _fresh


@pytest.fixture(autouse=True)
def databases(
    postgres_url: str, _server: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def database(folder: Path) -> Iterator[str]:
        yield from _fresh(postgres_url, _server, TEMPLATE)

    monkeypatch.setattr(servers, "database", database)
