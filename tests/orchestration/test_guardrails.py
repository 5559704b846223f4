"""Who is compared with whom, what is kept of it, and what Dagster shows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import psycopg
import pytest
from psycopg.types.json import Jsonb

from going_live.guardrails import evaluate
from models.profile.operation_sections import Guardrails
from models.profile.schema import Profile, load_profile
from models.versions.version import CHALLENGER
from storage.operations.guardrail_reports import Report, open_breach
from storage.postgres.database import connect
from storage.settings import Settings
from tests.orchestration.conftest import run_job

NOW = datetime.now(UTC)
LIMITS = Guardrails(min_impressions=200, min_users=30, max_ctr_drop=0.5, max_conversion_drop=0.5)
Judge = Callable[..., dict[str | None, Report]]


@pytest.fixture
def profile() -> Profile:
    return load_profile("marketplace").model_copy(update={"guardrails": LIMITS})


@pytest.fixture
def db(database: str) -> Iterator[psycopg.Connection]:
    with connect(database, autocommit=True) as connection:
        yield connection


def show(
    conn: psycopg.Connection,
    version: str | None,
    *,
    variant: str = "champion",
    users: int = 200,
    clicks: int = 0,
    applies: int = 0,
    arm: str | None = None,
    hours_ago: float = 100,
) -> None:
    """Ten impressions a user; the first so many of these click, and apply, one each."""
    metadata: dict[str, object] = {"variant": variant}
    if version is not None:
        metadata["model_version"] = version
    if arm is not None:
        metadata["experiments"] = {"e": arm}
    at = NOW - timedelta(hours=hours_ago)
    for type, count, each in (
        ("impression", users, 10),
        ("click", clicks, 1),
        ("apply", applies, 1),
    ):
        conn.execute(
            "INSERT INTO feed.interactions"
            " (event_id, user_id, item_id, type, occurred_at, metadata)"
            " SELECT gen_random_uuid(), %s || u, 'i' || u, %s, %s, %s"
            " FROM generate_series(1, %s) AS u, generate_series(1, %s)",
            (f"{version} {variant} {arm} ", type, at, Jsonb(metadata), count, each),
        )


@pytest.fixture
def judge(db: psycopg.Connection, profile: Profile) -> Judge:
    def judge(live: str | None = "2") -> dict[str | None, Report]:
        reports = evaluate(db, profile, live=live, now=datetime.now(UTC))
        found = {one.arm or one.model_version: one for one in reports}
        assert len(found) == len(reports)
        stored = db.execute("SELECT id FROM feed.guardrail_reports ORDER BY id DESC LIMIT %s",
                            (len(reports),)).fetchall()  # fmt: skip
        assert {one.id for one in reports} == {id for (id,) in stored}
        if live is not None and live in found:
            breach = found[live].status == "breach"
            assert (open_breach(db, live) == found[live].id) is breach
        return found

    return judge


def test_the_live_version_is_held_against_other_versions(db, judge: Judge) -> None:
    show(db, "1", clicks=150)
    show(db, "2", clicks=140)
    assert judge()["2"].status == "ok"
    db.execute("TRUNCATE feed.interactions, feed.variant_hours, feed.watermarks")
    show(db, "1", clicks=150)
    show(db, "2", clicks=20)
    report = judge()["2"]
    assert report.status == "breach"
    assert report.detail["differences"]["ctr"]["high"] < -0.5
    assert report.detail["control"]["ctr"]["numerator"] == 150


def test_a_version_that_is_not_live_never_breaches(db, judge: Judge) -> None:
    show(db, "1", clicks=150)
    show(db, "2", clicks=0)
    for live in ("1", None):
        assert {one.status for one in judge(live).values()} == {"ok"}


def test_what_no_version_showed_is_no_baseline(db, judge: Judge) -> None:
    show(db, "2", clicks=20)
    show(db, None, variant="heuristic", clicks=200)
    assert judge()["2"].status == "not_enough_data"


def test_a_version_on_trial_before_it_went_live_is_one_version(db, judge: Judge) -> None:
    show(db, "1", clicks=150)
    show(db, "2", clicks=10)
    show(db, "2", variant="challenger", users=20, clicks=20)
    report = judge()["2"]
    assert (report.variant, report.impressions, report.status) == ("champion", 2200, "breach")


def test_a_good_challenger_does_not_make_the_live_version_a_bad_one(db, judge: Judge) -> None:
    show(db, "2", clicks=20)
    show(db, "3", variant="challenger", clicks=150)
    assert judge()["2"].status == "not_enough_data"
    show(db, "1", clicks=25)
    assert judge()["2"].status == "ok"


def test_what_was_judged_before_force_put_it_back_is_not_held_against_it(db, judge: Judge) -> None:
    show(db, "1", clicks=150)
    show(db, "2", clicks=20)
    assert judge()["2"].status == "breach"
    restored = {"action": "model.restored", "detail": Jsonb({"version": "2"})}
    insert = (
        "INSERT INTO feed.audit_log (occurred_at, actor, action, detail)"
        " VALUES (%(at)s, 'ann', %(action)s, %(detail)s)"
    )
    db.execute(insert, restored | {"at": datetime.now(UTC)})
    assert judge()["2"].status == "not_enough_data"
    db.execute("UPDATE feed.audit_log SET occurred_at = %s", (NOW - timedelta(hours=50),))
    show(db, "2", clicks=100, hours_ago=2)
    assert (judge()["2"].clicks, judge()["2"].status) == (100, "ok")
    show(db, "2", users=800, clicks=5, hours_ago=1)
    assert judge()["2"].status == "breach"  # it still hurts


def test_clicks_without_applies_breach_once_they_are_ripe(db, judge: Judge) -> None:
    show(db, "1", users=600, clicks=500, applies=300)
    show(db, "2", users=600, clicks=500, applies=0, hours_ago=1)
    found = judge()
    assert found["2"].status == "ok"  # they may still apply
    assert found["2"].detail["rates"]["conversion"]["note"].startswith("not enough data: 0 ripe")
    show(db, "2", users=600, clicks=500, applies=100)
    assert judge()["2"].status == "breach"


def test_nothing_shown_no_reports(db, judge: Judge) -> None:
    assert judge() == {}
    show(db, "2", users=5, clicks=5, applies=5)
    db.execute("DELETE FROM feed.interactions WHERE type <> 'apply'")
    assert judge() == {}  # an apply alone divides nothing


def test_arms_are_held_against_their_control(db, judge: Judge) -> None:
    arms: list[dict[str, Any]] = [
        {"name": name, "weight": 1, "ranked_by": by, "settings": {}}
        for name, by in (("now", None), ("new", "challenger"), ("nobody", "heuristic"))
    ]
    db.execute(
        "INSERT INTO feed.experiments (id, salt, variants, status, started_at, challenger_version)"
        " VALUES ('e', 's', %s, 'running', %s, '3'), ('draft', 's', '[]', 'draft', null, null)",
        (Jsonb(arms), NOW - timedelta(hours=200)),
    )
    show(db, "2", users=1500, clicks=1400, arm="now")
    show(db, "3", variant="challenger", users=1300, clicks=900, arm="new")
    show(db, None, variant="heuristic", users=200, clicks=100, arm="new")  # its fallback
    found = judge()
    new = found["new"]
    assert (new.experiment, new.variant, new.model_version) == ("e", "challenger", "3")
    assert (new.impressions, new.status) == (15_000, "breach")  # 29 % of the clicks are gone
    assert found["nobody"].status == "not_enough_data"
    assert found["2"].status == "not_enough_data"  # no other champion
    assert open_breach(db, "3") is None  # that is for the experiment


def test_coverage_and_latency_are_told(db, judge: Judge) -> None:
    db.execute("INSERT INTO feed.items (id) VALUES ('i1'), ('i2'), ('never shown')")
    db.execute(
        "INSERT INTO feed.served_minutes SELECT now() - interval '1 hour', 'champion', '2', '',"
        " 10, 0.1, array_fill(0::bigint, ARRAY[7]) || 10::bigint || array_fill(0::bigint, ARRAY[9])"
    )
    show(db, "2")
    detail = judge()["2"].detail
    assert detail["coverage"] == {"shown": 2, "eligible": 3, "share": pytest.approx(2 / 3)}
    assert (detail["served"]["requests"], detail["served"]["fallback"]) == (10, 0)
    assert 7.5 <= detail["served"]["p99_ms"] <= 10


def test_the_job_counts_and_judges(trained, instance, conn) -> None:
    show(conn, "1000", clicks=20, hours_ago=1)
    try:
        result = run_job(instance, "guardrails")
        assert result.success
        event = instance.get_latest_materialization_event(dg.AssetKey("guardrail_metrics"))
        metadata = event.asset_materialization.metadata
        assert metadata["ctr"].value.startswith("![plot](data:image/png;base64,")
        assert "champion 1000 | 2000 | 20 | 0.0100" in metadata["verdicts"].value
        counted = instance.get_latest_materialization_event(dg.AssetKey("variant_metrics"))
        assert counted.asset_materialization.metadata["hours_of_users"].value >= 200
    finally:
        conn.execute("DELETE FROM feed.interactions WHERE metadata->>'model_version' = '1000'")
        conn.execute("TRUNCATE feed.variant_hours, feed.variant_items, feed.watermarks")


def test_the_challenger_is_judged_from_the_log(trained: Settings, instance) -> None:
    from orchestration.resources import Platform

    registry = Platform().registry
    champion = registry.champion()
    assert champion is not None
    registry.client.set_registered_model_alias(registry.model_name, CHALLENGER, champion.version)
    try:
        assert run_job(instance, "off_policy").success
        told = json.loads(registry.get(champion.version).tags["off_policy"])
        assert told["note"] == "not enough data: no feeds since its training"
    finally:
        registry.client.delete_registered_model_alias(registry.model_name, CHALLENGER)
    assert run_job(instance, "off_policy").success  # nobody is on trial
