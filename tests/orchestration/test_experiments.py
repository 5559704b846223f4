"""The job that looks at experiments, as Dagster runs it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import psycopg

from going_live.experiments import create, end, find, parse, start
from models.profile.schema import load_profile
from storage.settings import Settings
from tests.orchestration.conftest import run_job


def test_the_job_takes_the_next_step(
    instance: dg.DagsterInstance, installation: Settings, conn: psycopg.Connection
) -> None:
    profile = load_profile("marketplace")
    arms = [{"name": "as-now"}, {"name": "by-time", "ranked_by": "time"}]
    ramp = [{"share": 0.1, "hours": 1, "min_impressions": 0}, {"share": 1.0}]
    create(conn, parse({"id": "ramp", "arms": arms, "ramp": ramp}), profile, actor="ann")
    began = datetime.now(UTC) - timedelta(hours=2)
    start(conn, "ramp", profile, actor="ann", challenger=lambda: None, now=began)
    result = run_job(instance, "experiments")
    assert result.success
    [materialized] = result.get_step_success_events()
    assert materialized.step_key == "step_experiments"
    assert find(conn, "ramp").share == 1.0
    end(conn, "ramp", actor="ann")
