"""A service with a week behind it: three variants, two experiments, a withdrawn version."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
import uvicorn

from gateway.origins import listens_on_loopback_alone
from serving.app import FeedApp
from storage.operations.keys import make_key
from storage.operations.served import BUCKETS
from storage.postgres.database import connect
from storage.settings import Settings
from tests.serving.fake_dagster import FakeDagster
from tests.serving.fake_registry import FakeRegistry
from tests.serving.worlds import make_snapshot

KEPT_SECONDS = 0.5
"""What was seen of Dagster is kept for so long, else for longer than a test would wait."""
LIVE, BEFORE, TRIAL, BAD = "12", "11", "13", "10"

# hour of the week, user: what users did with what each variant showed them
RATES = """
INSERT INTO feed.variant_hours (hour, user_id, experiment, arm, variant, model_version,
    impressions, clicks, applies, last_click_at, dwells, dwell_seconds, saves, dismisses)
SELECT date_trunc('hour', now()) - h * interval '1 hour', 'u' || u, x.experiment, x.arm,
       %(variant)s, %(version)s, n, least(c, n), a,
       date_trunc('hour', now()) - h * interval '1 hour', n, n * %(ctr)s * 60 * (0.5 + random()),
       (random() < 0.1)::int, (random() < 0.06)::int
FROM generate_series(4, 164, 8) AS h, generate_series(%(first)s::int, %(last)s::int) AS u,
     LATERAL (SELECT 10 + (random() * 20)::int AS n, h AS same, u AS too) AS shown,
     LATERAL (SELECT (SELECT count(*) FROM generate_series(1, n) WHERE random() < %(ctr)s)::int
              AS c) AS clicked,
     LATERAL (SELECT (random() * c * 0.4)::int AS a) AS applied,
     (VALUES ('', ''), (%(experiment)s, %(arm)s)) AS x(experiment, arm)
WHERE random() < 0.6 AND (x.experiment = '' OR x.arm <> '')
"""
SERVED = f"""
INSERT INTO feed.served_minutes (minute, variant, model_version, fallback_reason, requests,
                                 seconds, buckets)
SELECT date_trunc('minute', now()) - m * interval '10 minutes', r.variant, r.version, r.reason,
       greatest(r.share * n, 1), n * 0.004,
       ARRAY(SELECT CASE WHEN b = r.bucket THEN greatest(r.share * n * 0.97, 1)::bigint
                         WHEN b = r.bucket + 4 THEN (r.share * n * 0.03)::bigint ELSE 0 END
             FROM generate_series(1, {BUCKETS}) AS b)
FROM generate_series(1, 1000) AS m,
     LATERAL (SELECT (400 + 300 * sin(m / 23.0) + 60 * random())::int AS n) AS day,
     (VALUES ('champion', '{LIVE}', '', 0.86, 6), ('challenger', '{TRIAL}', '', 0.09, 7),
             ('heuristic', '', 'anonymous', 0.04, 5),
             ('heuristic', '', 'time_budget_exceeded', 0.01, 9))
         AS r(variant, version, reason, share, bucket)
"""
NOTED = f"""
INSERT INTO feed.withdrawn_versions VALUES
    ('{BAD}', now() - interval '3 days', 'pipeline', 'CTR fell by 61 %', now() - interval '3 days');
INSERT INTO feed.alerts (kind, severity, title, raised_at, delivered_at) VALUES
    ('rollback', 'critical', 'Version {BAD} is rolled back: CTR fell by 61 %',
     now() - interval '3 days', now() - interval '3 days'),
    ('run_failed', 'warning', 'The job trending failed', now() - interval '5 hours', NULL),
    ('activated', 'info', 'Version {LIVE} is live', now() - interval '6 hours', now());
INSERT INTO feed.audit_log (occurred_at, actor, action, detail) VALUES
    (now() - interval '3 days', 'pipeline', 'model.rolled_back',
     '{{"version": "9", "previous": "{BAD}", "reason": "CTR fell by 61 %"}}'),
    (now() - interval '1 day', 'command line', 'key.made', '{{"name": "dashboards"}}'),
    (now() - interval '6 hours', 'pipeline', 'model.activated',
     '{{"version": "{LIVE}", "previous": "{BEFORE}", "reason": "passed the gate"}}');
INSERT INTO feed.watermarks VALUES ('variant_hours since', now() - interval '8 days'),
    ('variant_hours received, 72 h to convert', now() - interval '20 minutes');
INSERT INTO feed.feature_flags (name, environment, enabled, share) VALUES
    ('new_cards', 'default', true, 0.25), ('new_cards', 'staging', true, 1);
"""


@dataclass
class World:
    """The service at ``url``; ``key`` opens the admin calls."""

    url: str
    key: str
    settings: Settings
    registry: FakeRegistry
    dagster: FakeDagster

    @property
    def database(self) -> str:
        assert self.settings.database_url is not None
        return self.settings.database_url


def _experiments(conn: psycopg.Connection) -> None:
    arms = [
        {"name": "control", "weight": 1, "ranked_by": None, "settings": {}},
        {"name": "new-model", "weight": 1, "ranked_by": "challenger", "settings": {}},
    ]
    ramp = [{"share": share, "hours": 24} for share in (0.01, 0.1, 0.5, 1.0)]
    for id, status, text, held, hours in (
        ("new-model-may", "running", "Version 13 against what is live", None, 160),
        ("less-distance", "draft", "Half the weight of location", None, None),
        ("more-variety", "paused", "Stronger diversity", "dismissals rose by 9 %", 500),
    ):
        conn.execute(
            "INSERT INTO feed.experiments (id, status, salt, variants, description, share, ramp,"
            " held_because, started_at, layer) VALUES (%s, %s, %s, %s, %s, 0.1, %s, %s, %s, %s)",
            (
                id, status, id, json.dumps(arms), text, json.dumps(ramp), held,
                hours and datetime.now(UTC) - timedelta(hours=hours),
                "ranking" if status == "running" else "look",
            ),
        )  # fmt: skip


def seed(conn: psycopg.Connection) -> None:
    """The week."""
    conn.execute("SELECT setseed(0.4)")
    _experiments(conn)
    for variant, version, ctr, first, last, arm in (
        ("champion", LIVE, 0.061, 1, 160, "control"),
        ("challenger", TRIAL, 0.069, 161, 300, "new-model"),
        ("champion", BEFORE, 0.058, 301, 360, ""),
        ("heuristic", "", 0.041, 361, 420, ""),
        ("time", "", 0.03, 421, 424, ""),
    ):
        given = {"variant": variant, "version": version, "ctr": ctr, "first": first, "last": last}
        conn.execute(RATES, given | {"experiment": "new-model-may", "arm": arm})
    conn.execute(SERVED)
    for statement in NOTED.split(";\n"):
        conn.execute(statement)


def fill(registry: FakeRegistry) -> None:
    """Four versions, of which ``LIVE`` is live and ``TRIAL`` on trial."""
    now = datetime.now(UTC)
    for version, hours, ndcg, tags in (
        ("9", 200, 0.371, {"recommender": "popularity"}),
        (BAD, 100, 0.389, {}),
        (BEFORE, 54, 0.392, {}),
        (LIVE, 6, 0.396, {}),
        (TRIAL, 1, 0.401, {"refused": "nDCG@10 is not better beyond the noise"}),
    ):
        trained_at = (now - timedelta(hours=hours)).isoformat()
        metrics = {"ndcg_at_10": ndcg, "recall_at_10": ndcg - 0.016, "coverage": 0.096, "mrr": 0.62}
        given = {"recommender": "lightfm_hybrid", "trained_at": trained_at} | tags
        registry.add(version, metrics, **given)
    registry.aliases = {"champion": LIVE, "challenger": TRIAL}
    registry.tags = {"champion_history": json.dumps(["9", BEFORE, LIVE])}


LIMITS = {
    "serving.admin.parts.DATABASE_SECONDS": 30.0,
    "serving.admin.registry.LOOK_SECONDS": 20.0,
    "serving.admin.registry.METRICS_SECONDS": 10.0,
    "serving.admin.status.LOOK_SECONDS": 20.0,
    "serving.postgres.database.CALL_SECONDS": 25.0,
    "serving.postgres.database.HEALTH_SECONDS": 10.0,
    "serving.postgres.database.STATEMENT_SECONDS": 20.0,
}
"""Of a service that a busy machine does not make answer 503: a browser complains of each."""


@contextmanager
def running_world(
    database: str, home: Path, auth: str = "required", limits: Mapping[str, float] | None = None
) -> Iterator[World]:
    """The real application on a real Postgres; MLflow and Dagster are faked."""
    registry, dagster = FakeRegistry(), FakeDagster()
    fill(registry)
    patch = pytest.MonkeyPatch()
    patch.setattr("serving.admin.dagster.KEPT_SECONDS", KEPT_SECONDS)
    for name, seconds in (limits or {}).items():
        patch.setattr(name, seconds)
    settings = Settings(
        home=home,
        database_url=database,
        mlflow_url=registry.url,
        dagster_port=dagster.port,
        auth=auth,
        model_poll_seconds=0.2,
    )
    for version in (LIVE, BEFORE):
        make_snapshot(version).save(settings.snapshots / version)
    with connect(database, autocommit=True) as connection:
        key = make_key(connection, "admin", "ann")
    app = FeedApp(settings)
    server = uvicorn.Server(uvicorn.Config(app.asgi, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.02)
        listens_on_loopback_alone.cache_clear()
        url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        yield World(url, key, settings, registry, dagster)
    finally:
        server.should_exit = True
        thread.join(20)
        patch.undo()
        listens_on_loopback_alone.cache_clear()
        registry.close()
        dagster.close()
