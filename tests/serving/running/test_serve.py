"""The real server with two workers on loopback, and its Bento."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from prometheus_client.parser import text_string_to_metric_families
from psycopg.types.json import Jsonb
from schemathesis.specs.openapi.checks import positive_data_acceptance

from serving.launch import ROOT, feed_environment
from serving.telemetry.metrics import TALLY_SECONDS
from storage.postgres.database import connect
from storage.settings import Settings
from tests.serving.bento import WORKERS, Server


@pytest.fixture(scope="module")
def server(two_workers: Server) -> Server:
    return two_workers


def metrics_of(server: Server) -> str:
    return httpx.get(f"{server.url}/metrics").text


def kills(server: Server) -> float:
    """Workers that were killed by now, as the metrics have it."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(metrics_of(server))
        for sample in family.samples
        if sample.name == "feedwright_worker_deaths_total" and sample.labels["signal"] == "SIGKILL"
    )


Ranked = tuple[str | None, str | None]
"""Variant and version."""


@dataclass
class Answer:
    sent: float
    first: bool
    status: int
    reason: str | None
    ranked: Ranked
    repeats: bool


@contextmanager
def scrolling(server: Server, clients: int = 4) -> Iterator[list[Answer]]:
    """Users who visit and scroll, again and again, while something happens."""
    stop = threading.Event()
    answers: list[Answer] = []

    def scroll(number: int) -> None:
        with httpx.Client(base_url=server.url, timeout=20) as http:
            while not stop.is_set():
                path: str | None = f"/api/v1/feed?user_id=u{number:04}&limit=20"
                seen: set[str] = set()
                while path and len(seen) < 60:
                    sent = time.monotonic()
                    # To reach both workers.
                    answer = http.get(path, headers={"Connection": "close"})
                    body = answer.json()
                    ids = {item["item_id"] for item in body.get("items", ())}
                    answers.append(
                        Answer(
                            sent,
                            not seen,
                            answer.status_code,
                            body.get("fallback_reason"),
                            (body.get("variant"), body.get("model_version")),
                            bool(seen & ids),
                        )
                    )
                    seen |= ids
                    path = body.get("next")

    with ThreadPoolExecutor(clients) as pool:
        running = [pool.submit(scroll, number) for number in range(clients)]
        try:
            yield answers
        finally:
            stop.set()
        for future in running:
            future.result()


def wait_for(expected: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not expected():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def settled(answers: list[Answer], *expected: Ranked) -> float:
    """Wait until new visits are ranked by these, and by nothing else: by whichever worker.

    Returns:
        Seconds from now until the last visit began that was ranked by something else.
    """
    since = time.monotonic()
    while time.monotonic() < since + 120:
        time.sleep(0.1)
        visits = [one for one in answers[:] if one.first and one.sent > since]
        # The budget may be spent while other work on this machine has the core.
        visits = [one for one in visits if one.reason != "time_budget_exceeded"]
        if len(visits) > 20 and {one.ranked for one in visits[-20:]} == set(expected):
            others = [one.sent for one in visits if one.ranked not in expected]
            return max(others, default=since) - since
    raise AssertionError({one.ranked for one in visits[-20:]})


def assert_nobody_noticed(answers: list[Answer], *reasons: str) -> None:
    """Every page came, and none repeated an item of its feed."""
    # Late answers are no failures, as above.
    allowed = {None, "time_budget_exceeded", *reasons}
    assert {answer.status for answer in answers} == {200}
    assert {answer.reason for answer in answers} <= allowed
    assert not any(answer.repeats for answer in answers)


def test_swapping_the_model_under_load_fails_no_request(server: Server) -> None:
    with scrolling(server) as answers:
        for version in ("2", "1", "2"):
            server.mlflow.version = version
            assert settled(answers, ("champion", version)) < 30
    assert_nobody_noticed(answers)


def test_a_rollback_reaches_every_worker_though_mlflow_is_away(server: Server) -> None:
    """A version is withdrawn while MLflow does not answer; its alias moves once it does."""
    with (
        connect(server.database, autocommit=True) as connection,
        scrolling(server) as answers,
    ):
        try:
            settled(answers, ("champion", "2"))
            server.mlflow.broken = True
            connection.execute(
                "INSERT INTO feed.withdrawn_versions (model_version, actor, reason)"
                " VALUES ('2', 'guardrails', 'CTR')"
            )
            assert settled(answers, ("heuristic", None)) < 30
            server.mlflow.version, server.mlflow.broken = "1", False
            assert settled(answers, ("champion", "1")) < 30
        finally:
            connection.execute("DELETE FROM feed.withdrawn_versions")
            server.mlflow.version, server.mlflow.broken = "2", False
        settled(answers, ("champion", "2"))  # for the tests that follow
    assert_nobody_noticed(answers, "model_withdrawn")


def test_a_challenger_comes_and_goes_while_users_scroll(server: Server) -> None:
    champion, challenger = ("champion", "2"), ("challenger", "1")
    server.mlflow.version, server.mlflow.challenger = "2", "1"
    arms = [
        {"name": "control", "weight": 1, "ranked_by": None, "settings": {}},
        {"name": "new", "weight": 1, "ranked_by": "challenger", "settings": {}},
    ]
    with (
        connect(server.database, autocommit=True) as connection,
        scrolling(server) as answers,
    ):
        settled(answers, champion)
        connection.execute(
            "INSERT INTO feed.experiments (id, salt, status, share, variants)"
            " VALUES ('scrolled', 'salt', 'running', 1, %s)",
            (Jsonb(arms),),
        )
        settled(answers, champion, challenger)
        server.mlflow.challenger = None
        assert settled(answers, champion) < 30
        server.mlflow.challenger = "1"
        settled(answers, champion, challenger)
        connection.execute("UPDATE feed.experiments SET status = 'ended'")
        assert settled(answers, champion) < 30
    assert_nobody_noticed(answers, "challenger_unavailable")


def test_a_catalogue_change_reaches_every_worker_in_two_seconds(server: Server) -> None:
    def feeds(count: int) -> list[set[str]]:
        """Ids that a near viewer gets, by whichever workers answer."""
        return [
            {
                item["item_id"]
                for item in httpx.get(
                    f"{server.url}/api/v1/feed",
                    params={"lat": 50.0, "lon": 14.4, "limit": 100},
                    headers={"Connection": "close"},  # to reach both workers
                ).json()["items"]
            }
            for _ in range(count)
        ]

    item = {"title": "In Prague", "lat": 50.0, "lon": 14.4, "tags": ["art"]}
    path = f"{server.url}/api/v1/items/in-prague"
    assert httpx.put(path, json=item).status_code == 201
    wait_for(lambda: all("in-prague" in found for found in feeds(12)))
    assert httpx.delete(path).status_code == 204
    wait_for(lambda: not any("in-prague" in found for found in feeds(12)))


def test_nothing_listens_but_the_feed_itself(server: Server) -> None:
    """No control port, and no socket in the file system that another account could open."""
    runner = psutil.Process(server.process.pid)
    for process in (runner, *runner.children(recursive=True)):
        listening = [
            connection.laddr.port
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        ]
        assert set(listening) == {server.settings.feed_port}
        named = [one.laddr for one in process.net_connections("unix") if one.laddr]
        assert named == []


def test_a_killed_worker_is_replaced(server: Server) -> None:
    before, killed = server.workers(), kills(server)
    assert len(before) == WORKERS
    before[0].kill()
    deadline = time.monotonic() + 120
    served: set[int] = set()
    while len(served) < WORKERS and time.monotonic() < deadline:
        try:
            status = httpx.get(f"{server.url}/api/v1/status").json()
        except httpx.TransportError:
            continue  # it was in the hands of the one that died
        assert status["fallback_reason"] is None  # a new worker serves the champion at once
        served |= {status["worker"]} - {before[0].pid}
    assert len(served) == WORKERS
    assert kills(server) == killed + 1


def test_metrics_are_of_all_workers(server: Server) -> None:
    for _ in range(10):
        httpx.get(f"{server.url}/api/v1/feed", params={"user_id": "u0001"})
        httpx.get(f"{server.url}/api/v1/feed")

    def scrape() -> dict[str, float]:
        families = text_string_to_metric_families(metrics_of(server))
        return {
            f"{sample.name}{sorted(sample.labels.items())}": sample.value
            for family in families
            for sample in family.samples
        }

    time.sleep(2 * TALLY_SECONDS)
    found = scrape()
    champion = [
        value for name, value in found.items()
        if name.startswith("feedwright_feed_requests_total") and "champion" in name
    ]  # fmt: skip
    assert sum(champion) >= 10
    assert found["feedwright_feed_seconds_count[]"] >= 20
    assert found["feedwright_model_age_seconds[('alias', 'champion')]"] > 3500
    assert any(name.startswith("feedwright_model_version_info") for name in found)
    # A worker was killed by the test before: what it left is not the worst one for ever.
    wait_for(lambda: time.time() - scrape()["feedwright_catalogue_read_timestamp_seconds[]"] < 10)
    # No series by raw path, whatever is asked for.
    for n in range(20):
        httpx.get(f"{server.url}/api/v1/nothing/{n}")
        httpx.get(f"{server.url}/api/v1/items/nothing-{n}")
    time.sleep(2 * TALLY_SECONDS)
    found = scrape()
    assert not any("nothing" in name for name in found)
    labels = "[('method', 'GET'), ('route', '/api/v1/items/{id}'), ('status', '404')]"
    assert found[f"feedwright_http_requests_total{labels}"] >= 20


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz", "/docs", "/metrics"])
def test_what_a_platform_expects_is_there(server: Server, path: str) -> None:
    assert httpx.get(f"{server.url}{path}").status_code == 200


def test_errors_are_problems_on_the_real_server(server: Server) -> None:
    for method, path, status in (
        ("GET", "/nothing", 404),
        ("GET", "/nothing%0Athere", 404),
        ("GET", "/api/v1/items/a%0Ab", 404),
        ("GET", "/schema.json", 404),  # BentoML's own, which asks for no key
        ("GET", "/docs.json", 404),
        ("GET", "/api/v1/feed?limit=x", 422),
        ("POST", "/api/v1/feed", 405),
    ):
        answer = httpx.request(method, f"{server.url}{path}")
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"


def test_the_api_keeps_to_its_description(server: Server) -> None:
    schema = schemathesis.openapi.from_url(f"{server.url}/api/v1/openapi.json")
    schema.validate()
    for path in ("/api/v1/feed", "/api/v1/status"):
        operation = schema[path]["GET"]

        @hypothesis_settings(max_examples=40, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def every_case(case: schemathesis.Case) -> None:
            # That lat and lon go together is more than a schema can say.
            case.call_and_validate(base_url=server.url, excluded_checks=[positive_data_acceptance])

        every_case()


def test_the_log_is_json_lines_and_has_none_of_what_is_well(server: Server) -> None:
    text = server.log.read_text()
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    assert any(line["message"] == "live state changed" for line in lines)
    for line in lines:
        if line["message"] == "request":
            assert line["status"] >= 500 or line["milliseconds"] > 1000
    assert "user_id" not in text


def test_the_bento_builds(tmp_path: Path) -> None:
    for folder in ("serving", "storage", "models", "going_live", "gateway"):
        shutil.copytree(
            ROOT / folder, tmp_path / "src" / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
    (tmp_path / "src" / "deploy").mkdir()
    for file in ("bentofile.yaml", "pyproject.toml", "requirements.lock", "deploy/bento.j2"):
        shutil.copy(ROOT / file, tmp_path / "src" / file)
    settings = Settings(home=tmp_path / "home")
    # BentoML installs uv if there is none, though with a finished lock file it has no use for it.
    unused = tmp_path / "bin" / "uv"
    unused.parent.mkdir()
    unused.write_text("#!/bin/sh\nexit 1\n")
    unused.chmod(0o755)
    subprocess.run(
        [sys.executable, "-m", "bentoml", "build", "--version", "test", str(tmp_path / "src")],
        env={
            **feed_environment(settings),
            "PYTHONPATH": str(tmp_path / "src"),
            "PATH": os.pathsep.join([str(unused.parent), os.environ["PATH"]]),
        },
        cwd=tmp_path / "src",
        check=True,
        capture_output=True,
        timeout=120,
    )
    built = settings.home / "bentoml" / "bentos" / "feedwright" / "test"
    for file in (
        "src/serving/service.py",
        "src/models/feed/pipeline.py",
        "src/storage/settings.py",
    ):
        assert (built / file).is_file()
    config = (built / "env" / "docker" / "Dockerfile").read_text().splitlines()
    entry = [line for line in config if line.startswith("ENTRYPOINT")][-1]
    assert "serving.runner" in entry
    assert "WORKDIR /home/bentoml/bento/src" in config


def test_a_worker_leaves_out_what_it_does_not_need() -> None:
    heavy = {"mlflow", "dagster", "orchestration", "pandas", "matplotlib", "sklearn", "sqlalchemy"}
    code = """
import sys, polars, serving.app
from models.data.ids import IdIndex
IdIndex.of(["a"]).indices(polars.Series(["a", "b"]))
print(*sys.modules)
"""
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert heavy.isdisjoint(found)
