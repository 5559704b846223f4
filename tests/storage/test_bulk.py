"""Frames into tables and back, with every text that COPY could take for something else."""

from __future__ import annotations

import threading

import polars as pl
import psycopg
import pytest
from polars.testing import assert_frame_equal
from psycopg import sql

from storage.catalogue.queries import read
from storage.postgres import bulk
from storage.postgres.bulk import copy_frame, replace_rows
from storage.postgres.database import connect

TEXTS = [
    None,
    "",
    "\\N",
    "\\.",
    "NULL",
    "\\",
    'quote " and ""',
    "it's",
    "a,b;c",
    "tab\there",
    "line\nbreak",
    "carriage\r\nreturn",
    " spaces ",
    "{curly}",
    "Žluťoučký 🦊 漢字 ﷽",
]


@pytest.fixture
def conn(database: str):
    with connect(database) as connection:
        yield connection


def similarities(*rows: tuple[str, str, int]) -> pl.DataFrame:
    return pl.DataFrame(
        [(*row, 0.5) for row in rows],
        schema={
            "user_id": pl.String,
            "similar_id": pl.String,
            "rank": pl.Int16,
            "score": pl.Float32,
        },
        orient="row",
    )


def stored(conn: psycopg.Connection) -> list[tuple]:
    return conn.execute(
        "SELECT user_id, similar_id, rank FROM feed.user_similarities ORDER BY user_id, rank"
    ).fetchall()


def test_every_text_comes_back_as_it_was(conn: psycopg.Connection, database: str) -> None:
    conn.execute("CREATE TABLE feed.texts (id int, text text, many text[])")
    schema = pl.Schema({"id": pl.Int32(), "text": pl.String(), "many": pl.List(pl.String)})
    frame = pl.DataFrame(
        {
            "id": range(len(TEXTS)),
            "text": TEXTS,
            "many": [None if text is None else [text, "next"] for text in TEXTS],
        },
        schema=schema,
    )
    copy_frame(conn, sql.Identifier("feed", "texts"), frame)
    conn.commit()
    assert_frame_equal(
        read(database, "SELECT * FROM feed.texts ORDER BY id", schema=dict(schema)), frame
    )


def test_empty_lists_and_odd_numbers_come_back(conn: psycopg.Connection) -> None:
    conn.execute("CREATE TEMP TABLE odd (many text[], number float8, whole bigint, yes boolean)")
    frame = pl.DataFrame(
        {
            "many": [[], None],
            "number": [float("inf"), 1e-300],
            "whole": [-(2**63), None],
            "yes": [True, None],
        },
        schema_overrides={"many": pl.List(pl.String)},
    )
    copy_frame(conn, sql.Identifier("odd"), frame)
    assert conn.execute("SELECT * FROM odd").fetchall() == frame.rows()


def test_more_rows_than_a_chunk(conn: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "CHUNK_ROWS", 3)
    replace_rows(conn, "user_similarities", similarities(*(("u", f"v{n}", n) for n in range(10))))
    assert len(stored(conn)) == 10


def test_columns_go_by_name(conn: psycopg.Connection) -> None:
    frame = similarities(("u", "v", 1)).select("score", "rank", "similar_id", "user_id")
    replace_rows(conn, "user_similarities", frame)
    assert stored(conn) == [("u", "v", 1)]


def test_all_rows_are_replaced(conn: psycopg.Connection) -> None:
    replace_rows(conn, "user_similarities", similarities(("u", "v", 1), ("w", "v", 1)))
    replace_rows(conn, "user_similarities", similarities(("u", "x", 1)))
    assert stored(conn) == [("u", "x", 1)]
    replace_rows(conn, "user_similarities", similarities())
    assert stored(conn) == []


def test_only_the_rows_of_the_frames_keys_are_replaced(conn: psycopg.Connection) -> None:
    replace_rows(
        conn, "user_similarities", similarities(("u", "v", 1), ("u", "w", 2), ("x", "v", 1))
    )
    replace_rows(conn, "user_similarities", similarities(("u", "y", 1)), key="user_id")
    assert stored(conn) == [("u", "y", 1), ("x", "v", 1)]


def test_readers_see_the_old_rows_until_the_commit(conn: psycopg.Connection, database: str) -> None:
    replace_rows(conn, "user_similarities", similarities(("u", "old", 1)))
    conn.commit()
    replace_rows(conn, "user_similarities", similarities(("u", "new", 1)))
    with connect(database) as reader:
        assert stored(reader) == [("u", "old", 1)]
        reader.commit()
        conn.commit()
        assert stored(reader) == [("u", "new", 1)]


def test_what_fails_changes_nothing(conn: psycopg.Connection) -> None:
    replace_rows(conn, "user_similarities", similarities(("u", "v", 1)))
    conn.commit()
    with pytest.raises(psycopg.errors.UniqueViolation), conn.transaction():
        replace_rows(conn, "user_similarities", similarities(("w", "a", 1), ("w", "b", 1)))
    assert stored(conn) == [("u", "v", 1)]


def test_two_that_replace_come_one_after_the_other(conn: psycopg.Connection, database: str) -> None:
    replace_rows(conn, "user_similarities", similarities(("u", "first", 1)))

    def second() -> None:
        with connect(database) as other:
            replace_rows(other, "user_similarities", similarities(("u", "second", 1)))

    thread = threading.Thread(target=second)
    thread.start()
    thread.join(0.3)
    assert thread.is_alive()  # it waits for the first one's commit
    conn.commit()
    thread.join(10)
    assert stored(conn) == [("u", "second", 1)]
