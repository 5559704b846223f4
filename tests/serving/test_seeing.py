"""What can be seen of a worker: metrics, logs, what it served, and traces."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.common.ports import free_port
from going_live.alerts import raise_alert
from serving.ingest.spool import Spool, oldest_age
from serving.launch import ROOT, feed_command, feed_environment
from serving.postgres.database import DatabaseAway
from serving.telemetry import logs
from serving.telemetry import served as served_module
from serving.telemetry.served import Served
from storage.operations.served import served_between
from storage.postgres.database import connect
from storage.settings import Settings
from tests.serving.bento import Server
from tests.serving.conftest import Worker
from tests.serving.fake_mlflow import FakeMlflow
from tests.serving.worlds import make_snapshot

ALWAYS = (datetime(2026, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))


def scrape(text: str) -> dict[str, float]:
    """Sample by name and labels, as Prometheus writes them."""
    return {
        sample.name
        + "".join(f",{name}={value}" for name, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def metrics_of(worker: Worker) -> dict[str, float]:
    return scrape(worker.client.get("/metrics").text)


def test_requests_are_counted_by_template_whoever_answers_them(worker: Worker) -> None:
    before = metrics_of(worker)
    for n in range(3):
        worker.client.get(f"/api/v1/items/none-{n}")
    worker.client.get("/api/v1/users/u1", headers={"X-Api-Key": "wrong"})
    worker.client.delete("/api/v1/feed")
    worker.client.request("BREW", "/pot")
    after = metrics_of(worker)

    def new(route: str, method: str, status: int) -> float:
        name = f"feedwright_http_requests_total,method={method},route={route},status={status}"
        return after.get(name, 0) - before.get(name, 0)

    assert new("/api/v1/items/{id}", "GET", 404) == 3
    assert new("/api/v1/users/{id}", "GET", 401) == 1, "refused before the routes were asked"
    assert new("other", "DELETE", 405) == 1
    assert new("other", "other", 404) == 1
    assert not any("none-" in name or "pot" in name for name in after)


def test_what_stands_in_postgres_is_shown(worker: Worker) -> None:
    with connect(worker.settings.database_url or "") as conn:
        raise_alert(conn, "test", "warning", "waits", {})
        conn.execute(
            "INSERT INTO feed.withdrawn_versions (model_version, actor, reason)"
            " VALUES ('9', 'test', 'test')"
        )
        conn.execute(
            "INSERT INTO feed.experiments (id, status, salt, variants)"
            " VALUES ('e', 'running', 's', '[]'), ('f', 'ended', 's', '[]')"
        )
    worker.client.portal.call(worker.app._overview.look)  # type: ignore[union-attr]
    found = metrics_of(worker)
    assert found["feedwright_rollbacks_pending"] == found["feedwright_withdrawn_versions"] == 1
    assert found["feedwright_alerts_waiting"] == 1
    assert 0 < found["feedwright_alerts_waiting_seconds"] < 60
    assert found["feedwright_experiments,status=running"] == 1
    assert found["feedwright_ingest_spool_age_seconds"] == 0
    # of a snapshot that is an hour old when the first test of the worker asks for it
    assert 3600 < found["feedwright_model_age_seconds,alias=champion"] < 2 * 3600


def test_the_lag_of_events_is_from_receipt_to_the_live_feed(worker: Worker) -> None:
    worker.wait_for(lambda: worker.app.follower.read_at is not None)
    before = metrics_of(worker)
    event = {
        "event_id": str(uuid4()),
        "user_id": "u0007",
        "item_id": "i00001",
        "type": "save",
        "occurred_at": datetime.now(UTC).isoformat(),
    }
    answer = worker.client.post("/api/v1/interactions", json={"interactions": [event]})
    assert answer.status_code == 202, answer.text
    count, total = "feedwright_event_applied_seconds_count", "feedwright_event_applied_seconds_sum"
    worker.wait_for(lambda: metrics_of(worker)[count] > before[count])
    assert 0 <= metrics_of(worker)[total] - before[total] < 60


def test_the_age_of_the_spool_is_that_of_its_oldest_segment(tmp_path: Path) -> None:
    assert oldest_age(tmp_path / "none", time.time()) == 0
    spool = Spool(tmp_path)
    spool.append(b"an event")
    assert 100 <= oldest_age(tmp_path, time.time() + 100) < 110
    chunk = spool.next(1000)
    assert chunk is not None
    spool.done(chunk)
    assert oldest_age(tmp_path, time.time() + 100) == 0


def test_what_was_served_reaches_postgres_and_waits_while_it_is_away(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        worker.feed(user_id="u0007")
    worker.feed()
    portal = worker.client.portal
    assert portal is not None
    portal.call(worker.app.served.flush)
    with connect(worker.settings.database_url or "") as conn:
        found = {
            (one.variant, one.model_version, one.fallback_reason): one.latency.requests
            for one in served_between(conn, *ALWAYS)
        }
    assert found[("champion", "1", None)] == 3
    assert found[("heuristic", None, "anonymous")] == 1

    class Away:
        async def run(self, work: Any) -> None:
            raise DatabaseAway("away")

    clock = [0.0]
    monkeypatch.setattr(served_module, "MAX_ROWS", 5)
    served = Served(Away(), clock=lambda: clock[0])  # type: ignore[arg-type]
    for minute in range(20):
        clock[0] = 60.0 * minute
        served.count("champion", "1", None, 0.002)
        asyncio.run(served.flush())
        served.count("champion", "1", None, 0.002)
        asyncio.run(served.flush())
    assert len(served._rows) == 5, "the oldest minutes went"
    assert {row[0] for row in served._rows.values()} == {2}
    assert min(served._rows)[0] == 15 * 60


def test_errors_and_slow_requests_are_logged_with_their_id_and_no_user(
    worker: Worker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("on purpose")

    monkeypatch.setattr(worker.app.engine, "feed", fails)
    logs.configure()  # onto the output that is read here
    answer = worker.client.get(
        "/api/v1/feed", params={"user_id": "somebody"}, headers={"X-Request-Id": "find-me"}
    )
    assert answer.status_code == 500
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (failed,) = (line for line in lines if line["message"] == "request failed")
    (access,) = (line for line in lines if line["message"] == "request")
    assert failed["request_id"] == access["request_id"] == "find-me"
    assert "on purpose" in failed["exception"]
    assert (access["route"], access["status"], access["level"]) == ("/api/v1/feed", 500, "warning")
    assert "somebody" not in json.dumps(lines)
    worker.client.get("/api/v1/status")
    assert capsys.readouterr().out == "", "what is well is not worth a line"
    logs.configure("debug")
    worker.client.get("/api/v1/status")
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["route"] == "/api/v1/status"


# -- traces, from the real service to a real collector --------------------------------------


@dataclass
class Collector:
    """Takes OTLP over HTTP."""

    url: str = ""
    spans: list[Any] = field(default_factory=list)
    services: set[str] = field(default_factory=set)

    def named(self, name: str) -> list[Any]:
        return [span for span in self.spans if span.name == name]


def attributes(span: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    made = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/traces"
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                made.services |= {
                    one.value.string_value
                    for one in resource.resource.attributes
                    if one.key == "service.name"
                }
                for scope in resource.scope_spans:
                    made.spans += scope.spans
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield made
    server.shutdown()
    server.server_close()


def test_a_request_is_one_trace_with_its_route_its_id_and_its_stages(
    database: str, tmp_path: Path, collector: Collector
) -> None:
    mlflow = FakeMlflow()
    mlflow.version = "1"
    settings = Settings(
        home=tmp_path,
        database_url=database,
        mlflow_url=mlflow.url,
        feed_port=free_port(),
        feed_workers=1,
        otlp_endpoint=collector.url,
        log_level="debug",
    )
    make_snapshot("1", users=100, items=200).save(settings.snapshots / "1")
    log = tmp_path / "feed.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            feed_command(settings),
            env=feed_environment(settings),
            cwd=ROOT,
            stdout=output,
            stderr=output,
        )
    try:
        Server(process, settings, mlflow, log).wait_until_ready()
        answer = httpx.get(
            f"{settings.feed_address}/api/v1/feed",
            params={"user_id": "u0007"},
            headers={"X-Request-Id": "trace-me"},
        )
        assert answer.status_code == 200
        httpx.get(f"{settings.feed_address}/api/v1/items/i-secret")
        httpx.get(f"{settings.feed_address}/metrics")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)
        mlflow.close()
    assert collector.services == {"feedwright"}
    (feed,) = collector.named("GET /api/v1/feed")
    assert attributes(feed)["feedwright.request_id"] == "trace-me"
    assert attributes(feed)["http.route"] == "/api/v1/feed"
    stages = {span.name: span for span in collector.spans if span.parent_span_id == feed.span_id}
    ranked = {"candidates", "rules", "scores", "diversity", "exploration"}
    assert set(stages) == {*ranked, "page"}
    for span in stages.values():
        assert span.trace_id == feed.trace_id
        assert feed.start_time_unix_nano <= span.start_time_unix_nano
        assert span.end_time_unix_nano <= feed.end_time_unix_nano
    assert len(collector.named("GET /api/v1/items/{id}")) == 1
    names = {span.name for span in collector.spans}
    assert names == {"GET /api/v1/feed", "GET /api/v1/items/{id}", *stages}
    said = str([attributes(span) for span in collector.spans])
    assert "u0007" not in said
    assert "i-secret" not in said
    # The same worker: its log names the request, and what it served was counted at the end.
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    assert any(line.get("request_id") == "trace-me" for line in lines)
    with psycopg.connect(database) as conn:
        (champion,) = served_between(conn, *ALWAYS)
    assert (champion.variant, champion.latency.requests) == ("champion", 1)
    assert timedelta(0) < timedelta(seconds=champion.latency.seconds) < timedelta(seconds=5)
