"""Schedules and sensors, evaluated on a real instance and database."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

import dagster as dg
import pytest

from storage.settings import get_settings


def test_names_and_times_are_those_of_the_design() -> None:
    from orchestration.schedules import SCHEDULES

    assert {one.name: one.cron_schedule for one in SCHEDULES} == {
        "daily_at_two": "0 2 * * *",
        "hourly_engagement": "5 * * * *",
        "quarter_hourly_trending": "*/15 * * * *",
        "ten_minutely_guardrails": "*/10 * * * *",
        "hourly_off_policy": "40 * * * *",
        "hourly_drift": "50 * * * *",
        "ten_minutely_experiments": "*/10 * * * *",
        "daily_privacy": "30 1 * * *",
    }
    assert all(one.description for one in SCHEDULES)


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
    assert again.run_id == champion.run_id
    assert len(registry.versions()) == len(versions)


def test_a_run_that_breaks_off_is_marked_in_mlflow(trained, registry) -> None:
    from models import tracking

    run_id = registry.client.create_run(registry.experiment_id()).info.run_id
    with pytest.raises(KeyboardInterrupt), tracking.failing(registry, run_id):
        raise KeyboardInterrupt
    assert registry.client.get_run(run_id).info.status == "KILLED"
    with pytest.raises(ValueError, match="on purpose"), tracking.failing(registry, run_id):
        raise ValueError("on purpose")
    assert registry.client.get_run(run_id).info.status == "FAILED"


def test_a_failed_run_is_told(trained, instance, conn, monkeypatch) -> None:
    from orchestration.alerts import alerts, failed_run
    from orchestration.resources import Platform

    told: list[dict] = []

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

    server = HTTPServer(("127.0.0.1", 0), Webhook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    conn.execute("DELETE FROM feed.alerts")
    monkeypatch.setenv("FEEDWRIGHT_WEBHOOK_URL", f"http://127.0.0.1:{server.server_port}/")
    get_settings.cache_clear()

    @dg.op
    def breaks() -> None:
        raise ValueError("on purpose")

    @dg.job
    def broken() -> None:
        breaks()

    try:
        for _ in range(2):  # of a job that fails again and again, one alert an hour
            result = broken.execute_in_process(instance=instance, raise_on_error=False)
            context = dg.build_run_status_sensor_context(
                sensor_name="failed_run",
                dagster_instance=instance,
                dagster_run=result.dagster_run,
                dagster_event=result.get_run_failure_event(),
            ).for_run_failure()
            failed_run(context, platform=Platform())
        skipped = alerts(dg.build_sensor_context(instance), platform=Platform())
    finally:
        server.shutdown()
        get_settings.cache_clear()
    assert isinstance(skipped, dg.SkipReason)
    assert (skipped.skip_message or "").startswith("1 alerts delivered")
    assert [one["detail"]["job"] for one in told] == ["broken"]
    assert told[0]["detail"]["run"] != result.run_id
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
