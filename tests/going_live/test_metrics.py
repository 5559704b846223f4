"""What /admin/metrics tells, and what it says when there is not enough data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from going_live.metrics import metrics
from models.profile.operation_sections import Guardrails
from models.profile.schema import load_profile
from storage.operations import variant_counts
from storage.postgres.database import connect

NOW = datetime.now(UTC)
PROFILE = load_profile("marketplace").model_copy(
    update={"guardrails": Guardrails(min_impressions=100, min_users=30)}
)


@pytest.fixture
def conn(database: str) -> Iterator[psycopg.Connection]:
    with connect(database, autocommit=True) as connection:
        yield connection


def told(conn: psycopg.Connection, days: float = 7) -> dict[str, Any]:
    variant_counts.count_new(
        conn, conversion_hours=PROFILE.guardrails.conversion_hours, days=7, now=NOW
    )
    found = metrics(conn, PROFILE, days, datetime.now(UTC))
    return json.loads(json.dumps(found, allow_nan=False))  # it goes out as JSON


def show(conn: psycopg.Connection, prefix: str, users: int, clicks: int, metadata: object) -> None:
    for type, count, each in (("impression", users, 5), ("click", clicks, 1)):
        conn.execute(
            "INSERT INTO feed.interactions"
            " (event_id, user_id, item_id, type, occurred_at, metadata)"
            " SELECT gen_random_uuid(), %s || u, 'i', %s, %s, %s"
            " FROM generate_series(1, %s) AS u, generate_series(1, %s)",
            (prefix, type, NOW - timedelta(hours=1), Jsonb(metadata), count, each),
        )


def test_nothing_yet(conn) -> None:
    empty = metrics(conn, PROFILE, 7, NOW)
    assert empty["window"]["counted_until"] is None
    found = told(conn)
    assert (found["by_variant"], found["by_experiment"], found["served"]) == ([], [], [])
    assert found["note"] == "not enough data: nothing was shown in these days"
    assert found["coverage"]["note"] == "not enough data: no item may be shown"
    assert found["fallback"] == {"share": None, "by_reason": {}}


def test_counts_stand_beside_rates(conn) -> None:
    conn.execute("INSERT INTO feed.items (id) VALUES ('i'), ('j')")
    show(conn, "a", 60, 30, {"variant": "champion", "model_version": "1"})
    show(conn, "b", 4, 0, {"variant": "heuristic"})
    found = told(conn)
    champion, heuristic = found["by_variant"]
    ctr = champion["metrics"]["ctr"]
    assert (ctr["numerator"], ctr["denominator"], ctr["users"], ctr["value"]) == (30, 300, 60, 0.1)
    assert ctr["low"] < 0.1 < ctr["high"]
    assert (ctr["enough"], ctr["note"]) == (True, None)
    conversion = champion["metrics"]["conversion"]
    assert (conversion["value"], conversion["enough"]) == (None, False)
    assert conversion["note"] == "not enough data: 0 ripe clicks, 100 are needed"
    assert heuristic["metrics"]["ctr"]["note"] == "not enough data: 20 impressions, 100 are needed"
    assert champion["coverage"]["share"] == 0.5
    assert {point["variant"]: point["clicks"] for point in found["series"]} == {
        "champion": 30, "heuristic": 0,
    }  # fmt: skip
    assert found["note"] is None


def test_experiments_are_told_since_they_began(conn) -> None:
    arms: list[dict[str, Any]] = [
        {"name": name, "weight": 1, "ranked_by": None, "settings": {}} for name in ("now", "new")
    ]
    conn.execute(
        "INSERT INTO feed.experiments (id, salt, variants, status, started_at) VALUES"
        " ('e', 's', %(arms)s, 'running', now() - interval '2 days'),"
        " ('draft', 's', %(arms)s, 'draft', null)",
        {"arms": Jsonb(arms)},
    )
    assert told(conn)["by_experiment"][0]["arms"][1]["differences"] == {}
    for arm, users in (("now", 100), ("new", 500)):
        show(conn, arm, users, users // 2, {"variant": "champion", "experiments": {"e": arm}})
    (one,) = told(conn, days=0.01)["by_experiment"]
    control, new = one["arms"]
    assert (control["control"], control["differences"], new["control"]) == (True, None, False)
    assert new["differences"]["ctr"]["relative"] == pytest.approx(0)
    assert new["differences"]["ctr"]["low"] < 0 < new["differences"]["ctr"]["high"]
    assert one["sample_ratio"]["users"] == [100, 500]
    assert one["sample_ratio"]["p_value"] < 1e-9
