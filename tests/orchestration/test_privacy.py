"""Who was erased is gone everywhere, what is old goes, and ready lists follow what users do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
import polars as pl
import psycopg
import pytest

from models.catalogue.snapshots.snapshot import Snapshot
from storage.catalogue import refresh_queue
from storage.events.lake import Lake
from storage.privacy import erasures, people
from storage.settings import Settings
from tests.orchestration.conftest import run_job
from tests.orchestration.test_daily import add_interaction
from tests.orchestration.test_interactions import damage

REFRESH = {"ops": {"refresh_waiting_lists": {"config": {"at_once": 10}}}}


@pytest.fixture
def lake(trained: Settings) -> Lake:
    return Lake(trained.lake)


def listed(conn: psycopg.Connection, user: str) -> list[str]:
    query = "SELECT item_id FROM feed.recommendations WHERE user_id = %s ORDER BY rank"
    return [item for (item,) in conn.execute(query, (user,))]


def with_lists(conn: psycopg.Connection, n: int) -> list[str]:
    query = "SELECT DISTINCT user_id FROM feed.recommendations ORDER BY 1 LIMIT %s"
    return [user for (user,) in conn.execute(query, (n,))]


def waiting(instance: dg.DagsterInstance) -> dg.RunRequest | dg.SkipReason:
    from orchestration.feed.refresh import waiting_lists
    from orchestration.resources import Platform

    told = waiting_lists(dg.build_sensor_context(instance), platform=Platform())
    assert isinstance(told, dg.RunRequest | dg.SkipReason)
    return told


def test_a_signal_makes_the_users_list_anew(trained, conn, instance) -> None:
    conn.execute("DELETE FROM feed.refresh_queue")
    assert isinstance(waiting(instance), dg.SkipReason)
    user, other = with_lists(conn, 2)
    before, others = listed(conn, user), listed(conn, other)
    conn.execute(
        "INSERT INTO feed.interactions (event_id, user_id, item_id, type, occurred_at)"
        " SELECT gen_random_uuid(), %s, item, 'view', now() FROM unnest(%s::text[]) AS item",
        (user, before[:3]),
    )
    conn.execute("UPDATE feed.recommendations SET generated_at = now() - interval '1 hour'")
    refresh_queue.request_now(conn, [user, "nobody knows them"])
    assert isinstance(waiting(instance), dg.RunRequest)
    assert run_job(instance, "refresh").success
    after = listed(conn, user)
    assert len(after) == len(before)
    assert not {*after} & {*before[:3]}
    assert listed(conn, other) == others
    (fresh,) = conn.execute(
        "SELECT array_agg(DISTINCT user_id) FROM feed.recommendations"
        " WHERE generated_at > now() - interval '30 minutes'"
    ).fetchone()
    assert fresh == [user]
    refresh_queue.request_now(conn, [user])
    assert isinstance(waiting(instance), dg.SkipReason)  # ten minutes are not over
    conn.execute("DELETE FROM feed.interactions WHERE type = 'view' AND item_id = ANY(%s)"
                 " AND user_id = %s AND received_at > now() - interval '5 minutes'",
                 (before[:3], user))  # fmt: skip


def test_a_run_leaves_alone_whom_another_has(
    trained, conn, instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestration.feed import lists, refresh

    made: list[str] = []
    others: list[refresh_queue.Taken] = []
    make = lists.refresh_lists_of

    def noted(platform, users: Sequence[str]) -> pl.DataFrame:
        made.extend(users)
        others.append(
            refresh_queue.take(conn, 5, timedelta(minutes=10))
        )  # another run, at the same time
        return make(platform, users)

    monkeypatch.setattr(refresh, "refresh_lists_of", noted)
    conn.execute("DELETE FROM feed.refresh_queue")
    users = with_lists(conn, 40)
    refresh_queue.request_now(conn, users)
    assert run_job(instance, "refresh", run_config=REFRESH).success
    elsewhere = [user for taken in others for user in taken.users]
    assert len(elsewhere) >= 10
    assert sorted(made + elsewhere) == users
    for taken in others:
        refresh_queue.done(conn, taken, timedelta(minutes=10))
    assert refresh_queue.due(conn, timedelta(minutes=10)) == 0
    conn.execute("DELETE FROM feed.refresh_queue")


def test_lists_that_fail_their_check_leave_the_old_ones(
    trained, conn, instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestration.feed import lists as feed

    (user,) = with_lists(conn, 1)
    before = listed(conn, user)
    nothing = pl.Series([], dtype=pl.String)
    monkeypatch.setattr(feed, "_may_be_shown", lambda *_: nothing)
    refresh_queue.request_now(conn, [user])
    assert not run_job(instance, "refresh").success
    assert listed(conn, user) == before
    conn.execute("DELETE FROM feed.refresh_queue")


def test_an_erased_user_is_gone_everywhere(
    trained: Settings, conn, instance, lake: Lake, without_plots, few_recommenders
) -> None:
    (gone, kept) = (
        conn.execute(
            "SELECT array_agg(user_id ORDER BY n DESC) FROM (SELECT user_id, count(*) AS n"
            " FROM feed.interactions GROUP BY 1 ORDER BY n DESC LIMIT 2) AS most"
        )
        .fetchone()[0]
    )  # fmt: skip
    of = pl.col("user_id")
    rows_of_kept = lake.scan().filter(of == kept).collect().height
    assert lake.scan().filter(of == gone).collect().height > 0

    async def erase() -> None:
        async with await psycopg.AsyncConnection.connect(trained.database_url or "") as connection:
            assert await people.erase(connection, gone)

    asyncio.run(erase())
    assert listed(conn, gone) == []
    assert (
        conn.execute(
            "SELECT FROM feed.user_similarities WHERE %s IN (user_id, similar_id)", (gone,)
        ).fetchall()
        == []
    )
    today = datetime.now(UTC).date()
    assert run_job(instance, "daily", days=(today, today)).success
    assert lake.scan().filter(of == gone).collect().height == 0
    assert lake.scan().filter(of == kept).collect().height == rows_of_kept
    assert erasures.pending(conn) == {}
    assert listed(conn, gone) == []
    newest = max((folder for folder in trained.snapshots.iterdir() if folder.name.isdecimal()),
                 key=lambda folder: int(folder.name))  # fmt: skip
    users = Snapshot.load(newest).users
    assert users.ids.find(gone) is None
    assert users.ids.find(kept) is not None
    assert users.neighbours.max() < len(users.ids)
    for file in newest.rglob("*"):  # not even as bytes of an id
        if file.is_file():
            assert b'"' + gone.encode() + b'"' not in file.read_bytes()
    assert Snapshot.load(newest).users.ids.to_series().to_list().count(gone) == 0


def test_what_is_old_goes(trained: Settings, conn, instance, lake: Lake) -> None:
    long_ago, extent = datetime.now(UTC) - timedelta(days=800), lake.extent()
    assert extent is not None
    add_interaction(conn, long_ago)
    one_day = lake.scan(lake.days()[-1:]).collect()
    lake.write_day(long_ago.date(), one_day.head(1).with_columns(occurred_at=pl.lit(long_ago)))
    lake.cover(long_ago.date())
    for name in ("900001", "900002", "900003", "900004"):
        (trained.snapshots / name).mkdir()
    days, live = lake.days(), {folder.name for folder in trained.snapshots.iterdir()}
    damage(lake, days[-1])  # could not be searched for who was erased
    result = run_job(instance, "privacy")
    assert result.success
    assert lake.broken_days() == []
    assert lake.days() == days[1:]
    (oldest,) = conn.execute("SELECT min(occurred_at) FROM feed.interactions").fetchone()
    assert oldest > datetime.now(UTC) - timedelta(days=731)
    (told,) = [
        event.step_output_data.metadata if event.is_successful_output else {}
        for event in result.all_node_events
        if event.is_successful_output and event.step_key == "delete_old"
    ]
    assert told["lake_days_removed"].value == 1
    assert told["months_dropped"].value == {f"interactions_{long_ago:%Y%m}": 1}
    left = {folder.name for folder in trained.snapshots.iterdir()}
    assert live - left >= {"900001"}
    assert {"900002", "900003", "900004"} <= left
    from orchestration.resources import Platform

    champion = Platform().registry.champion()
    assert champion is not None
    assert champion.version in left
    for name in ("900002", "900003", "900004"):
        (trained.snapshots / name).rmdir()
    lake.set_extent(extent)  # other tests look at where it begins
