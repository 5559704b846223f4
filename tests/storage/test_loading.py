"""Files -> rows in Postgres: good rows arrive, bad ones are kept with their reason."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from storage.loading.load import LoadReport, load
from storage.loading.log import Log, shift_to
from storage.loading.mapping import Mapping, load_mapping
from storage.loading.readers import read_log
from storage.loading.values.times import UNDERSTOOD
from storage.loading.writers import write

EVENT = "5f0c8b1e-5d0b-4f7a-9f55-0d7c1f0f3c01"
HEADER = "event_id,user_id,item_id,type,occurred_at,metadata"
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
GOOD = ",u1,i1,click,2026-01-02T03:04:05Z,"


@pytest.fixture
def conn(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database) as connection:
        yield connection


def csv(folder: Path, *rows: str, name: str = "interactions", header: str = HEADER) -> Path:
    file = folder / f"{name}.csv"
    file.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8", newline="")
    return file


def all_of(conn: psycopg.Connection, query: str) -> list[tuple[Any, ...]]:
    return conn.execute(query).fetchall()


def reasons(conn: psycopg.Connection) -> list[str]:
    rows = all_of(conn, "SELECT reason FROM feed.interactions_rejected ORDER BY row_number")
    return [reason for (reason,) in rows]


def load_rows(conn: psycopg.Connection, folder: Path, *rows: str) -> LoadReport:
    return load(conn, read_log(csv(folder, *rows), "csv"))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (
            ",u1,i1,click,20026-01-01,",
            f"occurred_at: '20026-01-01' is no time that is understood: {UNDERSTOOD}",
        ),
        (
            ",u1,i1,click,1969-12-31,",
            "occurred_at: '1969-12-31' is not a time between 1970 and now",
        ),
        (
            ",u1,i1,click,NaN,",
            f"occurred_at: 'NaN' is no time that is understood: {UNDERSTOOD}",
        ),
        (",u1,i1,click,,", "occurred_at: empty"),
        (",u1,,click,2026-01-01,", "item_id: required for type click"),
        (',"",i1,click,2026-01-01,', "user_id: empty"),
        (f",{'u' * 256},i1,click,2026-01-01,", "user_id: longer than 255 bytes"),
        (",u\0,i1,click,2026-01-01,", "user_id: has a NUL byte, which Postgres cannot hold"),
        (",u1,i1,,2026-01-01,", "type: empty"),
        (",u1,i1,click,2026-01-01,,more", "row: more cells than the header's 6"),
    ],
)
def test_a_bad_row_is_kept_with_its_reason_and_no_good_row_is_lost(
    conn: psycopg.Connection, tmp_path: Path, row: str, reason: str
) -> None:
    report = load_rows(conn, tmp_path, GOOD, row, GOOD.replace("u1", "u2"))
    assert reasons(conn) == [reason]
    assert all_of(conn, "SELECT entity, source, row_number FROM feed.interactions_rejected") == [
        ("interactions", "interactions.csv", 3)
    ]
    assert [user for (user,) in all_of(conn, "SELECT user_id FROM feed.interactions")] == [
        "u1",
        "u2",
    ]
    counts = report.entities["interactions"]
    assert (counts.read, counts.inserted, counts.rejected) == (3, 2, 1)
    assert sum(counts.reasons.values()) == 1


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("abc,u1,i1,click,2026-01-01,", "event_id: 'abc' is not a UUID"),
        (",u1,i1,click,2026-01-01,{not json", "metadata: '{not json' is not a JSON object"),
        (",u1,i1,click,2026-01-01,[1]", "metadata: '[1]' is not a JSON object"),
        (
            ',u1,i1,click,2026-01-01,"{""a"":""\\u0000""}"',
            'metadata: \'{"a":"\\u0000"}\' is not a JSON object',
        ),
    ],
)
def test_an_optional_cell_that_cannot_be_read_is_left_out(
    conn: psycopg.Connection, tmp_path: Path, row: str, said: str
) -> None:
    log = read_log(csv(tmp_path, GOOD, row), "csv")
    assert load(conn, log).rejected == 0
    assert all_of(conn, "SELECT count(*), count(metadata) FROM feed.interactions") == [(2, 0)]
    (line,) = log.summary.warnings("interactions")
    assert line.startswith("1 × ")
    assert line.endswith(f", left out (line 3: {said})")


def test_unknown_types_are_refused_with_the_known_ones(
    conn: psycopg.Connection, tmp_path: Path
) -> None:
    load_rows(conn, tmp_path, GOOD, GOOD.replace("click", "teleport"))
    assert reasons(conn)[0].startswith("type: 'teleport' is not one of impression, view, click,")


def test_a_refused_row_is_kept_whole(conn: psycopg.Connection, tmp_path: Path) -> None:
    file = csv(
        tmp_path, "u1,i1,teleport,2026-01-01,blue", header="user_id,item_id,type,occurred_at,mood"
    )
    load(conn, read_log(file, "csv"))
    ((raw,),) = all_of(conn, "SELECT raw FROM feed.interactions_rejected")
    assert orjson.loads(raw) == {
        "user_id": "u1",
        "item_id": "i1",
        "type": "teleport",
        "occurred_at": "2026-01-01",
        "mood": "blue",
    }


def test_an_event_id_that_comes_twice(conn: psycopg.Connection, tmp_path: Path) -> None:
    first, other = f"{EVENT},u1,i1,click,2026-01-01,", f"{EVENT.upper()},u1,i2,view,2026-01-02,"
    report = load_rows(conn, tmp_path, first, other, first)
    assert reasons(conn) == ["event_id: appears twice in this file"]
    assert all_of(conn, "SELECT event_id::text, item_id FROM feed.interactions") == [(EVENT, "i1")]
    counts = report.entities["interactions"]
    assert (counts.inserted, counts.duplicate, counts.rejected) == (1, 1, 1)


def test_a_refused_row_does_not_take_the_event_id_of_a_good_one(
    conn: psycopg.Connection, tmp_path: Path
) -> None:
    load_rows(
        conn, tmp_path, f"{EVENT},u1,i1,teleport,2026-01-01,", f"{EVENT},u1,i1,click,2026-01-01,"
    )
    assert all_of(conn, "SELECT type FROM feed.interactions") == [("click",)]


def test_ten_megabytes_in_one_field(conn: psycopg.Connection, tmp_path: Path) -> None:
    csv(tmp_path, GOOD)
    csv(tmp_path, f"i1,{'x' * 10_485_760}", "i2,short", name="items", header="id,title")
    log = read_log(tmp_path, "csv")
    load(conn, log)
    assert log.summary.warnings("items") == [
        "1 × title: longer than 65536 bytes, left out "
        "(line 2: title: 10485760 bytes, at most 65536)"
    ]
    assert all_of(conn, "SELECT id, title FROM feed.items ORDER BY id") == [
        ("i1", None),
        ("i2", "short"),
    ]


@pytest.mark.parametrize(
    ("entity", "header", "row", "reason"),
    [
        ("users", "id,lat,lon", "u1,NaN,2", "lat: 'NaN' is not a number"),
        ("users", "id,lat,lon", "u1,1,181", "lon: 181 is not in -180..180"),
        ("users", "id,lat,lon", "u1,inf,2", "lat: inf is not in -90..90"),
        ("users", "id,lat,lon", "u1,north,2", "lat: 'north' is not a number"),
        ("users", "id,lat,lon", "u1,1,", "lat: without lon"),
        ("users", "id,lat", "u1,1", "lat: without lon"),
        ("items", "id,lat,lon", "i1,,1", "lon: without lat"),
        ("items", "id,lon", "i1,1", "lon: without lat"),
        ("users", "id,attributes", "u1,yes", "attributes: 'yes' is not a JSON object"),
        ("owners", "id,completion_rate", "o1,87", "completion_rate: 87 is not in 0..1"),
        (
            "owners",
            "id,finished_jobs",
            "o1,2.5",
            "finished_jobs: 2.5 is not a whole number in 0..2147483647",
        ),
        ("items", "id,status", "i1,sold", "status: 'sold' is not one of draft, published, removed"),
        ("items", "id,price_min,price_max", "i1,5,2", "price_min: above price_max"),
        (
            "items",
            "id,starts_at",
            "i1,20026-01-01",
            "starts_at: '20026-01-01' is no time that is understood",
        ),
    ],
)
def test_bad_cells_of_the_catalogue_are_left_out(
    conn: psycopg.Connection, tmp_path: Path, entity: Any, header: str, row: str, reason: str
) -> None:
    csv(tmp_path, ",u9,i9,click,2026-01-01,")
    csv(tmp_path, row, "good" + "," * header.count(","), name=entity, header=header)
    log = read_log(tmp_path, "csv")
    assert load(conn, log).rejected == 0
    assert reason in log.summary.warnings(entity)[0]
    bad = row.partition(",")[0]
    assert {(bad,), ("good",)} <= set(all_of(conn, f"SELECT id FROM feed.{entity}"))


def test_a_time_ahead_that_the_shift_would_push_beyond_the_last_is_left_out(
    conn: psycopg.Connection, tmp_path: Path
) -> None:
    csv(tmp_path, GOOD)
    csv(tmp_path, "i1,9999-12-31", name="items", header="id,publish_at")
    log = read_log(tmp_path, "csv")
    load(conn, log)
    assert log.summary.warnings("items") == []
    shifted = shift_to(log, datetime.now(UTC))
    load(conn, shifted)
    assert "publish_at" in shifted.summary.warnings("items")[0]


def test_what_has_passed_stays_passed_when_the_clock_is_shifted(
    conn: psycopg.Connection, tmp_path: Path
) -> None:
    csv(tmp_path, ",u1,old,click,2020-01-01,", ",u1,old,view,2020-01-03,")
    csv(
        tmp_path,
        "old,2020-01-01,2020-01-02,2020-01-05",
        "new,2020-02-01,2020-03-01,2020-01-05",
        "planned,2020-02-01,9000-01-01,9000-01-01",
        name="items",
        header="id,created_at,publish_at,starts_at",
    )
    csv(tmp_path, "u1,2021-01-01", name="users", header="id,created_at")
    now = datetime.now(UTC).replace(microsecond=0)
    log = shift_to(read_log(tmp_path, "csv"), now)
    load(conn, log)
    day = timedelta(days=1)
    ahead = datetime(9000, 1, 1, tzinfo=UTC) + (now - datetime(2020, 1, 3, tzinfo=UTC))
    found = all_of(conn, "SELECT created_at, publish_at, starts_at FROM feed.items ORDER BY id")
    assert found == [
        (now, now, now + 2 * day),
        (now - 2 * day, now - day, now + 2 * day),
        (now, ahead, ahead),
    ]
    assert all_of(conn, "SELECT created_at FROM feed.users") == [(now,)]
    assert log.summary.warnings("items") == log.summary.warnings("users") == []


def test_a_clock_that_is_a_little_ahead_shifts_nothing_into_the_future(
    conn: psycopg.Connection, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    ahead = (now + timedelta(minutes=5)).isoformat()
    csv(tmp_path, ",u1,i1,click,2020-01-01,", f",u1,i1,view,{ahead},")
    load(conn, shift_to(read_log(tmp_path, "csv"), now))
    assert all_of(conn, "SELECT max(occurred_at) FROM feed.interactions") == [(now,)]


def test_users_and_items_are_as_old_as_their_first_interaction(
    conn: psycopg.Connection, tmp_path: Path
) -> None:
    csv(
        tmp_path,
        ",u1,i1,click,2026-01-03T00:00:00Z,",
        ",u1,i2,click,2026-01-02T00:00:00Z,",
        ",u2,i1,click,2026-01-04T00:00:00Z,",
    )
    csv(tmp_path, "u1,", "u2,2025-05-05", name="users", header="id,created_at")
    csv(tmp_path, "i1", "unseen", name="items", header="id")
    created = (
        "SELECT id, created_at FROM feed.users UNION ALL SELECT id, created_at FROM feed.items"
    )
    log = read_log(tmp_path, "csv")
    before = datetime.now(UTC)
    # the newest interaction is on 4 January; the clock is shifted by a day
    report = load(conn, shift_to(log, datetime(2026, 1, 5, tzinfo=UTC)))
    found = dict(all_of(conn, created))
    conn.commit()
    assert before <= found.pop("unseen") <= datetime.now(UTC)
    assert found == {
        "u1": datetime(2026, 1, 3, tzinfo=UTC),
        "u2": datetime(2025, 5, 6, tzinfo=UTC),
        "i1": datetime(2026, 1, 4, tzinfo=UTC),
        "i2": datetime(2026, 1, 3, tzinfo=UTC),
    }
    assert (report.entities["users"].implied, report.entities["items"].implied) == (0, 1)
    everything = "SELECT i.*, i.xmin FROM feed.items i ORDER BY id"
    rows = all_of(conn, everything)
    conn.commit()
    load(conn, shift_to(log, datetime(2026, 1, 6, tzinfo=UTC)))
    assert all_of(conn, everything) == rows


def test_quotes_emoji_and_more_in_ids(conn: psycopg.Connection, tmp_path: Path) -> None:
    odd = ['O\'Brien "Bob" 🎉', "a,b;c\td", "line\nbreak", "\\N", "\\.", "ünï", " space "]
    rows = [f',"{user.replace(chr(34), chr(34) * 2)}",i1,click,2026-01-01,' for user in odd]
    load_rows(conn, tmp_path, *rows)
    assert sorted(
        user for (user,) in all_of(conn, "SELECT user_id FROM feed.interactions")
    ) == sorted(odd)
    assert sorted(user for (user,) in all_of(conn, "SELECT id FROM feed.users")) == sorted(odd)


def test_loading_twice_adds_nothing(conn: psycopg.Connection, tmp_path: Path) -> None:
    csv(tmp_path, GOOD, GOOD, f"{EVENT},u1,i2,view,2026-01-01,", ",u1,i1,teleport,2026-01-01,")
    csv(tmp_path, "i1,Saw,a|b", "i2,Hammer,", name="items", header="id,title,tags")
    tables = ("users", "items", "interactions", "interactions_rejected")
    counts = " UNION ALL ".join(f"SELECT count(*) FROM feed.{table}" for table in tables)
    for now in (datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)):
        report = load(conn, shift_to(read_log(tmp_path, "csv"), now))
        assert all_of(conn, counts) == [(1,), (2,), (3,), (1,)]
    assert report.entities["items"].duplicate == 2
    assert report.entities["interactions"].duplicate == 3
    assert all_of(conn, "SELECT max(occurred_at) FROM feed.interactions") == [
        (datetime(2026, 3, 1, tzinfo=UTC),)
    ]


def test_a_catalogue_is_updated_in_the_columns_that_the_file_has(
    conn: psycopg.Connection, tmp_path: Path
) -> None:
    interactions = csv(tmp_path, GOOD)
    csv(tmp_path, "i1,Saw,a|b|[c]", name="items", header="id,title,tags")
    load(conn, read_log(tmp_path, "csv"))
    csv(tmp_path, "i1,removed", name="items", header="id,status")
    report = load(conn, read_log(interactions.parent, "csv"))
    assert report.entities["items"].updated == 1
    assert all_of(conn, "SELECT title, tags, status FROM feed.items") == [
        ("Saw", ["a", "b", "[c]"], "removed")
    ]


def test_a_failure_loads_nothing(conn: psycopg.Connection, tmp_path: Path) -> None:
    csv(tmp_path, GOOD)
    csv(tmp_path, "u1", name="users", header="id")
    conn.execute("ALTER TABLE feed.interactions ADD CHECK (type <> 'click')")
    conn.commit()
    with pytest.raises(psycopg.errors.CheckViolation):
        load(conn, read_log(tmp_path, "csv"))
    assert all_of(conn, "SELECT count(*) FROM feed.users") == [(0,)]


def test_an_event_id_of_another_event_is_refused(conn: psycopg.Connection, tmp_path: Path) -> None:
    load_rows(conn, tmp_path, EVENT + GOOD)
    same = load_rows(conn, tmp_path, EVENT + GOOD).entities["interactions"]
    assert (same.inserted, same.duplicate, same.rejected) == (0, 1, 0)
    for row, fields in (
        (",u2,i2,click,2026-01-02T03:04:05Z,", "user_id and item_id"),
        (",u1,i1,view,2026-03-02T03:04:05Z,", "type and occurred_at"),
    ):
        counts = load_rows(conn, tmp_path, EVENT + row).entities["interactions"]
        assert (counts.inserted, counts.duplicate, counts.rejected) == (0, 0, 1)
        assert f"another event's, with another {fields}: " in reasons(conn)[-1]
    assert all_of(conn, "SELECT user_id FROM feed.interactions") == [("u1",)]
    assert all_of(conn, "SELECT id FROM feed.users") == [("u1",)]


def test_months_that_have_rows_get_partitions_and_a_stray_row_stays(
    conn: psycopg.Connection, tmp_path: Path
) -> None:
    conn.execute(
        "INSERT INTO feed.interactions (event_id, user_id, item_id, type, occurred_at)"
        " VALUES (gen_random_uuid(), 'p', 'i', 'click', '2025-06-10')"
    )
    conn.commit()
    report = load_rows(conn, tmp_path, *(f",u1,i1,click,{day}," for day in
        ("1970-01-01", "2025-05-31", "2025-06-01", "2026-01-31T23:59:59Z")))  # fmt: skip
    assert report.entities["interactions"].inserted == 4
    tables = all_of(
        conn,
        "SELECT tableoid::regclass::text, count(*) FROM feed.interactions GROUP BY 1 ORDER BY 1",
    )
    assert tables == [
        ("feed.interactions_197001", 1),
        ("feed.interactions_202505", 1),
        ("feed.interactions_202601", 1),
        ("feed.interactions_default", 2),
    ]
    partitions = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'feed.interactions'::regclass"
    assert all_of(conn, partitions) == [(4,)]


@pytest.mark.parametrize("header", [HEADER, HEADER.partition(",")[2]])
def test_rows_alike_without_ids_are_all_loaded_and_once(
    conn: psycopg.Connection, tmp_path: Path, header: str
) -> None:
    alike = GOOD if header == HEADER else GOOD.removeprefix(",")
    other = EVENT + GOOD if header == HEADER else alike.replace("u1", "u2")

    def inserted(*rows: str) -> int:
        file = csv(tmp_path, *rows, header=header)
        return load(conn, read_log(file, "csv")).entities["interactions"].inserted

    assert inserted(alike, other, alike, alike) == 4
    assert inserted(alike, other, alike, alike) == 0
    assert inserted(other, *[alike] * 4) == 1  # a log that has grown


def test_nothing_is_left_behind(conn: psycopg.Connection, tmp_path: Path) -> None:
    temporary = "SELECT count(*) FROM pg_class WHERE relpersistence = 't' AND relkind = 'r'"
    load_rows(conn, tmp_path, GOOD)
    assert all_of(conn, temporary) == [(0,)]
    conn.execute("ALTER TABLE feed.interactions ADD CHECK (type <> 'view') NOT VALID")
    conn.commit()
    with pytest.raises(psycopg.errors.CheckViolation):
        load_rows(conn, tmp_path, ",u1,i1,view,2026-01-01,", ",u1,i1,?,2026-01-01,")
    assert all_of(conn, temporary) == [(0,)]
    assert reasons(conn) == []


def test_a_large_first_load_leaves_the_indexes_as_they_were(
    conn: psycopg.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    indexes = (
        "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'feed' "
        "AND tablename IN ('interactions', 'interactions_default', 'event_ids') ORDER BY 1, 2"
    )
    before = all_of(conn, indexes)
    conn.commit()
    monkeypatch.setattr("storage.events.table.INDEX_LATER", 1)
    load_rows(conn, tmp_path, GOOD)
    assert all_of(conn, indexes) == before
    triggers = "SELECT DISTINCT tgenabled FROM pg_trigger WHERE NOT tgisinternal"
    assert all_of(conn, triggers) == [("O",)]
    ids = "SELECT event_id, occurred_at FROM feed.{}"
    assert all_of(conn, f"{ids.format('event_ids')} ORDER BY 1") == all_of(
        conn, f"{ids.format('interactions')} ORDER BY 1"
    )
    assert load_rows(conn, tmp_path, GOOD).entities["interactions"].inserted == 0


def test_json_lines_with_a_bad_line(conn: psycopg.Connection, tmp_path: Path) -> None:
    file = tmp_path / "interactions.jsonl"
    good = {
        "user_id": 7,
        "item_id": "i1",
        "type": "buy",
        "occurred_at": 1767225600000,
        "metadata": {"position": 3, "note": 'a\u0001\n"b"'},
    }
    file.write_bytes(
        orjson.dumps(good) + b"\n{oops\n\n[1]\n" + orjson.dumps(good | {"user_id": "8"})
    )
    load(conn, read_log(file, "jsonl", Mapping(types={"buy": "apply"})))
    assert all_of(
        conn, "SELECT user_id, type, occurred_at, metadata FROM feed.interactions ORDER BY 1"
    ) == [
        (user, "apply", datetime(2026, 1, 1, tzinfo=UTC), good["metadata"]) for user in ("7", "8")
    ]
    assert reasons(conn) == ["row: not a JSON object"] * 2
    assert ("{oops",) in all_of(conn, "SELECT raw FROM feed.interactions_rejected")


def test_a_refused_row_says_whose_it_is(conn: psycopg.Connection, tmp_path: Path) -> None:
    csv(tmp_path, "7.0,i1,click,never", '"é""\t",i1,click,never', ",i1,view,never", "a,b,c,d,e",
        header="visitor,item_id,type,occurred_at")  # fmt: skip
    csv(tmp_path, "anna,", "anna,Oslo", name="users", header="id,city")
    load(conn, read_log(tmp_path, "csv", Mapping(interactions={"user_id": "visitor"})))
    found = all_of(
        conn,
        "SELECT entity, row_number, user_ids FROM feed.interactions_rejected"
        " ORDER BY entity, row_number",
    )
    assert found == [
        ("interactions", 2, ["7.0"]),
        ("interactions", 3, ['é"\t']),
        ("interactions", 4, []),
        ("interactions", 5, ["a"]),
        ("users", 3, ["anna"]),
    ]


def test_types_from_a_scale_of_numbers(conn: psycopg.Connection, tmp_path: Path) -> None:
    rows = [
        f"u{n},i,{stars},2026-01-01"
        for n, stars in enumerate(("5", "4", "3.5", "0", "NaN", "good"))
    ]
    file = csv(tmp_path, *rows, header="user_id,item_id,stars,occurred_at")
    steps = load_mapping("movielens").thresholds["rating"]
    load(conn, read_log(file, "csv", Mapping(thresholds={"stars": steps})))
    types = [
        kind for (kind,) in all_of(conn, "SELECT type FROM feed.interactions ORDER BY user_id")
    ]
    assert types == ["like", "like", "click", "dismiss"]
    assert [reason[:12] for reason in reasons(conn)] == ["type: 'NaN' ", "type: 'good'"]


text = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(text, text, st.lists(text, max_size=3)), min_size=1, max_size=5),
    form=st.sampled_from(["csv", "jsonl", "parquet"]),
)
@example(rows=[("0", "\r", [])], form="csv")  # within the quotes of one delimiter, not of others
def test_any_text_comes_back_the_same(
    conn: psycopg.Connection, rows: list[tuple[str, str, list[str]]], form: Any
) -> None:
    items = {item: tags for _, item, tags in rows}
    pairs = {(user, item) for user, item, _ in rows}
    log = Log(
        interactions=pl.DataFrame(
            list(pairs), schema=["user_id", "item_id"], orient="row"
        ).with_columns(
            type=pl.lit("view"), occurred_at=pl.lit(datetime.now(UTC) - timedelta(days=1))
        ),
        items=pl.DataFrame(
            {"id": list(items), "tags": list(items.values())},
            schema={"id": pl.String, "tags": pl.List(pl.String)},
        ),
    )
    for table in ("users", "items", "interactions"):
        conn.execute(f"DELETE FROM feed.{table}")
    conn.commit()
    with tempfile.TemporaryDirectory() as folder:
        write(log, Path(folder), form)
        report = load(conn, read_log(Path(folder), form))
    assert report.rejected == 0
    assert set(all_of(conn, "SELECT user_id, item_id FROM feed.interactions")) == pairs
    assert dict(all_of(conn, "SELECT id, tags FROM feed.items")) == items
    conn.commit()
