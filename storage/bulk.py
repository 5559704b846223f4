"""Write whole tables of results at the speed of ``COPY``."""

from __future__ import annotations

import polars as pl
import psycopg
from psycopg import sql

from storage.loading import as_copy_text

CHUNK_ROWS = 200_000


def copy_frame(conn: psycopg.Connection, table: sql.Composable, frame: pl.DataFrame) -> None:
    """Append a frame's rows to a table; columns go by name. The caller commits."""
    columns = sql.SQL(", ").join(map(sql.Identifier, frame.columns))
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(table, columns)
    with conn.cursor() as cursor, cursor.copy(statement) as copy:
        for chunk in frame.iter_slices(CHUNK_ROWS):
            copy.write(as_copy_text(chunk))


def replace_rows(
    conn: psycopg.Connection, name: str, frame: pl.DataFrame, *, key: str | None = None
) -> None:
    """Replace what ``feed.<name>`` holds, in the caller's transaction.

    Two that replace the same table come one after the other; readers go on.

    Args:
        key: only rows whose key column is among the frame's are replaced. None: all rows.
    """
    table = sql.Identifier("feed", name)
    # Before the DELETE: else it would not see what another put there while it waited.
    conn.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(table))
    if key is None:
        # DELETE, not TRUNCATE: readers go on seeing the old rows until the commit.
        conn.execute(sql.SQL("DELETE FROM {}").format(table))
    else:
        conn.execute(
            sql.SQL("DELETE FROM {} WHERE {} = ANY(%s)").format(table, sql.Identifier(key)),
            (frame[key].unique().to_list(),),
        )
    copy_frame(conn, table, frame)
