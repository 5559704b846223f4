"""What must go on for as long as a worker lives, whatever breaks off meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import psycopg
import pytest
from prometheus_client import CollectorRegistry, Counter

from serving import app
from serving.admin import registry
from serving.admin.registry import VersionList
from serving.postgres import database as serving_database
from serving.postgres.database import MAX_CALLS, Database
from serving.telemetry.metrics import Tally
from tests.serving.fake_registry import Answer, FakeRegistry


@asynccontextmanager
async def silent() -> AsyncIterator[str]:
    """The address of a server that takes connections, and never says anything."""

    async def hang(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    yield f"host=127.0.0.1 port={server.sockets[0].getsockname()[1]} dbname=x sslmode=disable"
    server.close()


async def _nothing(_: psycopg.AsyncConnection) -> None:
    pass


def test_a_call_that_nobody_waits_for_any_more_gives_its_place_back(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving_database, "CALL_SECONDS", 300.0)  # nothing gives up by itself
    monkeypatch.setattr(serving_database, "STATEMENT_SECONDS", 300.0)

    async def check() -> None:
        async with silent() as hanging:
            address = hanging
            database = Database(lambda: address)
            for _ in range(2 * MAX_CALLS):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(database.run(_nothing), 0.05)
            address = postgres_url
            await asyncio.wait_for(database.run(_nothing), 60)

            async def slow(connection: psycopg.AsyncConnection) -> None:
                await connection.execute("SELECT pg_sleep(300)")

            for _ in range(2 * MAX_CALLS):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(database.run(slow), 0.1)
            await asyncio.wait_for(database.run(_nothing), 60)
            await database.close()

    asyncio.run(check())


def test_a_background_task_that_breaks_off_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "AGAIN_SECONDS", 0.001)

    async def check() -> None:
        begun = 0

        async def watch() -> None:
            nonlocal begun
            begun += 1
            if begun < 3:
                raise ValueError("nobody thought of it")
            await asyncio.sleep(60)

        task = asyncio.create_task(app._for_ever(watch))
        while begun < 3:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(check(), 60))


def test_counts_wait_a_moment_and_none_is_lost() -> None:
    counter = Counter("some", "…", registry=(known := CollectorRegistry()))

    async def check() -> None:
        tally = Tally()
        for _ in range(3):
            tally.count(counter)
        assert known.get_sample_value("some_total") == 0
        tally.flush()
        tally.count(counter)
        await asyncio.sleep(0.5)

    asyncio.run(check())
    assert known.get_sample_value("some_total") == 4


@pytest.fixture
def mlflow() -> FakeRegistry:
    fake = FakeRegistry()
    for number in range(1, 131):
        fake.add(str(number), {"ndcg_at_10": number / 1000})
    fake.aliases, fake.tags = {"champion": "3"}, {"champion_history": '["1", "2", "3"]'}
    return fake


def test_an_old_champion_is_known_among_many_versions(
    mlflow: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(call: str, given: dict) -> Answer:
        status, told = FakeRegistry.answer(mlflow, call, given)
        if call == "GET model-versions/search":
            told["model_versions"] = told["model_versions"][: -registry.MOST - 1 : -1]
        return status, told

    monkeypatch.setattr(mlflow, "answer", answer)
    monkeypatch.setattr(registry, "METRICS_SECONDS", 20.0)
    monkeypatch.setattr(registry, "LOOK_SECONDS", 25.0)
    listing = asyncio.run(VersionList(mlflow.url, "feedwright").read())
    assert len(listing.versions) == registry.MOST + 3
    assert listing.champion is not None
    assert (listing.champion.version, listing.champion.metrics) == ("3", {"ndcg_at_10": 0.003})
    assert (previous := listing.previous(set())) is not None
    assert previous.version == "2"
    mlflow.close()


def test_metrics_that_take_their_time_hide_no_version(
    mlflow: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def check() -> None:
        versions = VersionList(mlflow.url, "feedwright")
        asked = VersionList._get

        async def slow(self: VersionList, path: str, **parameters: str) -> dict | None:
            if path == "runs/get":
                await asyncio.sleep(0.05)
            if parameters.get("run_id") == "run-130":
                raise httpx.ReadTimeout("too busy")
            return await asked(self, path, **parameters)

        monkeypatch.setattr(VersionList, "_get", slow)
        monkeypatch.setattr(registry, "METRICS_SECONDS", 0.2)
        monkeypatch.setattr(registry, "LOOK_SECONDS", 20.0)
        known = 0
        while known < 129:
            listing = await versions.read()
            assert len(listing.versions) == 130
            assert sum(bool(one.metrics) for one in listing.versions) >= known
            known = sum(bool(one.metrics) for one in listing.versions)
        assert listing.versions[0].metrics == {}

    asyncio.run(asyncio.wait_for(check(), 120))
    mlflow.close()
