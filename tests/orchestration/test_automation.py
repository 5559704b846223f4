"""Schedules and sensors, evaluated on a real instance and database."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

import dagster as dg

from storage.settings import get_settings


def test_names_and_times_are_those_of_the_design() -> None:
    from orchestration.definitions import defs

    schedules = defs.get_repository_def().schedule_defs
    assert {one.name: one.cron_schedule for one in schedules} == {
        "daily_at_two": "0 2 * * *",
        "hourly_engagement": "5 * * * *",
        "hourly_tables": "20 * * * *",
        "quarter_hourly_trending": "*/15 * * * *",
        "ten_minutely_guardrails": "*/10 * * * *",
        "hourly_off_policy": "40 * * * *",
        "hourly_drift": "50 * * * *",
        "ten_minutely_experiments": "*/10 * * * *",
        "daily_privacy": "30 1 * * *",
    }
    assert all(one.description for one in schedules)


def test_a_run_is_registered_once(trained, registry) -> None:
    from storage.registry import tracking

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


def test_failures_are_told_by_cause(trained, instance, conn, monkeypatch) -> None:
    """Once when one begins, once a day, and once when it is over."""
    from orchestration.alerts import alerts, failed_run, recovered_run
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
    wrong: set[str] = set()

    @dg.op
    def step() -> None:
        if "step" in wrong:
            raise ValueError("on purpose")

    @dg.asset(check_specs=[dg.AssetCheckSpec("rows", asset="table", blocking=True)])
    def table() -> dg.MaterializeResult:
        passed = "rows" not in wrong
        check = dg.AssetCheckResult(check_name="rows", passed=passed, description="5 rows are bad")
        return dg.MaterializeResult(check_results=[check])

    @dg.asset(deps=[table])
    def after() -> None: ...

    @dg.job
    def work() -> None:
        step()

    tables = dg.Definitions([table, after], jobs=[dg.define_asset_job("tables", "*")])

    def run(job: dg.JobDefinition, *faults: str) -> str:
        wrong.clear()
        wrong.update(faults)
        result = job.execute_in_process(instance=instance, raise_on_error=False)
        last = result.get_run_success_event() if result.success else result.get_run_failure_event()
        context = dg.build_run_status_sensor_context(
            sensor_name="told",
            dagster_instance=instance,
            dagster_run=result.dagster_run,
            dagster_event=last,
        )
        if result.success:
            recovered_run(context, platform=Platform())
        else:
            failed_run(context.for_run_failure(), platform=Platform())
        return result.run_id

    try:
        checked = tables.resolve_job_def("tables")
        first = run(work, "step")
        run(work, "step")
        other = run(checked, "rows")
        conn.execute("UPDATE feed.alerts SET raised_at = raised_at - interval '1 day'")
        again = run(work, "step")
        conn.execute("UPDATE feed.alerts SET raised_at = raised_at + interval '1 day'")
        set_back = run(work, "step")  # the clock was ahead by a day
        run(work)
        run(work)
        run(checked)
        skipped = alerts(dg.build_sensor_context(instance), platform=Platform())
    finally:
        server.shutdown()
        get_settings.cache_clear()
    assert isinstance(skipped, dg.SkipReason)
    assert (skipped.skip_message or "").startswith("6 alerts delivered")
    told.sort(key=lambda one: one["id"])
    assert [one["title"] for one in told] == [
        "work fails at step: ValueError: on purpose",
        "tables fails at the check table/rows: 5 rows are bad",
        "work fails at step: ValueError: on purpose",
        "work fails at step: ValueError: on purpose",
        "All clear: work passes again at step",
        "All clear: tables passes again at the check table/rows",
    ]
    assert [one["detail"]["run"] for one in told[:4]] == [first, other, again, set_back]
    assert all(one["detail"]["address"].endswith(f"/runs/{one['detail']['run']}") for one in told)
    audited = conn.execute(
        "SELECT count(*) FROM feed.audit_log WHERE action = 'run.failed'"
        " AND detail->>'job' IN ('work', 'tables')"
    ).fetchone()
    assert audited == (5,)


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
