"""Counts by user, hour and arm on a real Postgres: against a plain recount, whatever came when."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID, uuid4

import psycopg
import pytest

from models.experiments.sequential import Moments
from storage.operations import variant_counts, variant_metrics
from storage.operations.variant_counts import OVERLAP, Counted
from storage.operations.variant_metrics import Totals
from storage.postgres.database import connect

NOW = datetime.now(UTC)
DAYS = 7
HOURS = 72.0
CHAMPION = {"variant": "champion", "model_version": "1"}


@pytest.fixture
def conn(database: str) -> Iterator[psycopg.Connection]:
    with connect(database, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO feed.experiments (id, salt, variants) VALUES ('e', 's', '[]'),"
            " ('f', 's', '[]')"
        )
        yield connection


def add(
    conn: psycopg.Connection,
    type: str,
    *,
    user: str | None = "u",
    item: str | None = "i",
    at: datetime | None = None,
    hours_ago: float = 1,
    metadata: object = CHAMPION,
    event_id: UUID | None = None,
    times: int = 1,
) -> None:
    for _ in range(times):
        conn.execute(
            "INSERT INTO feed.interactions"
            " (event_id, user_id, item_id, type, occurred_at, metadata)"
            " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            (
                event_id or uuid4(),
                user,
                item,
                type,
                at or NOW - timedelta(hours=hours_ago),
                None if metadata is None else json.dumps(metadata),
            ),
        )


def count(conn: psycopg.Connection, *, hours: float = HOURS, days: int = DAYS) -> Counted:
    return variant_counts.count_new(conn, conversion_hours=hours, days=days, now=NOW)


def settle(conn: psycopg.Connection) -> None:
    """As if all of it had been received, and counted, long ago."""
    conn.execute("UPDATE feed.interactions SET received_at = received_at - %s", (2 * OVERLAP,))


def shown(conn: psycopg.Connection, *, hours: float = HOURS) -> dict[tuple[str, str], Totals]:
    end = datetime.now(UTC)
    return variant_metrics.by_version(conn, NOW - timedelta(days=DAYS), end, conversion_hours=hours)


ROWS: LiteralString = (
    "SELECT hour, user_id, experiment, arm, variant, model_version, impressions, clicks, applies,"
    " last_click_at, dwells, dwell_seconds, saves, dismisses FROM feed.variant_hours"
)


TYPES = ("impression", "click", "dwell", "save", "dismiss")


def recounted(conn: psycopg.Connection, since: datetime, hours: float) -> dict[tuple, list]:
    """What ``feed.variant_hours`` has to hold, worked out event by event."""
    events = conn.execute(
        "SELECT user_id, item_id, type, occurred_at, metadata FROM feed.interactions"
    ).fetchall()
    applies = defaultdict(list)
    for user, item, type, at, _ in events:
        if type == "apply" and user is not None:
            applies[user, item].append(at)
    rows: dict[tuple, list] = {}
    for user, item, type, at, metadata in events:
        if type not in TYPES or at < since:
            continue
        known = metadata if isinstance(metadata, Mapping) else {}
        arms: dict[str, Any] = known.get("experiments") or {}
        for experiment, arm in {"": "", **arms}.items():
            key = (
                at.replace(minute=0, second=0, microsecond=0), user or "", experiment, arm,
                known.get("variant", "unknown"), known.get("model_version", ""),
            )  # fmt: skip
            row = rows.setdefault(key, [0, 0, 0, None, 0, 0.0, 0, 0])
            if type == "impression":
                row[0] += 1
            elif type == "click":
                row[1] += 1
                limit = at + timedelta(hours=hours)
                row[2] += any(at <= one <= limit for one in applies[user, item])
                row[3] = max(at, row[3] or at)
            elif type == "dwell" and "seconds" in known:
                row[4] += 1
                row[5] += known["seconds"]
            elif type == "save":
                row[6] += 1
            elif type == "dismiss":
                row[7] += 1
    return rows


@pytest.mark.parametrize("seed", range(6))
def test_any_order_of_events_and_runs_gives_what_a_recount_gives(conn, seed: int) -> None:
    rng = random.Random(seed)
    hours = rng.choice([0.01, 1.0, 30.0])
    metadata: list[object] = [
        CHAMPION, CHAMPION | {"experiments": {"e": "a"}}, {"variant": "heuristic"}, None, [1],
        {"variant": "challenger", "model_version": "2", "experiments": {"e": "b", "f": "x"}},
    ]  # fmt: skip
    kept: list[dict[str, Any]] = []
    since = None
    for _ in range(8):
        for _ in range(rng.randrange(1, 30)):
            if kept and rng.random() < 0.2:  # a replay
                add(conn, **rng.choice(kept))
                continue
            type = rng.choice([*TYPES, "apply", "click", "view"])
            of = rng.choice(metadata)
            if type == "dwell" and isinstance(of, dict) and rng.random() < 0.7:
                of = of | {"seconds": rng.randrange(60)}
            near = NOW - timedelta(hours=rng.choice([1, 2, 20, 50, DAYS * 24 + 40]))
            event: dict[str, Any] = {
                "type": type,
                "user": rng.choice(["u", "v", None]),
                "item": rng.choice(["i", "j"]),
                "at": near + timedelta(seconds=rng.randrange(100)),
                "metadata": of,
                "event_id": uuid4(),
            }
            kept.append(event)
            add(conn, **event)
        run = count(conn, hours=hours)
        assert since in (None, run.since)
        since = run.since
        if rng.random() < 0.5:
            settle(conn)
        found = {row[:6]: list(row[6:]) for row in conn.execute(ROWS)}
        assert found == recounted(conn, run.since, hours)
        items = conn.execute(
            "SELECT day, variant, model_version, item_id, impressions FROM feed.variant_items"
        ).fetchall()
        plain = conn.execute(
            "SELECT (occurred_at AT TIME ZONE 'UTC')::date,"
            " coalesce(metadata->>'variant', 'unknown'), coalesce(metadata->>'model_version', ''),"
            " item_id, count(*) FROM feed.interactions"
            " WHERE type = 'impression' AND occurred_at >= %s GROUP BY 1, 2, 3, 4",
            (run.since,),
        ).fetchall()
        assert sorted(items) == sorted(plain)


def test_only_what_is_new_is_looked_at(conn) -> None:
    for user in ("u", "v", "w"):
        add(conn, "impression", user=user, times=5)
        add(conn, "click", user=user, hours_ago=40)
    assert count(conn).hours == 6
    settle(conn)
    again = count(conn)
    assert (again.events, again.hours, again.items) == (0, 0, 0)
    add(conn, "apply", user="u", metadata=None)
    late = count(conn)
    assert (late.events, late.hours, late.items) == (1, 1, 0)  # the hour of the click
    assert shown(conn)["champion", "1"].clicks == 3


def test_what_commits_late_is_counted(conn, database: str) -> None:
    add(conn, "impression")
    with connect(database) as slow:
        add(slow, "impression", user="slow")
        count(conn)
        assert shown(conn)["champion", "1"].impressions == 1
        conn.execute("UPDATE feed.watermarks SET at = at + %s WHERE name <> %s",
                     (OVERLAP, variant_counts.SINCE))  # fmt: skip
        slow.commit()
    count(conn)
    assert shown(conn)["champion", "1"].impressions == 2


def test_the_first_run_goes_back_to_the_start_of_a_day(conn) -> None:
    day = (NOW - timedelta(days=DAYS)).replace(hour=0, minute=0, second=0, microsecond=0)
    add(conn, "impression", at=day - timedelta(microseconds=1))
    add(conn, "impression", at=day)
    assert count(conn).since == day
    add(conn, "impression", at=day - timedelta(hours=1))  # nor does what comes late
    assert count(conn).since == day
    assert conn.execute("SELECT sum(impressions) FROM feed.variant_hours").fetchone() == (1,)
    assert (variant_counts.counted(conn) or (None,))[0] == day


def test_other_hours_to_convert_count_all_anew(conn) -> None:
    add(conn, "click", hours_ago=100)
    add(conn, "apply", hours_ago=90)
    count(conn)
    assert shown(conn)["champion", "1"].applies == 1
    settle(conn)
    count(conn, hours=5)
    assert shown(conn, hours=5)["champion", "1"].applies == 0
    settle(conn)
    count(conn)
    assert shown(conn)["champion", "1"].applies == 1


@pytest.mark.parametrize(
    ("hours_after_click", "user", "item", "applies"),
    [
        (-0.01, "u", "i", 0),
        (0, "u", "i", 1),
        (HOURS, "u", "i", 1),
        (HOURS + 0.01, "u", "i", 0),
        (1, "another", "i", 0),
        (1, "u", "another", 0),
        (1, None, "i", 0),
    ],
)
def test_an_apply_counts_after_the_click(
    conn, hours_after_click: float, user: str | None, item: str, applies: int
) -> None:
    add(conn, "click", hours_ago=100)
    count(conn)
    settle(conn)
    add(conn, "apply", item=item, user=user, hours_ago=100 - hours_after_click, metadata=None)
    count(conn)
    found = shown(conn)["champion", "1"]
    assert (found.applies, found.ripe_clicks) == (applies, 1)
    assert found.moments["conversion"] == Moments(1, applies, 1, applies, 1, applies)


def test_clicks_without_a_user_convert_nobody(conn) -> None:
    add(conn, "click", user=None, hours_ago=100)
    add(conn, "apply", user=None, hours_ago=99)
    count(conn)
    assert shown(conn)["champion", "1"].applies == 0


def test_an_apply_without_clicks_divides_nothing(conn) -> None:
    add(conn, "apply")
    count(conn)
    assert shown(conn) == {}
    add(conn, "impression")
    count(conn)
    found = shown(conn)["champion", "1"]
    assert found.moments["conversion"] == Moments()
    assert found.moments["conversion"].rate is None


def test_a_click_that_may_still_convert_is_not_held_against_the_version(conn) -> None:
    now = datetime.now(UTC)
    add(conn, "click", at=now - timedelta(seconds=3))
    add(conn, "click", user="early", at=now - timedelta(seconds=60))
    add(conn, "apply", at=now - timedelta(seconds=2))
    for hours, ripe in ((HOURS, 0), (0.01, 1)):  # 36 seconds
        count(conn, hours=hours)
        found = shown(conn, hours=hours)["champion", "1"]
        assert (found.clicks, found.applies, found.ripe_clicks) == (2, 0, ripe)


def test_sums_are_over_users_and_an_hour_of_anonymous_ones_is_one(conn) -> None:
    add(conn, "impression", times=3)
    add(conn, "impression", hours_ago=30)
    add(conn, "click", hours_ago=30)
    add(conn, "impression", user="v", times=2)
    for hours_ago in (1, 30):
        add(conn, "impression", user=None, hours_ago=hours_ago, times=5)
    count(conn)
    found = shown(conn)["champion", "1"]
    assert (found.users, found.impressions, found.clicks) == (4, 16, 1)
    squares = 4**2 + 2**2 + 5**2 + 5**2
    assert found.moments["ctr"] == Moments(4, 1, 16, 1, squares, 4)


def test_arms_are_those_of_experiments_that_exist(conn) -> None:
    of = {"experiments": {"e": "a", "forged": "x", "f": None}}
    add(conn, "impression", metadata=CHAMPION | of)
    add(conn, "impression", metadata={"variant": "heuristic"} | of)  # a fallback, still in the arm
    add(conn, "impression", metadata=CHAMPION | {"experiments": "e"})
    count(conn)
    found = variant_metrics.by_arm(
        conn, "e", NOW - timedelta(days=1), datetime.now(UTC), conversion_hours=HOURS
    )
    assert {arm: of.impressions for arm, of in found.items()} == {"a": 2}
    assert found["a"].users == 1
    (rows,) = conn.execute(
        "SELECT array_agg(DISTINCT experiment) FROM feed.variant_hours"
    ).fetchone()
    assert rows == ["", "e"]


def test_what_a_public_tracker_makes_up_does_no_harm(conn) -> None:
    add(conn, "dwell", metadata=CHAMPION | {"seconds": 1e300})
    add(conn, "dwell", metadata=CHAMPION | {"seconds": -5})
    add(conn, "dwell", metadata=CHAMPION | {"seconds": "many"})
    add(conn, "impression", metadata={"variant": "x" * 9000, "model_version": "y" * 9000})
    add(conn, "impression", metadata={"variant": "", "model_version": {"a": 1}})
    count(conn)
    assert shown(conn)["champion", "1"].dwell_seconds == variant_counts.LONGEST_DWELL
    assert ("x" * 64, "y" * 64) in shown(conn)
    assert ("unknown", '{"a": 1}') in shown(conn)


def test_coverage_is_of_what_may_be_shown(conn) -> None:
    conn.execute(
        "INSERT INTO feed.items (id, status, publish_at, starts_at) VALUES"
        " ('shown', 'published', null, null), ('not shown', 'published', null, null),"
        " ('gone', 'archived', null, null), ('later', 'published', now() + '1 day', null),"
        " ('started', 'published', null, now() - interval '1 day')"
    )
    window = NOW - timedelta(days=1), datetime.now(UTC)
    assert variant_metrics.coverage(conn, *window, exclude_started=True) == (2, {None: 0})
    for item in ("shown", "gone", "started", "unknown"):
        add(conn, "impression", item=item)
    add(conn, "impression", item="shown", metadata={"variant": "heuristic"})
    count(conn)
    both: dict[tuple[str, str] | None, int] = {("champion", "1"): 1, ("heuristic", ""): 1, None: 1}
    assert variant_metrics.coverage(conn, *window, exclude_started=True) == (2, both)
    assert variant_metrics.coverage(conn, *window, exclude_started=False)[0] == 3
