"""Write whole tables of results at the speed of ``COPY``."""

from __future__ import annotations

import polars as pl
import psycopg
from psycopg import sql

NULL = "\\N"
CHUNK_ROWS = 200_000


def copy_frame(conn: psycopg.Connection, table: sql.Composable, frame: pl.DataFrame) -> None:
    """Append a frame's rows to a table; columns go by name. The caller commits."""
    columns = sql.SQL(", ").join(map(sql.Identifier, frame.columns))
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv, NULL {})").format(
        table, columns, sql.Literal(NULL)
    )
    with conn.cursor().copy(statement) as copy:
        for chunk in frame.iter_slices(CHUNK_ROWS):
            copy.write(
                chunk.write_csv(include_header=False, null_value=NULL, quote_style="necessary")
            )


def replace_rows(
    conn: psycopg.Connection, name: str, frame: pl.DataFrame, *, key: str | None = None
) -> None:
    """Replace what ``feed.<name>`` holds, in the caller's transaction.

    Args:
        key: only rows whose key column is among the frame's are replaced. None: all rows.
    """
    table = sql.Identifier("feed", name)
    if key is None:
        # DELETE, not TRUNCATE: readers go on seeing the old rows until the commit.
        conn.execute(sql.SQL("DELETE FROM {}").format(table))
    else:
        conn.execute(
            sql.SQL("DELETE FROM {} WHERE {} = ANY(%s)").format(table, sql.Identifier(key)),
            (frame[key].unique().to_list(),),
        )
    copy_frame(conn, table, frame)
