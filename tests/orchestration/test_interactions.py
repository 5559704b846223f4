"""No interaction is ever passed over: late, early, in between, or after a run that failed."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import dagster as dg
import fsspec
import psycopg
import pytest

from orchestration.data import checks
from storage.events.lake import Lake
from storage.postgres.database import connect
from storage.settings import Settings
from tests.orchestration.conftest import run_job
from tests.orchestration.test_daily import add_interaction


@pytest.fixture
def lake(trained: Settings) -> Lake:
    return Lake(trained.lake)


@pytest.fixture
def settled(conn: psycopg.Connection, lake: Lake, instance: dg.DagsterInstance) -> None:
    """As if all that is there had come long ago, and had been read."""
    assert read(instance).success
    conn.execute("UPDATE feed.interactions SET received_at = received_at - interval '1 hour'")


def read(
    instance: dg.DagsterInstance, first: date | None = None, last: date | None = None
) -> dg.ExecuteInProcessResult:
    """A run of `interactions` for these days; of today without any."""
    today = datetime.now(UTC).date()
    days = (first or today, last or first or today)
    return run_job(instance, "daily", days=days, asset_selection=[dg.AssetKey("interactions")])


def in_lake(lake: Lake, day: date) -> list[str]:
    return lake.scan([day]).collect()["event_id"].to_list() if day in lake.days() else []


def in_postgres(conn: psycopg.Connection, day: date) -> set[str]:
    rows = conn.execute(
        "SELECT event_id::text FROM feed.interactions"
        " WHERE (occurred_at AT TIME ZONE 'UTC')::date = %s",
        (day,),
    )
    return {event_id for (event_id,) in rows}


def test_late_ones_are_read_whatever_days_the_run_is_for(
    settled, conn, instance, lake: Lake
) -> None:
    now = datetime.now(UTC)
    late = [now - timedelta(days=5), now - timedelta(days=300)]  # the second before any partition
    events = {at.date(): add_interaction(conn, at) for at in late}
    yesterday = now.date() - timedelta(days=1)
    assert read(instance, yesterday, now.date()).success
    assert all(event in in_lake(lake, day) for day, event in events.items())
    assert lake.first_day() == late[1].date()
    conn.execute("DELETE FROM feed.interactions WHERE occurred_at < now() - interval '200 days'")
    lake.write_day(late[1].date(), lake.scan([]).collect())


def test_a_run_for_one_old_day_moves_on_no_further_than_it_read(
    settled, conn, instance, lake: Lake
) -> None:
    now = datetime.now(UTC)
    event = add_interaction(conn, now - timedelta(days=3))
    assert read(instance, now.date() - timedelta(days=8)).success
    assert event in in_lake(lake, (now - timedelta(days=3)).date())


def test_one_day_alone_is_read_in_any_case(settled, conn, instance, lake: Lake) -> None:
    day = datetime.now(UTC).date() - timedelta(days=2)
    assert read(instance, day).success  # other files left and took away rows of that day
    before = in_lake(lake, day)
    conn.execute("DELETE FROM feed.interactions WHERE event_id = %s", (before[0],))
    assert read(instance, day).success
    assert in_lake(lake, day) == before[1:]


def test_a_run_for_no_day_mends_the_lake_and_reads_today(
    settled, conn, instance, lake: Lake
) -> None:
    """Started in Dagster without a partition. A file that is broken would end each training."""
    now = datetime.now(UTC)
    today = now.date()
    cut, damaged = today - timedelta(days=4), today - timedelta(days=5)
    assert read(instance, damaged, cut).success
    event = add_interaction(conn, now - timedelta(seconds=1))
    with fsspec.open(lake.path(cut), "wb") as file:
        file.write(b"no space left")
    damage(lake, damaged)
    result = run_job(instance, "daily", asset_selection=[dg.AssetKey("interactions")])
    assert result.success
    for day in (cut, damaged):
        assert set(in_lake(lake, day)) == in_postgres(conn, day)
    assert event in in_lake(lake, today)


def damage(lake: Lake, day: date) -> None:
    """Bytes in the middle of the day's file become zeros; its ends stay sound."""
    with fsspec.open(lake.path(day), "rb") as file:
        content = file.read()
    middle = len(content) // 4
    with fsspec.open(lake.path(day), "wb") as file:
        file.write(content[:middle] + bytes(64) + content[middle + 64 :])


def test_what_commits_after_the_run_is_in_the_next(
    settled, conn, instance, trained: Settings, lake: Lake
) -> None:
    now = datetime.now(UTC)
    assert trained.database_url is not None
    with connect(trained.database_url) as slow:
        event = add_interaction(slow, now - timedelta(days=4))
        (began,) = slow.execute("SELECT now()").fetchone() or (None,)
        add_interaction(conn, now)
        assert read(instance).success
        extent = lake.extent()
        assert extent is not None
        assert extent.received_until == began
    assert read(instance).success
    assert event in in_lake(lake, (now - timedelta(days=4)).date())


STRAYS = (
    "INSERT INTO feed.interactions (event_id, user_id, item_id, type, occurred_at)"
    " SELECT gen_random_uuid(), 'nobody ' || n, item_id, type, occurred_at FROM feed.interactions,"
    " generate_series(1, %s) AS n WHERE event_id = %s"
)


def strays_check(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    (found,) = [
        one for one in result.get_asset_check_evaluations() if one.check_name == checks.STRAYS
    ]
    return found


def test_events_of_unknown_users_stop_nothing(
    settled, conn, instance, trained: Settings, lake: Lake
) -> None:
    """Whoever may send events can make them up: a whole day of them, ten times what is true."""
    before = lake.extent()
    assert before is not None
    event = add_interaction(conn, datetime.now(UTC))
    conn.execute(STRAYS, (500, event))
    try:
        result = read(instance)
    finally:
        conn.execute("DELETE FROM feed.interactions WHERE user_id LIKE 'nobody %'")
    found = strays_check(result)
    assert result.success
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "of 500 unknown users" in str(found.description)
    assert event in in_lake(lake, datetime.now(UTC).date())
    extent = lake.extent()
    assert extent is not None
    assert extent.received_until != before.received_until  # it moved on
    assert read(instance).success


def test_a_log_of_which_nearly_nothing_is_known_is_not_trained_on(
    settled, conn, instance, lake: Lake
) -> None:
    before = lake.extent()
    at = datetime.now(UTC) - timedelta(days=1)
    unknown = add_interaction(conn, at, item="nobody knows this item")
    (rows,) = conn.execute("SELECT count(*) FROM feed.interactions").fetchone() or (0,)
    conn.execute(STRAYS, (rows * 10, unknown))
    try:
        for _ in range(2):
            result = read(instance)
            assert not result.success
            found = strays_check(result)
            assert found.severity is dg.AssetCheckSeverity.ERROR
            assert str(found.description).endswith("load the users and items that they name")
            assert lake.extent() == before  # the next run looks at these days again
    finally:
        conn.execute("DELETE FROM feed.interactions WHERE item_id = 'nobody knows this item'")
    assert read(instance, at.date()).success
    assert unknown not in in_lake(lake, at.date())
    assert lake.extent() != before


def test_a_day_that_no_calendar_has_goes_to_the_quarantine(settled, conn, instance) -> None:
    conn.execute(
        "INSERT INTO feed.interactions (event_id, user_id, item_id, type, occurred_at)"
        " VALUES (gen_random_uuid(), 'u', 'year 20026', 'click', '20026-01-01 00:00Z')"
    )
    assert read(instance).success
    reasons = conn.execute(
        "SELECT reason FROM feed.interactions_rejected WHERE raw LIKE '%year 20026%'"
    ).fetchall()
    assert reasons == [("occurred_at is in the future",)]
