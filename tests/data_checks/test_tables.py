"""Suites that look at tables: run inside Postgres, on good rows and on each kind of bad row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest
from great_expectations import ExpectationSuite
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from data_checks.interactions import Strays, check_interactions, find_strays
from data_checks.report import CheckReport, Finding
from data_checks.suites.items import items_suite
from data_checks.suites.owners import owners_suite
from data_checks.suites.users import users_suite
from data_checks.validate import CheckError, check_table
from models.profile.schema import Profile, load_profile
from storage.events.quarantine import Catalogue, quarantine_items, quarantine_users, rules
from storage.postgres.database import DatabaseError, connect
from storage.privacy.retention import delete_older

NAN = float("nan")
SUITES: dict[Catalogue, Callable[..., ExpectationSuite]] = {
    "users": users_suite,
    "items": items_suite,
    "owners": owners_suite,
}

# column values of a row -> column and share of the expectation's words that it breaks
BAD_ROWS: list[tuple[Catalogue, dict[str, object], str]] = [
    ("users", {"lat": 91.0, "lon": 0.0}, "lat is in -90 to 90"),
    ("users", {"lat": NAN, "lon": 0.0}, "lat is in -90 to 90"),
    ("users", {"lat": 0.0, "lon": -180.5}, "lon is in -180 to 180"),
    ("users", {"lat": 0.0, "lon": NAN}, "lon is in -180 to 180"),
    ("users", {"lat": 1.0}, "lat comes with lon"),
    ("users", {"lon": 1.0}, "lon comes with lat"),
    ("users", {"created_at": "20026-01-01Z"}, "created_at is in 1970 to now"),
    ("users", {"created_at": "infinity"}, "created_at is in 1970 to now"),
    ("users", {"created_at": "1969-12-31Z"}, "created_at is in 1970 to now"),
    ("items", {"status": "Published"}, "status is one of draft, published, removed"),
    ("items", {"price_min": 2.0, "price_max": 1.0}, "price_min is not above price_max"),
    ("items", {"price_max": NAN}, "price_max is in 0 to 1e+15"),
    ("items", {"price_min": -1.0}, "price_min is in 0 to 1e+15"),
    ("items", {"price_min": NAN}, "price_min is in 0 to 1e+15"),
    ("items", {"capacity": -1}, "capacity is in 0 to 1e+15"),
    ("items", {"starts_at": "20026-01-01Z"}, "starts_at is in 1970 to 9999"),
    ("items", {"publish_at": "0044-03-15Z BC"}, "publish_at is in 1970 to 9999"),
    ("items", {"lat": 90.5, "lon": 0.0}, "lat is in -90 to 90"),
    ("owners", {"average_rating": 5.1}, "average_rating is in 0 to 5"),
    ("owners", {"completion_rate": 101.0}, "completion_rate is in 0 to 1"),
    ("owners", {"finished_jobs": -3}, "finished_jobs is in 0 to 1e+15"),
]


@pytest.fixture(scope="module")
def profile() -> Profile:
    return load_profile("marketplace")


@pytest.fixture
def conn(database: str) -> Iterator[psycopg.Connection]:
    with connect(database, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO feed.users (id, lat, lon) VALUES ('u1', 52, 13), ('u''\"😀', NULL, NULL)"
        )
        connection.execute(
            "INSERT INTO feed.items (id, lat, lon, price_min, price_max, publish_at) VALUES"
            " ('i1', -90, 180, 1, 1, now() + interval '90 days'), ('i2', NULL, NULL, NULL, 3, NULL)"
        )
        connection.execute("INSERT INTO feed.owners (id, average_rating) VALUES ('o1', 4.5)")
        yield connection


def insert(conn: psycopg.Connection, table: str, row: dict[str, object]) -> None:
    columns = ", ".join(row)
    values = ", ".join(["%s"] * len(row))
    conn.execute(f"INSERT INTO feed.{table} ({columns}) VALUES ({values})", list(row.values()))


def only_failure(report: CheckReport) -> Finding:
    assert not report.success
    assert len(report.failures) == 1, report.summary
    return report.failures[0]


@pytest.mark.parametrize("entity", ["users", "items", "owners"])
def test_good_rows_pass(
    conn: psycopg.Connection, database: str, profile: Profile, entity: Catalogue
) -> None:
    report = check_table(SUITES[entity](profile), database, f"feed.{entity}")
    assert report.success, report.summary
    assert report.suite == entity
    assert report.rows_checked == (1 if entity == "owners" else 2)


def test_each_kind_of_bad_row_is_counted_and_shown(
    conn: psycopg.Connection, database: str, profile: Profile
) -> None:
    for number, (entity, row, _) in enumerate(BAD_ROWS):
        insert(conn, entity, {"id": f"bad{number}"} | row)
    for entity, suite in SUITES.items():
        found = check_table(suite(profile), database, f"feed.{entity}")
        expected: dict[str, list[str]] = {}
        for number, (of, _, words) in enumerate(BAD_ROWS):
            if of == entity:
                expected.setdefault(words, []).append(f"id bad{number}")
        assert {one.expectation: one.unexpected_count for one in found.failures} == {
            words: len(ids) for words, ids in expected.items()
        }
        for failure in found.failures:
            shown = {example.split(",")[0] for example in failure.examples}
            assert shown == set(expected[failure.expectation])


def test_a_tolerated_share_passes_and_is_still_shown(
    conn: psycopg.Connection, database: str, profile: Profile
) -> None:
    insert(conn, "users", {"id": "bad", "lat": 99.0, "lon": 0.0})
    report = check_table(users_suite(profile, tolerated_share=0.5), database, "feed.users")
    assert report.success
    (shown,) = [one for one in report.findings if one.unexpected_count]
    assert (shown.expectation, shown.observed) == ("lat is in -90 to 90", "1 of 3 rows")
    assert shown.examples == ("id bad, lat 99.0",)


def test_an_empty_table_fails(database: str, profile: Profile) -> None:
    failure = only_failure(check_table(users_suite(profile), database, "feed.users"))
    assert (failure.expectation, failure.observed) == ("there are rows", "0")


def test_what_cannot_be_checked_says_so(database: str, profile: Profile) -> None:
    with pytest.raises(CheckError, match=r"users cannot be checked.*nothing"):
        check_table(users_suite(profile), database, "feed.nothing")
    with pytest.raises(CheckError, match="lat"):
        check_table(users_suite(profile), database, "SELECT id, lon, created_at FROM feed.users")
    with pytest.raises(CheckError, match="syntax"):
        check_table(users_suite(profile), database, "SELECT FROM WHERE")
    with pytest.raises(DatabaseError):
        check_table(users_suite(profile), "postgresql:///x?host=/nowhere", "feed.users")


EVENT = "00000000-0000-0000-0000-0000000000{:02d}"


def interaction(number: int, **row: object) -> dict[str, object]:
    good = {"user_id": "u1", "item_id": "i1", "type": "click", "occurred_at": datetime.now(UTC)}
    return {"event_id": EVENT.format(number)} | good | row


def test_good_interactions_pass(conn: psycopg.Connection, database: str, profile: Profile) -> None:
    insert(conn, "interactions", interaction(1))
    insert(conn, "interactions", interaction(2, item_id=None, type="search", user_id=None))
    insert(conn, "interactions", interaction(3, user_id="u'\"😀"))
    report = check_interactions(profile, database)
    assert report.success, report.summary
    assert report.rows_checked == 3


@pytest.mark.parametrize(
    ("row", "expectation"),
    [
        ({"type": "no type"}, "type is the name of one"),
        ({"item_id": None}, "item_id is given, except for search and filter"),
        ({"occurred_at": "20026-01-01Z"}, "occurred_at is in 1970 to now"),
        ({"occurred_at": "1969-01-01Z"}, "occurred_at is in 1970 to now"),
        ({"event_id": EVENT.format(1)}, "event_id is unique"),
    ],
)
def test_bad_interactions_fail(
    conn: psycopg.Connection,
    database: str,
    profile: Profile,
    row: dict[str, object],
    expectation: str,
) -> None:
    insert(conn, "interactions", interaction(1))
    insert(conn, "interactions", interaction(2, **row))
    failure = only_failure(check_interactions(profile, database))
    assert failure.expectation == expectation
    twice = expectation == "event_id is unique"
    assert failure.unexpected_count == (2 if twice else 1)
    assert failure.examples[0].startswith(f"event_id {EVENT.format(1 if twice else 2)}")


@pytest.mark.parametrize("column", ["user_id", "item_id"])
@pytest.mark.parametrize("value", ["", "é" * 128])
def test_ids_of_interactions_are_bounded_in_bytes(
    conn: psycopg.Connection, database: str, profile: Profile, column: str, value: str
) -> None:
    insert(conn, "interactions", interaction(1, **{column: value}))
    failures = {one.expectation for one in check_interactions(profile, database).failures}
    assert f"{column} has 1 to 255 bytes" in failures


def stray(conn: psycopg.Connection, user: str | None, item: str | None) -> None:
    conn.execute(
        "INSERT INTO feed.interactions (event_id, user_id, item_id, type, occurred_at)"
        " VALUES (gen_random_uuid(), %s, %s, 'view', now())",
        (user, item),
    )


def test_what_is_of_unknown_users_and_items_is_counted(
    conn: psycopg.Connection, database: str, profile: Profile
) -> None:
    for number in range(20):
        insert(conn, "interactions", interaction(number))
    assert (find_strays(conn).rows, find_strays(conn).all_rows) == (0, 20)
    for user, item in (
        *[("ghost", "i1")] * 3,
        ("ghost 2", "lost"),
        ("u1", "lost"),
        ("u1", "gone"),
        (None, "i1"),
    ):
        stray(conn, user, item)
    found = find_strays(conn)
    assert found == Strays(27, 6, users=2, items=2, most=(("lost", 2), ("gone", 1)))
    assert str(found) == (
        "6 of 27 interactions (22.2%) are of 2 unknown users or with 2 unknown items, "
        "most often lost (2), gone (1)"
    )
    assert find_strays(conn, datetime.now(UTC) + timedelta(days=1)) == Strays(0, 0, 0, 0)
    assert check_interactions(profile, database).success


def test_what_was_deleted_is_not_unknown(conn: psycopg.Connection) -> None:
    """Whoever deleted it; until it is a stray again, its interactions long gone."""
    for number in range(20):
        insert(conn, "interactions", interaction(number, item_id="i2"))
    conn.execute("DELETE FROM feed.items WHERE id = 'i2'")
    conn.execute("DELETE FROM feed.users WHERE id = 'u1'")
    assert find_strays(conn).rows == 0
    assert delete_older(conn, date(2100, 1, 1)) == 20
    assert conn.execute("SELECT count(*) FROM feed.deleted").fetchone() == (0,)


def test_a_day_is_checked_alone_and_may_be_empty(
    conn: psycopg.Connection, database: str, profile: Profile
) -> None:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    insert(conn, "interactions", interaction(1, type="nonsense", occurred_at=today))
    yesterday = today - timedelta(days=1), today
    report = check_interactions(profile, database, *yesterday, may_be_empty=True)
    assert (report.success, report.rows_checked) == (True, 0)
    assert not check_interactions(profile, database, *yesterday).success


NUMBER = st.none() | st.sampled_from([NAN, float("inf"), -1.0, 0.0, 90.0, 181.0, 1e16])
TIME = st.sampled_from(["-infinity", "1969-12-31Z", "1970-01-01Z", "2024-05-01Z", "20026-01-01Z"])
PLACE = {"lat": NUMBER, "lon": NUMBER}
USER = st.fixed_dictionaries({**PLACE, "created_at": TIME})
ITEM = st.fixed_dictionaries(
    {
        **PLACE,
        "price_min": NUMBER,
        "price_max": NUMBER,
        "status": st.sampled_from(["draft", "published", "removed", "", "x"]),
        "capacity": st.none() | st.integers(-2, 2),
        "created_at": TIME,
        "publish_at": st.none() | TIME,
        "starts_at": st.none() | TIME,
    }
)


@given(
    users=st.lists(USER, min_size=20, max_size=20), items=st.lists(ITEM, min_size=20, max_size=20)
)
@settings(
    max_examples=3,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_suites_and_quarantine_agree(
    conn: psycopg.Connection,
    database: str,
    profile: Profile,
    users: list[dict],
    items: list[dict],
) -> None:
    """Rule by rule they count the same rows, and without the quarantined rows a suite passes."""
    for entity, rows in (("users", users), ("items", items)):
        conn.execute(f"DELETE FROM feed.{entity} WHERE id LIKE 'x%'")
        for number, row in enumerate(rows):
            insert(conn, entity, {"id": f"x{number:02d}"} | row)
    for entity, suite, quarantine in (
        ("users", users_suite, quarantine_users),
        ("items", items_suite, quarantine_items),
    ):
        assert unexpected(check_table(suite(profile), database, f"feed.{entity}")) == broken_rules(
            conn, entity
        )
        bad = "', '".join(quarantine(conn))
        rest = f"SELECT * FROM feed.{entity} WHERE id NOT IN ('{bad}')"
        report = check_table(suite(profile), database, rest)
        assert report.success, report.summary


def unexpected(report: CheckReport) -> dict[str, int]:
    """Column or columns -> rows that break what is expected of them."""
    return {
        one.column + ("!" if "comes with" in one.expectation else ""): one.unexpected_count
        for one in report.findings
        if one.unexpected_count
    }


def broken_rules(conn: psycopg.Connection, entity: str) -> dict[str, int]:
    """The same from the rules of the quarantine, whose time and id rules are one for each end."""
    counts: dict[str, int] = {}
    for reason, predicate in rules(entity).items():  # type: ignore[arg-type]
        row = conn.execute(f"SELECT count(*) FROM feed.{entity} WHERE {predicate}").fetchone()
        name = {
            "lat without lon": "lon!",
            "lon without lat": "lat!",
            "unknown status": "status",
            "price_min is above price_max": "price_max, price_min",
        }.get(reason, reason.split()[0])
        assert row is not None
        if row[0]:
            counts[name] = counts.get(name, 0) + row[0]
    return counts
