"""When training starts by itself, and what keeps it waiting."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from models.profile.training_sections import Retraining
from storage.catalogue import queries
from storage.events.telemetry import write_audit
from storage.operations.releases import ROLLED_BACK, last_rollback

NOW = datetime.now(UTC)
RULES = Retraining()


@pytest.fixture
def eager(with_profile):
    """No cool-down, and no reason yet."""

    def change(**sections) -> None:
        waits = {"min_hours_between": 1e-9, "failure_hours": 1e-9}
        retraining = waits | sections.pop("retraining", {})
        with_profile(retraining=retraining, **sections)

    change()
    return change


def tick(instance, platform) -> dg.RunRequest | dg.SkipReason:
    from orchestration.daily import retraining

    return retraining(dg.build_sensor_context(instance), platform=platform)  # type: ignore[return-value]


@dg.job(name="daily")
def namesake() -> None:
    """Of the training's name, and without its assets, whose state is not to change."""


def begin(instance: dg.DagsterInstance, **options) -> dg.DagsterRun:
    """A training that is on its way, as the daemon would see it."""
    run = instance.create_run_for_job(namesake, **options)
    return instance.get_run_by_id(run.run_id)  # type: ignore[return-value]


def test_enough_new_interactions_start_a_training(trained, instance, platform, conn, eager) -> None:
    few = tick(instance, platform)
    assert isinstance(few, dg.SkipReason)
    assert "new interactions of 10000, no drift" in (few.skip_message or "")
    conn.execute(
        "INSERT INTO feed.interactions (event_id, user_id, item_id, type, occurred_at)"
        " SELECT gen_random_uuid(), 'u', 'i', 'impression', now() FROM generate_series(1, 5)"
    )
    eager(retraining={"min_new_interactions": 5})
    request = tick(instance, platform)
    conn.execute("DELETE FROM feed.interactions WHERE user_id = 'u'")
    assert isinstance(request, dg.RunRequest)
    assert "new interactions" in request.tags["feedwright/trigger"]
    assert request.tags["dagster/max_retries"] == "2"


def test_interactions_count_after_a_clock_that_was_set_back(
    trained, instance, platform, conn, eager, monkeypatch
) -> None:
    newest = platform.registry.newest()
    ahead = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    later = replace(newest, trained_at=ahead, tags={**newest.tags, "trained_at": ahead})
    monkeypatch.setattr(type(platform.registry), "newest", lambda self: later)
    conn.execute(
        "INSERT INTO feed.interactions (event_id, user_id, item_id, type, occurred_at, received_at)"
        " SELECT gen_random_uuid(), 'u', 'i', 'impression', now(), now() + interval '1 minute'"
        " FROM generate_series(1, 5)"
    )
    eager(retraining={"min_new_interactions": 5})
    request = tick(instance, platform)
    conn.execute("DELETE FROM feed.interactions WHERE user_id = 'u'")
    assert isinstance(request, dg.RunRequest)


def test_an_old_version_starts_a_training(trained, instance, platform, eager) -> None:
    assert isinstance(tick(instance, platform), dg.SkipReason)
    eager(serving={"max_model_age_hours": 1e-6})
    assert isinstance(tick(instance, platform), dg.RunRequest)


def test_drift_starts_a_training(trained, instance, platform, eager, registry, monkeypatch) -> None:
    monkeypatch.setattr(type(registry), "newest", lambda self: self.champion())

    def report(version: str, status: str) -> None:
        metadata = {"version": version, "status": status}
        event = dg.AssetMaterialization("drift_report", metadata=metadata)
        instance.report_runless_asset_event(event)

    live = registry.champion().version
    for version, status in ((live, "watch"), ("999", "drift")):
        report(version, status)
        assert isinstance(tick(instance, platform), dg.SkipReason)
    report(live, "drift")
    request = tick(instance, platform)
    assert isinstance(request, dg.RunRequest)
    assert "drifted" in request.tags["feedwright/trigger"]
    report(live, "stable")


def test_never_two_at_once(trained, instance, platform, eager) -> None:
    from orchestration.daily import daily_at_two

    eager(serving={"max_model_age_hours": 1e-6})
    run = begin(instance)
    try:
        for waits in (
            tick(instance, platform),
            daily_at_two(dg.build_schedule_context(instance), platform=platform),
        ):
            assert isinstance(waits, dg.SkipReason)
            assert f"on its way: run {run.run_id}" in (waits.skip_message or "")
    finally:
        instance.delete_run(run.run_id)
    asked = dg.build_schedule_context(instance, scheduled_execution_time=NOW)
    request = daily_at_two(asked, platform=platform)
    assert isinstance(request, dg.RunRequest)
    assert request.tags["feedwright/trigger"] == "schedule"
    assert request.tags["dagster/asset_partition_range_end"] == NOW.date().isoformat()


def test_what_counts_as_on_its_way(trained, instance) -> None:
    from orchestration.runs.going import going
    from orchestration.training.retraining import training_now

    assert training_now(instance) is None
    run = begin(instance)
    assert training_now(instance) == run
    assert going(instance, "rollback", run.job_name)
    assert not going(instance, "rollback", run.job_name, within=timedelta(0))
    instance.delete_run(run.run_id)


def test_failures_and_rollbacks_make_it_wait_longer() -> None:
    from orchestration.training.retraining import cool_down

    def wait(hours_later: float, rolled_back_at: datetime | None = None) -> str | None:
        now = datetime.now(UTC) + timedelta(hours=hours_later)
        return cool_down(instance, RULES, now=now, rolled_back_at=rolled_back_at)

    with dg.DagsterInstance.ephemeral() as instance:
        assert wait(0) is None

        def ended(event_type: dg.DagsterEventType) -> None:
            run = begin(instance)
            reports = {
                dg.DagsterEventType.RUN_FAILURE: instance.report_run_failed,
                dg.DagsterEventType.RUN_CANCELED: instance.report_run_canceled,
            }
            reports[event_type](run)

        assert namesake.execute_in_process(instance=instance).success
        assert "the next one waits 1 h" in (wait(0.9) or "")
        assert wait(1.1) is None
        ended(dg.DagsterEventType.RUN_FAILURE)
        assert "failed, number 1 in a row" in (wait(3.9) or "")
        assert wait(4.1) is None
        ended(dg.DagsterEventType.RUN_FAILURE)
        assert "number 2 in a row" in (wait(7.9) or "")
        assert wait(8.1) is None
        ended(dg.DagsterEventType.RUN_CANCELED)
        assert "the next one waits 1 h" in (wait(0.9) or "")
        assert wait(1.1) is None
        for _ in range(4):
            ended(dg.DagsterEventType.RUN_FAILURE)
        assert wait(23.9) is not None
        assert wait(24.1) is None  # a day is the longest
        lately = datetime.now(UTC) + timedelta(hours=24)
        assert "rollback" in (wait(25, rolled_back_at=lately) or "")


def test_the_real_log_has_the_last_training_and_the_last_rollback(
    trained, instance, platform, conn
) -> None:
    from orchestration.training.retraining import why_not_now

    now = datetime.now(UTC)
    assert "the next one waits" in (why_not_now(platform, instance, now=now) or "")
    for off_by in (timedelta(days=2), timedelta(days=-1)):  # later, and after a clock went back
        assert why_not_now(platform, instance, now=now + off_by) is None
    write_audit(conn, "a test", ROLLED_BACK, {"version": "0"})
    rolled_back_at = last_rollback(conn)
    conn.execute("DELETE FROM feed.audit_log WHERE actor = 'a test'")
    assert rolled_back_at is not None
    assert rolled_back_at > NOW


def test_no_champion_waits_for_the_first_training_alone(
    trained, instance, platform, eager, monkeypatch
) -> None:
    from orchestration.training import retraining

    later = datetime.now(UTC) + timedelta(hours=RULES.failure_hours)
    monkeypatch.setattr(type(platform.registry), "champion", lambda self: None)
    monkeypatch.setattr(queries, "count_received_since", lambda conn, since: 0)
    assert retraining.reason_to_train(platform, instance, now=NOW)[0] is None
    assert retraining.reason_to_train(platform, instance, now=later)[0] == "there is no champion"
    monkeypatch.setattr(type(platform.registry), "newest", lambda self: None)
    assert retraining.reason_to_train(platform, instance, now=later)[0] is None
