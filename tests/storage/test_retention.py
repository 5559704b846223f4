"""What is old goes, all of it and nothing else; who was erased does not come back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import psycopg
import pytest
from psycopg.types.json import Jsonb

from storage.events.lake import SCHEMA, Extent, Lake
from storage.operations import variant_counts
from storage.postgres.database import connect
from storage.privacy import erasures, people, retention

KEPT_FROM = date(2026, 3, 15)
UNWATCHED = "ALTER TABLE feed.interactions DISABLE TRIGGER drop_late"
"""As for a writer that puts rows into a month's own table, or has been at it for long."""


@pytest.fixture
def conn(database: str) -> Iterator[psycopg.Connection]:
    with connect(database, autocommit=True) as connection:
        yield connection


def add(conn: psycopg.Connection, at: datetime, user: str = "u", *, month: bool = True) -> None:
    if month:
        conn.execute("SELECT feed.ensure_interaction_partitions(%(at)s, %(at)s)", {"at": at})
    conn.execute(
        "INSERT INTO feed.interactions (event_id, user_id, item_id, type, occurred_at, received_at)"
        " VALUES (gen_random_uuid(), %s, 'i', 'click', %s, %s)",
        (user, at, at),
    )


def refuse(conn: psycopg.Connection, user: str) -> None:
    conn.execute(
        "INSERT INTO feed.interactions_rejected (entity, source, reason, raw, user_ids)"
        " VALUES ('interactions', 'api', gen_random_uuid()::text, 'a bad row', %s)",
        ([user],),
    )


def erase(database: str, user: str) -> bool:
    async def work() -> bool:
        async with await psycopg.AsyncConnection.connect(database) as connection:
            return await people.erase(connection, user)

    return asyncio.run(work())


def times(conn: psycopg.Connection) -> list[datetime]:
    return [at for (at,) in conn.execute("SELECT occurred_at FROM feed.interactions ORDER BY 1")]


def test_old_interactions_go_exactly(conn: psycopg.Connection) -> None:
    border = datetime(2026, 3, 15, tzinfo=UTC)
    instant = timedelta(microseconds=1)
    old = [datetime(2025, 12, 5, tzinfo=UTC), datetime(2026, 2, 28, 23, 59, tzinfo=UTC)]
    for at in (*old, border - instant, border, border + timedelta(days=40)):
        add(conn, at)
    stray = datetime(2019, 1, 1, tzinfo=UTC)
    add(conn, stray, month=False)  # in the default partition
    dropped = retention.drop_months(conn, KEPT_FROM)
    assert dropped == {"interactions_202512": 1, "interactions_202602": 1}
    assert times(conn) == [stray, border - instant, border, border + timedelta(days=40)]
    for _ in range(7):
        add(conn, border - timedelta(hours=1))
    assert retention.delete_older(conn, KEPT_FROM, batch=3) == 9
    assert times(conn) == [border, border + timedelta(days=40)]
    assert conn.execute("SELECT count(*) FROM feed.event_ids").fetchone() == (2,)
    assert retention.drop_months(conn, KEPT_FROM) == {}
    add(conn, old[0])  # a month may come again


def test_a_month_in_use_is_left_for_the_next_run(
    conn: psycopg.Connection, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "LOCK_SECONDS", 1)
    add(conn, datetime(2025, 12, 5, tzinfo=UTC))
    with connect(database) as reader:
        reader.execute("SELECT count(*) FROM feed.interactions")
        assert retention.drop_months(conn, KEPT_FROM) == {}
    assert retention.drop_months(conn, KEPT_FROM) == {"interactions_202512": 1}


def test_refused_rows_and_audit_lines_go_by_age(conn: psycopg.Connection) -> None:
    for days in (0, 89, 91):
        at = datetime.now(UTC) - timedelta(days=days)
        conn.execute(
            "INSERT INTO feed.interactions_rejected (source, reason, raw, rejected_at)"
            " VALUES ('log', 'bad', %s, %s)",
            (str(days), at),
        )
        conn.execute(
            "INSERT INTO feed.audit_log (actor, action, occurred_at) VALUES ('a', 'b', %s)", (at,)
        )
    assert retention.delete_rows(conn, "interactions_rejected", 90, datetime.now(UTC), batch=1) == 1
    assert retention.delete_rows(conn, "audit_log", 90, datetime.now(UTC)) == 1
    left = conn.execute("SELECT raw FROM feed.interactions_rejected ORDER BY raw").fetchall()
    assert left == [("0",), ("89",)]


def test_old_folders_go_but_for_those_in_use(tmp_path: Path) -> None:
    for name in ("2", "9", "10", "11", "12", ".lock", ".old-1"):
        (tmp_path / name / "part").mkdir(parents=True)
    assert retention.delete_folders(tmp_path, {"2"}, newest=3) == ["9"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".lock", "10", "11", "12", "2"]
    assert retention.delete_folders(tmp_path / "none", (), newest=3) == []


def lake_rows(user: str | None, at: datetime, name: str) -> dict:
    return dict.fromkeys(SCHEMA) | {
        "event_id": name, "user_id": user, "type": "click", "occurred_at": at, "received_at": at,
    }  # fmt: skip


@pytest.mark.parametrize("address", ["{folder}", "memory://retention"])
def test_the_lake_forgets_users_and_old_days(tmp_path: Path, address: str) -> None:
    lake = Lake(address.format(folder=tmp_path))
    first, second = datetime(2026, 3, 1, 8, tzinfo=UTC), datetime(2026, 3, 2, 8, tzinfo=UTC)
    later, last = second + timedelta(hours=4), second + timedelta(days=2)
    days = {
        first.date(): [lake_rows("anna", first, "a"), lake_rows(None, first, "b")],
        second.date(): [lake_rows("anna", second, "c"), lake_rows("anna", later, "d")],
        date(2026, 3, 3): [lake_rows("ben", later + timedelta(days=1), "e")],
        date(2026, 3, 4): [lake_rows("anna", last, "f") | {"received_at": first}],
    }
    for day, rows in days.items():
        lake.write_day(day, pl.DataFrame(rows, schema=SCHEMA))
    lake.set_extent(Extent(first.date(), later))
    until = second + timedelta(hours=1)
    assert lake.erase_users({"anna": until, "nobody": until}) == {
        first.date(): 1, second.date(): 1, date(2026, 3, 4): 1,
    }  # fmt: skip
    assert lake.scan().collect()["event_id"].to_list() == ["b", "d", "e"]
    assert lake.days()[-1] == date(2026, 3, 3)  # the last day held nobody else
    assert lake.erase_users({"anna": until}) == {}
    assert lake.drop_before(date(2026, 3, 3)) == [first.date(), second.date()]
    assert lake.extent() == Extent(date(2026, 3, 3), later)


def test_what_was_on_its_way_does_not_come_back(conn: psycopg.Connection, database: str) -> None:
    now = datetime.now(UTC)
    conn.execute("INSERT INTO feed.users (id) VALUES ('anna'), ('ben')")
    add(conn, now, "ben")
    with connect(database) as slow:
        add(slow, now, "anna", month=False)
        assert erase(database, "anna")
        slow.commit()
    conn.execute("INSERT INTO feed.recommendations VALUES ('anna', 'i', 1, 1, '{}', '1'),"
                 " ('ben', 'i', 1, 1, '{}', '1')")  # fmt: skip
    conn.execute("INSERT INTO feed.user_similarities VALUES ('ben', 'anna', 1, 1)")
    assert erasures.delete_late(conn, None) == 1
    assert [user for (user,) in conn.execute("SELECT user_id FROM feed.interactions")] == ["ben"]
    assert [user for (user,) in conn.execute("SELECT user_id FROM feed.recommendations")] == ["ben"]
    assert conn.execute("SELECT FROM feed.user_similarities").fetchall() == []

    pending = erasures.pending(conn)
    assert list(pending) == ["anna"]
    time.sleep(0.001)
    erase(database, "anna")  # once more, before the lake is done
    erasures.set_done(conn, pending)
    assert list(erasures.pending(conn)) == ["anna"]
    erasures.set_done(conn, erasures.pending(conn))
    assert erasures.pending(conn) == {}
    row = conn.execute("SELECT to_json(e)::text FROM feed.erasures AS e").fetchone()
    assert row is not None
    assert "anna" not in row[0]

    conn.execute(UNWATCHED)
    add(conn, now - timedelta(days=2), "anna")  # from a device that was offline
    add(conn, datetime.now(UTC) + timedelta(seconds=5), "anna")  # somebody who got the id anew
    assert erasures.delete_late(conn, now - timedelta(days=3)) == 1
    assert retention.delete_erasures(conn, 1, datetime.now(UTC)) == 0
    conn.execute("UPDATE feed.erasures SET lake_done_at = now() - interval '2 days'")
    assert retention.delete_erasures(conn, 1, datetime.now(UTC)) == 1


def hours(conn: psycopg.Connection) -> list[tuple[str, datetime]]:
    return conn.execute("SELECT user_id, hour FROM feed.variant_hours ORDER BY 1, 2").fetchall()


def count_new(conn: psycopg.Connection) -> None:
    variant_counts.count_new(conn, conversion_hours=72, days=7, now=datetime.now(UTC))


def test_counts_of_users_who_were_erased_do_not_come_back(
    conn: psycopg.Connection, database: str
) -> None:
    now = datetime.now(UTC)
    for user in ("anna", "ben", "nobody knows them"):
        add(conn, now - timedelta(hours=30), user)
    conn.execute("UPDATE feed.interactions SET received_at = now()")
    with connect(database) as counting, counting.transaction():
        count_new(counting)
        assert erase(database, "anna")  # in the middle of a run that has read before
    assert {user for user, _ in hours(conn)} == {"anna", "ben", "nobody knows them"}
    erasures.delete_late(conn, None)
    assert {user for user, _ in hours(conn)} == {"ben", "nobody knows them"}
    erasures.set_done(conn, erasures.pending(conn))
    conn.execute(UNWATCHED)
    for at in (now - timedelta(days=2), now + timedelta(hours=2)):  # a late one, and the id anew
        add(conn, at, "anna")
    conn.execute("UPDATE feed.interactions SET received_at = clock_timestamp() + interval '1 s'")
    conn.execute("UPDATE feed.interactions SET received_at = now() WHERE occurred_at < now()")
    count_new(conn)
    erasures.delete_late(conn, now - timedelta(days=3))
    assert [user for user, _ in hours(conn)].count("anna") == 1


def test_old_counts_go_and_half_days_are_not_taken_for_whole(conn: psycopg.Connection) -> None:
    now = datetime.now(UTC)
    for days in (0, 5):
        add(conn, now - timedelta(days=days))
    conn.execute("UPDATE feed.interactions SET received_at = now()")
    count_new(conn)
    kept = (now - timedelta(days=3)).date()
    assert retention.delete_metrics(conn, kept) == 1
    assert len(hours(conn)) == 1
    counted = variant_counts.counted(conn)
    assert counted is not None
    assert counted[0].date() == kept
    count_new(conn)
    assert len(hours(conn)) == 1
    assert retention.delete_rows(conn, "guardrail_reports", 1, datetime.now(UTC)) == 0


def test_what_comes_in_late_is_not_kept(conn: psycopg.Connection, database: str) -> None:
    now = datetime.now(UTC)
    later = now + timedelta(minutes=1)
    conn.execute("INSERT INTO feed.users (id) VALUES ('anna'), ('\"q\\\"')")
    for user in ("anna", '"q\\"', "nobody knows them"):
        erase(database, user)

    def write(user: str) -> None:
        add(conn, now - timedelta(hours=1), user)
        add(conn, later, user)
        conn.execute(
            "INSERT INTO feed.interactions"
            " (event_id, user_id, item_id, type, occurred_at, metadata)"
            " VALUES (gen_random_uuid(), %s, 'i', 'click', %s, %s)",
            (user, later, Jsonb({"clock": {"claimed": None, "reason": "missing"}})),
        )
        refuse(conn, user)

    for user in ("anna", '"q\\"', "nobody knows them", "ben"):
        write(user)
    kept = conn.execute(
        "SELECT user_id, count(*) FROM feed.interactions GROUP BY 1 ORDER BY 1"
    ).fetchall()
    assert kept == [('"q\\"', 1), ("anna", 1), ("ben", 3), ("nobody knows them", 1)]
    left = conn.execute("SELECT user_ids FROM feed.interactions_rejected").fetchall()
    assert left == [(["ben"],)]

    conn.execute("INSERT INTO feed.users (id) VALUES ('anna')")  # another person
    write("anna")
    assert conn.execute(
        "SELECT count(*) FROM feed.interactions WHERE user_id = 'anna'"
    ).fetchone() == (3,)
    assert len(conn.execute("SELECT FROM feed.interactions_rejected").fetchall()) == 2


def test_what_a_long_transaction_refused_goes_with_the_next_run(
    conn: psycopg.Connection, database: str
) -> None:
    with connect(database) as loading:
        loading.execute("SELECT")  # its rows are of this moment
        for user in ("anna", "ben"):
            refuse(loading, user)
        assert not erase(database, "anna")  # it does not wait for ever
        loading.commit()
    refuse(conn, "anna")  # by the trigger
    conn.execute("INSERT INTO feed.users (id) VALUES ('anna')")
    refuse(conn, "anna")  # another person's
    erasures.delete_late(conn, None)
    left = conn.execute("SELECT user_ids FROM feed.interactions_rejected ORDER BY id").fetchall()
    assert left == [(["ben"],), (["anna"],)]


def test_an_erasure_waits_for_what_is_being_written(
    conn: psycopg.Connection, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasures, "LOCK_SECONDS", 60)
    now = datetime.now(UTC)
    add(conn, now)  # makes the month
    with ThreadPoolExecutor(1) as pool, connect(database) as writing:
        add(writing, now, "anna", month=False)
        erased = pool.submit(erase, database, "anna")
        waiting = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while conn.execute(waiting).fetchone() is None:
            assert not erased.done()
        writing.commit()
        assert erased.result()  # it found what was written
    assert conn.execute("SELECT FROM feed.interactions WHERE user_id = 'anna'").fetchone() is None


def test_a_clock_that_jumps_ahead_deletes_a_week_at_a_time(conn: psycopg.Connection) -> None:
    start = datetime(2026, 3, 1, tzinfo=UTC)
    day, year = timedelta(days=1), timedelta(days=365)
    assert retention.follow_clock(conn, start) == start  # there is nothing yet to go by
    assert retention.follow_clock(conn, start + 7 * day) == start + 7 * day
    assert retention.follow_clock(conn, start + 3 * year) == start + 14 * day
    assert retention.follow_clock(conn, start + 3 * year + day) == start + 21 * day
    assert retention.follow_clock(conn, start + 15 * day) == start + 15 * day  # it was set right


def test_the_first_deletion_goes_by_the_newest_interaction(conn: psycopg.Connection) -> None:
    newest = datetime(2026, 3, 1, tzinfo=UTC)
    add(conn, newest)
    assert retention.follow_clock(conn, newest + timedelta(days=900)) == newest + timedelta(days=7)
