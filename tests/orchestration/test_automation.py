"""Schedules and sensors, evaluated on a real instance and database."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import dagster as dg
import pytest

from models.registry import Registry
from storage import queries
from storage.database import DatabaseError
from storage.settings import Settings, get_settings, mlflow_tracking_uri
from storage.telemetry import VariantRates, save_guardrail_report
from tests.orchestration.conftest import run_job


@pytest.fixture
def platform(trained: Settings):
    from orchestration.resources import Platform

    return Platform()


@pytest.fixture
def registry(trained: Settings) -> Registry:
    uri = mlflow_tracking_uri(trained, trained.database_url or "")
    return Registry(uri, trained.model_name, trained.artifacts)


@pytest.fixture
def with_profile(platform, monkeypatch: pytest.MonkeyPatch):
    """Give sections of the profile other values."""

    def change(**sections) -> None:
        profile = platform.profile.model_dump()
        for section, values in sections.items():
            profile[section] |= values
        changed = type(platform.profile).model_validate(profile)
        # Dagster copies a resource that it is given, so it is the class that must know.
        monkeypatch.setattr(type(platform), "profile", changed)

    return change


def test_names_and_times_are_those_of_the_design() -> None:
    from orchestration.schedules import SCHEDULES

    assert {one.name: one.cron_schedule for one in SCHEDULES} == {
        "daily_at_two": "0 2 * * *",
        "hourly_engagement": "5 * * * *",
        "quarter_hourly_trending": "*/15 * * * *",
        "hourly_guardrails": "20 * * * *",
        "daily_privacy": "30 1 * * *",
    }
    assert all(one.description for one in SCHEDULES)


def test_the_daily_schedule_asks_for_what_changed(trained, instance, platform) -> None:
    from orchestration.partitions import RANGE_END, RANGE_START
    from orchestration.schedules import daily_at_two

    now = datetime.now(UTC)
    context = dg.build_schedule_context(instance, scheduled_execution_time=now)
    (request,) = list(daily_at_two(context, platform=platform))  # type: ignore[arg-type]
    assert request.tags[RANGE_END] == now.date().isoformat()
    assert request.tags[RANGE_START] <= request.tags[RANGE_END]
    assert request.tags["feedwright/trigger"] == "schedule"


def test_enough_new_interactions_start_a_training(
    trained, instance, platform, conn, with_profile
) -> None:
    from orchestration.sensors import new_interactions

    context = dg.build_sensor_context(instance)
    early = new_interactions(context, platform=platform)
    assert isinstance(early, dg.SkipReason)
    assert "less than" in (early.skip_message or "")
    soon = {"min_hours_between": 1e-9}
    with_profile(retraining=soon)
    few = new_interactions(context, platform=platform)
    assert isinstance(few, dg.SkipReason)
    assert "new interactions of 10000" in (few.skip_message or "")
    conn.execute(
        "INSERT INTO feed.interactions (event_id, user_id, item_id, type, occurred_at)"
        " SELECT gen_random_uuid(), 'u', 'i', 'impression', now() FROM generate_series(1, 5)"
    )
    with_profile(retraining=soon | {"min_new_interactions": 5})
    request = new_interactions(context, platform=platform)
    conn.execute("DELETE FROM feed.interactions WHERE user_id = 'u'")
    assert isinstance(request, dg.RunRequest)
    assert "new interactions" in request.tags["feedwright/trigger"]


def test_an_old_champion_starts_a_training(trained, instance, platform, with_profile) -> None:
    from orchestration.sensors import stale_model

    context = dg.build_sensor_context(instance)
    assert isinstance(stale_model(context, platform=platform), dg.SkipReason)
    old = {"serving": {"max_model_age_hours": 1e-6}}
    with_profile(**old)
    tried = stale_model(context, platform=platform)
    assert isinstance(tried, dg.SkipReason)
    assert "was tried less than 1 h ago" in (tried.skip_message or "")
    with_profile(**old, retraining={"min_hours_between": 1e-9})
    assert isinstance(stale_model(context, platform=platform), dg.RunRequest)


def test_a_training_that_failed_is_not_tried_again_at_once(
    trained, instance, platform, conn, monkeypatch
) -> None:
    from orchestration import sensors

    long_ago = datetime.now(UTC) - timedelta(days=30)
    monkeypatch.setattr(sensors, "_last_trained", lambda platform, live: long_ago)
    monkeypatch.setattr(queries, "count_received_since", lambda conn, since: 10**9)
    skipped = sensors.new_interactions(dg.build_sensor_context(instance), platform=platform)
    assert isinstance(skipped, dg.SkipReason)
    assert "less than 1 h ago" in (skipped.skip_message or "")


def test_a_breach_rolls_back_and_ranks_anew(trained, instance, platform, conn, registry) -> None:
    from orchestration.sensors import guardrail_breach

    first = registry.champion()
    context = dg.build_sensor_context(instance)
    now = datetime.now(UTC)

    def breach(version: str) -> None:
        rates = VariantRates("champion", version, 1000, 1, 0, 0)
        save_guardrail_report(conn, rates, now - timedelta(days=7), now, "breach", {})

    assert isinstance(guardrail_breach(context, platform=platform), dg.SkipReason)
    breach(first.version)
    alone = guardrail_breach(context, platform=platform)
    assert isinstance(alone, dg.SkipReason)
    assert "no earlier champion" in (alone.skip_message or "")

    assert run_job(instance, "daily", days=(now.date(), now.date())).success
    second = registry.champion()
    assert int(second.version) > int(first.version)
    assert isinstance(guardrail_breach(context, platform=platform), dg.SkipReason)
    breach(second.version)
    request = guardrail_breach(context, platform=platform)
    assert isinstance(request, dg.RunRequest)
    stale = dg.RunConfig({"roll_back": {"config": {"version": first.version}}})
    assert run_job(instance, "rollback", run_config=stale).success
    assert registry.champion().version == second.version  # the one that should go is gone

    assert run_job(instance, "rollback", run_config=request.run_config).success
    assert registry.champion().version == first.version
    assert "rolled_back_at" in registry.get(second.version).tags
    versions = conn.execute("SELECT DISTINCT model_version FROM feed.recommendations").fetchall()
    assert versions == [(first.version,)]
    action, detail = conn.execute(
        "SELECT action, detail FROM feed.audit_log ORDER BY id DESC LIMIT 1"
    ).fetchone()
    assert action == "model.rolled_back"
    assert "guardrail report" in detail["reason"]


def test_a_run_is_registered_once(trained, registry) -> None:
    from models import tracking

    champion, versions = registry.champion(), registry.versions()
    again = tracking.register(
        registry,
        champion.run_id,
        vectors=None,  # type: ignore[arg-type]
        dataset=None,  # type: ignore[arg-type]
        comparison=None,  # type: ignore[arg-type]
        trained_at=datetime.now(UTC),
    )
    registry.client.delete_registered_model_alias(registry.model_name, "challenger")
    assert again.version == champion.version
    assert len(registry.versions()) == len(versions)


def test_a_run_that_breaks_off_is_marked_in_mlflow(trained, registry) -> None:
    from models import tracking

    run_id = registry.client.create_run(registry.experiment_id()).info.run_id
    with pytest.raises(KeyboardInterrupt), tracking.failing(registry, run_id):
        raise KeyboardInterrupt
    assert registry.client.get_run(run_id).info.status == "FAILED"


def test_a_database_that_is_away_is_said_at_once(trained, instance, monkeypatch) -> None:
    from orchestration.resources import Platform
    from orchestration.sensors import guardrail_breach

    away = trained.model_copy(update={"database_url": "postgresql://x@127.0.0.1:9/x"})
    monkeypatch.setattr(Platform, "settings", away)
    with pytest.raises(DatabaseError, match="Nothing listens there"):
        guardrail_breach(dg.build_sensor_context(instance), platform=Platform())


def test_a_failed_run_is_told(trained, instance, conn, monkeypatch) -> None:
    from orchestration.resources import Platform
    from orchestration.sensors import failed_run

    told: list[dict] = []

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

    server = HTTPServer(("127.0.0.1", 0), Webhook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("FEEDWRIGHT_WEBHOOK_URL", f"http://127.0.0.1:{server.server_port}/")
    get_settings.cache_clear()

    @dg.op
    def breaks() -> None:
        raise ValueError("on purpose")

    @dg.job
    def broken() -> None:
        breaks()

    try:
        result = broken.execute_in_process(instance=instance, raise_on_error=False)
        context = dg.build_run_status_sensor_context(
            sensor_name="failed_run",
            dagster_instance=instance,
            dagster_run=result.dagster_run,
            dagster_event=result.get_run_failure_event(),
        ).for_run_failure()
        failed_run(context, platform=Platform())
    finally:
        server.shutdown()
        get_settings.cache_clear()
    assert told[0]["job"] == "broken"
    assert told[0]["run"] == result.run_id
    (detail,) = conn.execute(
        "SELECT detail FROM feed.audit_log WHERE action = 'run.failed' ORDER BY id DESC LIMIT 1"
    ).fetchone()
    assert detail["run"] == result.run_id


def test_two_trainings_share_a_pool(trained) -> None:
    from orchestration.definitions import defs

    graph = defs.resolve_asset_graph()
    pools = {
        key.to_user_string(): graph.get(key).assets_def.op.pool
        for key in graph.materializable_asset_keys
    }
    assert pools["lightfm_hybrid"] == pools["offline_evaluation"] == "training"
    assert pools["interactions"] == "lake"


def test_a_wrong_profile_is_said_at_once(installation, monkeypatch, capsys, tmp_path) -> None:
    from orchestration.launch import main

    profile = tmp_path / "wrong.yaml"
    profile.write_text("name: wrong\nevaluation: {k: 0}\n")
    monkeypatch.setenv("FEEDWRIGHT_PROFILE", str(profile))
    get_settings.cache_clear()
    try:
        assert main() == 1
    finally:
        monkeypatch.undo()
        get_settings.cache_clear()
    assert "evaluation.k" in capsys.readouterr().out
