"""Rollback, activation and what follows them, on a real instance, database and registry."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import psycopg
import pytest

from going_live.releases import Releases
from models.versions.version import HISTORY_TAG
from storage.operations import guardrail_reports
from storage.operations.guardrail_reports import Report
from storage.postgres.database import DatabaseError
from storage.registry.registry import Registry
from storage.settings import Settings
from tests.orchestration.conftest import run_job


@pytest.fixture
def moves(trained: Settings) -> Releases:
    return Releases.of(trained, trained.database_url or "")


@pytest.fixture
def without_mlflow(trained: Settings) -> Releases:
    away = Settings(**trained.model_dump() | {"mlflow_url": "http://127.0.0.1:9"})
    return Releases.of(away, trained.database_url or "")


@pytest.fixture
def first(registry: Registry, moves: Releases, conn: psycopg.Connection, instance) -> Iterator[str]:
    """The version that is live, and the only one that ever was; it is live again afterwards."""
    champion = registry.champion()
    assert champion is not None
    registry.client.set_registered_model_tag(
        registry.model_name, HISTORY_TAG, json.dumps([champion.version])
    )
    yield champion.version
    conn.execute("DELETE FROM feed.guardrail_reports")
    if moves.activate(champion.version, actor="test", reason="test", force=True).previous is None:
        assert run_job(instance, "rescore").success


@pytest.fixture
def second(first: str, registry: Registry, moves: Releases) -> str:
    """A newer one, live, of the same run."""
    older = registry.get(first)
    tags = {"snapshot_artifact": "snapshot", "trained_at": older.trained_at or ""}
    made = registry.client.create_model_version(
        registry.model_name, "nowhere", run_id=older.run_id, tags=tags
    )
    return moves.activate(str(made.version), actor="test", reason="test").version or ""


@pytest.fixture
def breach(conn: psycopg.Connection) -> Callable[[str], None]:
    def report(version: str) -> None:
        now = datetime.now(UTC)
        found = Report(
            None, None, "champion", version, 1000, 1, 0, 0.001, None, "breach", {"reason": "test"}
        )
        guardrail_reports.save(conn, found, now - timedelta(days=7), now)

    return report


def said(result: object) -> str:
    assert isinstance(result, dg.SkipReason)
    return result.skip_message or ""


def lists_by(conn: psycopg.Connection) -> set[str]:
    return {v for (v,) in conn.execute("SELECT DISTINCT model_version FROM feed.recommendations")}


def test_a_breach_rolls_back_and_ranks_anew(
    instance, platform, conn, registry, moves, first, second, breach
) -> None:
    from orchestration.releases.sensors import guardrail_breach, ready_lists

    context = dg.build_sensor_context(instance)
    assert "no breach" in said(guardrail_breach(context, platform=platform))
    breach(first)  # which is not live
    assert "no breach" in said(guardrail_breach(context, platform=platform))
    breach(second)
    request = guardrail_breach(context, platform=platform)
    assert isinstance(request, dg.RunRequest)

    config = request.run_config["ops"]["roll_back"]["config"]
    stale = {"ops": {"roll_back": {"config": config | {"expected": first}}}}
    late = run_job(instance, "rollback", run_config=stale)
    assert late.success
    assert registry.champion().version == second  # the one that should go is gone
    assert not [event for event in late.all_node_events if event.step_key == "rank_anew" and
                event.is_step_success]  # fmt: skip

    conn.execute("UPDATE feed.recommendations SET model_version = %s", (second,))
    assert run_job(instance, "rollback", run_config=request.run_config).success
    assert registry.champion().version == first
    assert "guardrail report" in registry.get(second).tags["withdrawn"]
    assert lists_by(conn) == {first}
    assert said(ready_lists(context, platform=platform)) == f"all lists are of version {first}"
    actor, action = conn.execute(
        "SELECT actor, action FROM feed.audit_log ORDER BY id DESC LIMIT 1"
    ).fetchone()
    assert (actor, action) == ("guardrails", "model.rolled_back")

    moves.activate(second, actor="ann", reason="the report was wrong", force=True)
    assert "no breach" in said(guardrail_breach(context, platform=platform))  # it was answered
    breach(second)
    assert isinstance(guardrail_breach(context, platform=platform), dg.RunRequest)
    moves.rollback(actor="ann", reason="again")


def test_with_nothing_to_go_back_to_the_heuristic_answers(
    instance, platform, conn, registry, first, breach
) -> None:
    from orchestration.releases.sensors import guardrail_breach, ready_lists

    context = dg.build_sensor_context(instance)
    by_hand = run_job(instance, "rollback")
    assert not by_hand.success
    assert registry.champion().version == first
    failure = by_hand.failure_data_for_node("roll_back")
    assert "no earlier champion" in str(failure)
    breach(first)
    request = guardrail_breach(context, platform=platform)  # a failure by hand is no reason to wait
    assert isinstance(request, dg.RunRequest)
    assert run_job(instance, "rollback", run_config=request.run_config).success
    assert registry.champion() is None
    assert lists_by(conn) == set()
    assert said(ready_lists(context, platform=platform)) == "no champion"

    config = {"version": first, "reason": "mended"}
    refused = run_job(instance, "activate", run_config={"ops": {"put_live": {"config": config}}})
    assert not refused.success
    assert "withdrawn" in str(refused.failure_data_for_node("put_live"))
    forced = {"ops": {"put_live": {"config": config | {"force": True}}}}
    assert run_job(instance, "activate", run_config=forced).success
    assert registry.champion().version == first
    assert lists_by(conn) == {first}


def test_a_rollback_that_waits_for_mlflow_is_finished(
    instance, platform, conn, registry, without_mlflow, first, second, breach, monkeypatch
) -> None:
    from orchestration.releases.sensors import guardrail_breach, pending_rollbacks, ready_lists

    context = dg.build_sensor_context(instance)
    breach(second)
    with monkeypatch.context() as patch:
        away = Settings(**platform.settings.model_dump() | {"mlflow_url": "http://127.0.0.1:9"})
        patch.setattr(type(platform), "settings", away)
        request = guardrail_breach(context, platform=type(platform)())
        assert isinstance(request, dg.RunRequest)
        assert request.run_config["ops"]["roll_back"]["config"]["expected"] == second
        run = run_job(instance, "rollback", run_config=request.run_config)
        assert run.success
        waits = pending_rollbacks(context, platform=type(platform)())
        assert "MLflow is away" in said(waits)
    assert registry.champion().version == second
    conn.execute("UPDATE feed.recommendations SET model_version = %s", (second,))
    assert f"version {first} is live" in said(pending_rollbacks(context, platform=platform))
    assert registry.champion().version == first
    assert said(pending_rollbacks(context, platform=platform)) == "nothing waits"

    assert isinstance(ready_lists(context, platform=platform), dg.RunRequest)
    assert run_job(instance, "rescore").success
    assert lists_by(conn) == {first}


def test_a_database_that_is_away_is_said_at_once(trained, instance, monkeypatch) -> None:
    from orchestration.releases.sensors import guardrail_breach
    from orchestration.resources import Platform

    away = trained.model_copy(update={"database_url": "postgresql://x@127.0.0.1:9/x"})
    monkeypatch.setattr(Platform, "settings", away)
    with pytest.raises(DatabaseError, match="Nothing listens there"):
        guardrail_breach(dg.build_sensor_context(instance), platform=Platform())
