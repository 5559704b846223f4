"""The calls of operators: real application, real Postgres, real moves; MLflow and Dagster faked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from storage.postgres.database import connect
from tests.conftest import TEMPLATE, url_of
from tests.serving.admin_world import (
    BAD,
    BEFORE,
    KEPT_SECONDS,
    LIVE,
    TRIAL,
    World,
    running_world,
    seed,
)


@pytest.fixture(scope="module")
def world(
    postgres_url: str, _server: psycopg.Connection, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    name = f"admin_{uuid4().hex}"
    _server.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    database = url_of(postgres_url, name)
    with connect(database, autocommit=True) as connection:
        seed(connection)
    with running_world(database, tmp_path_factory.mktemp("admin")) as made:
        yield made
    _server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def http(world: World) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {world.key}"}
    with httpx.Client(
        base_url=f"{world.url}/api/v1/admin/", headers=headers, trust_env=False, timeout=20
    ) as client:
        yield client


@pytest.fixture
def postgres(_server: psycopg.Connection) -> psycopg.Connection:
    return _server


def read(http: httpx.Client, path: str) -> dict[str, Any]:
    answer = http.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_status_tells_all_of_it(http: httpx.Client) -> None:
    status = read(http, "status")
    assert status["live"]["version"] == LIVE
    assert status["live"]["metrics"]["ndcg_at_10"] == 0.396
    assert 5.9 < status["live"]["age_seconds"] / 3600 < 6.1
    assert (status["previous"]["version"], status["challenger"]["version"]) == (BEFORE, TRIAL)
    assert [one["version"] for one in status["withdrawn"]] == [BAD]
    assert status["pending_rollback"] is None
    assert status["requests_1h"] > 1_000
    assert status["fallback"]["share_1h"] == pytest.approx(0.05, abs=0.01)
    assert list(status["fallback"]["by_reason"]) == ["anonymous", "time_budget_exceeded"]
    assert 0 < status["latency"]["p50_ms"] < status["latency"]["p99_ms"]
    assert status["training"]["running"] is False
    assert status["training"]["last_status"] == "SUCCESS"
    ages = {one["asset"]: one["age_seconds"] for one in status["freshness"]}
    assert ages["user_similarities"] == pytest.approx(30 * 3600, abs=60)
    assert ages["off_policy"] is None
    assert all(status[f"{part}_up"] for part in ("database", "registry", "dagster"))
    assert status["problems"] == []


def test_the_status_tells_of_events_that_wait(
    http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.app.oldest_age", lambda *_: 75.0)
    (problem,) = read(http, "status")["problems"]
    assert "waited for 75 s" in problem


def test_the_status_answers_when_everything_hangs(http: httpx.Client, world: World) -> None:
    read(http, "status")
    world.registry.broken, world.dagster.slow = True, 60.0
    time.sleep(KEPT_SECONDS + 0.1)
    try:
        began = time.monotonic()
        status = read(http, "status")
        assert time.monotonic() - began < 30
        assert status["live"]["version"] == LIVE  # what this worker has loaded
        assert not any(status[f"{part}_up"] for part in ("registry", "dagster"))
        assert [text.split()[0] for text in status["problems"]] == ["MLflow", "Dagster"]
        assert status["training"] is None
        assert http.post("train").status_code == 503
        assert http.get("models").status_code == 503
    finally:
        world.registry.broken, world.dagster.slow = False, 0.0
        time.sleep(KEPT_SECONDS + 0.1)


def test_the_status_tells_that_the_pipelines_code_is_away(http: httpx.Client, world: World) -> None:
    def away() -> list[str]:
        return [text for text in read(http, "status")["problems"] if "no training can be" in text]

    world.dagster.code_away = True
    try:
        wait_for(lambda: len(away()) == 1)
    finally:
        world.dagster.code_away = False
        wait_for(lambda: not away())


def test_the_status_without_a_database(
    http: httpx.Client, world: World, postgres: psycopg.Connection
) -> None:
    name = world.database.rpartition("/")[2].partition("?")[0]
    away = f"ALTER DATABASE {name} ALLOW_CONNECTIONS "
    try:
        postgres.execute(away + "false")
        postgres.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
        )
        began = time.monotonic()
        status = read(http, "status")
        assert time.monotonic() - began < 30
        assert not status["database_up"]
        assert status["fallback"] is None
        assert status["live"]["version"] == LIVE
        assert http.get("metrics").status_code == 503
        assert http.get("audit").status_code == 503
    finally:
        postgres.execute(away + "true")


def test_metrics_are_counts_with_intervals_or_not_enough_data(http: httpx.Client) -> None:
    found = read(http, "metrics?days=7")
    rates = {(one["variant"], one["model_version"]): one["metrics"] for one in found["by_variant"]}
    live = rates["champion", LIVE]["ctr"]
    assert live["enough"]
    assert live["low"] < live["value"] == live["numerator"] / live["denominator"] < live["high"]
    assert "not enough data" in rates["time", None]["ctr"]["note"]
    experiment = next(one for one in found["by_experiment"] if one["status"] == "running")
    difference = experiment["arms"][1]["differences"]["ctr"]
    assert difference["low"] < difference["relative"] < difference["high"]
    assert len(found["served_series"]) > 100
    assert {"start", "requests", "fallback_share", "p50_ms", "p99_ms"} == set(
        found["served_series"][0]
    )
    assert http.get("metrics?days=0").status_code == 422


def test_versions_and_what_became_of_them(http: httpx.Client) -> None:
    found = read(http, "models")
    assert [one["version"] for one in found["versions"]] == [TRIAL, LIVE, BEFORE, BAD, "9"]
    assert (found["champion"], found["challenger"], found["previous"]) == (LIVE, TRIAL, BEFORE)
    by_version = {one["version"]: one for one in found["versions"]}
    assert by_version[BAD]["withdrawn"] == "CTR fell by 61 %"
    assert "noise" in by_version[TRIAL]["refused"]
    assert by_version[LIVE]["aliases"] == ["champion"]


def test_pages_of_the_audit_log_alerts_and_reports(http: httpx.Client) -> None:
    seen, before = [], ""
    for _ in range(10):
        page = read(http, f"audit?limit=2{before}")
        seen += page["lines"]
        if page["next_before"] is None:
            break
        before = f"&before={page['next_before']}"
    ids = [line["id"] for line in seen]
    assert ids == sorted(ids, reverse=True)
    assert {"model.rolled_back", "model.activated"} <= {line["action"] for line in seen}
    assert [one["severity"] for one in read(http, "alerts")["alerts"]][-1] == "critical"
    assert http.get("alerts?limit=0").status_code == 422
    told = http.post("guardrails/evaluate")
    assert told.status_code == 200, told.text
    kept = read(http, "guardrails?limit=200")["reports"]
    assert {one["id"] for one in told.json()["reports"]} == {one["id"] for one in kept}
    assert {one["status"] for one in kept} <= {"ok", "breach", "not_enough_data"}


def test_activate_then_roll_back(http: httpx.Client, world: World) -> None:
    assert http.post("models/99/activate").status_code == 404
    assert http.post("models/--force/activate").status_code == 404
    refused = http.post(f"models/{BAD}/activate", json={"reason": "again"})
    assert refused.status_code == 409
    assert "withdrawn" in refused.json()["detail"]
    stale = http.post("models/rollback", json={"reason": "late", "expected": BEFORE})
    assert stale.status_code == 409
    assert http.post("models/rollback", json={"reson": "typo"}).status_code == 422

    world.registry.aliases["champion"] = LIVE
    moved = http.post(f"models/{TRIAL}/activate", json={"reason": "-better"})
    assert moved.status_code in (200, 202), moved.text
    wait_for(lambda: world.registry.aliases["champion"] == TRIAL)
    # Two who ask at once go back by one version.
    with ThreadPoolExecutor(2) as pool:
        asked = [
            pool.submit(http.post, "models/rollback", json={"reason": "worse"}) for _ in range(2)
        ]
        statuses = {one.result().status_code for one in asked}
    assert statuses & {200, 202}  # 202: it takes longer than an answer may
    assert statuses <= {200, 202, 409}
    wait_for(lambda: world.registry.aliases["champion"] == LIVE)
    wait_for(lambda: TRIAL in {one["version"] for one in read(http, "status")["withdrawn"]})
    assert http.post("models/rollback", json={"expected": TRIAL}).status_code == 409
    assert world.registry.aliases["champion"] == LIVE
    lines = read(http, "audit?limit=20")["lines"]
    line = next(one for one in lines if one["action"] == "model.rolled_back")
    assert line["actor"].startswith("ann (")
    assert line["detail"]["reason"] == "worse"


def wait_for(expected: Any, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not expected():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_training_starts_once(http: httpx.Client, world: World) -> None:
    started = http.post("train", json={"reason": "new catalogue"})
    assert started.status_code == 202, started.text
    run_id = started.json()["run_id"]
    assert started.json()["address"].endswith(f":{world.dagster.port}/runs/{run_id}")
    tags = world.dagster.launched[-1]
    assert tags["dagster/asset_partition_range_start"] == "2026-11-20"
    assert tags["feedwright/trigger"].startswith("ann (")
    assert tags["feedwright/trigger"].endswith(": new catalogue")
    again = http.post("train")
    assert again.status_code == 409
    assert run_id in again.json()["detail"]
    assert read(http, "status")["training"]["running"] is True
    world.dagster.going.clear()


def test_nobody_else_may(world: World) -> None:
    for path in ("status", "metrics", "models", "audit", "alerts", "guardrails", "flags"):
        answer = httpx.get(f"{world.url}/api/v1/admin/{path}")
        assert answer.status_code == 401, path
    assert httpx.post(f"{world.url}/api/v1/admin/models/rollback").status_code == 401
    assert httpx.post(f"{world.url}/api/v1/admin/train").status_code == 401


def test_reading_is_not_noted_and_writing_is(http: httpx.Client, world: World) -> None:
    def noted(marker: str = "") -> int:
        with connect(world.database) as connection:
            row = connection.execute(
                "SELECT count(*) FROM feed.audit_log"
                " WHERE action LIKE '%%/api/v1/admin/%%' AND detail::text LIKE %s",
                (f"%{marker}%",),
            ).fetchone()
        assert row is not None
        return row[0]

    marker = uuid4().hex
    http.put(f"flags/{marker}", json={"enabled": True, "share": 0.3}).raise_for_status()
    wait_for(lambda: noted(marker) == 1)  # and so is what was done before
    before = noted()
    for path in ("status", "metrics", "models", "experiments", "flags", "audit", "alerts"):
        read(http, path)
    http.put("flags/new_cards", json={"enabled": True, "share": 0.3}).raise_for_status()
    wait_for(lambda: noted() > before)
    time.sleep(1.2)
    assert noted() == before + 1


def test_a_rollback_is_taken_on_while_mlflow_hangs(http: httpx.Client, world: World) -> None:
    world.registry.aliases["champion"] = LIVE
    world.registry.slow = 3.0
    try:
        moved = http.post("models/rollback", json={"reason": "worse", "expected": LIVE})
        assert moved.status_code == 202, moved.text
        assert not moved.json()["done"]
    finally:
        world.registry.slow = 0.0
    wait_for(lambda: LIVE in {one["version"] for one in read(http, "status")["withdrawn"]})
