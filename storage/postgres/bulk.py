"""Write whole tables of results at the speed of ``COPY``."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import psycopg
from psycopg import sql

CHUNK_ROWS = 250_000
_SPECIAL = r"[\\\t\n\r]"


def copy_frame(
    conn: psycopg.Connection,
    table: sql.Composable,
    frame: pl.DataFrame,
    *,
    chunk: int = CHUNK_ROWS,
    sent: Callable[[int], None] = lambda rows: None,
) -> None:
    """Append a frame's rows to a table; columns go by name. The caller commits.

    Args:
        chunk: rows that are written as text at a time.
        sent: called with the rows that are sent, after each chunk; once with 0 for none.
    """
    columns = sql.SQL(", ").join(map(sql.Identifier, frame.columns))
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(table, columns)
    with conn.cursor() as cursor, cursor.copy(statement) as copy:
        for start in range(0, len(frame), chunk):
            copy.write(as_copy_text(frame.slice(start, chunk)))
            sent(min(start + chunk, len(frame)))
    if frame.is_empty():
        sent(0)


def as_copy_text(rows: pl.DataFrame) -> bytes:
    """``rows`` in the text format of COPY: tabs between cells, backslash escapes, \\N for null."""
    cells = []
    for name, kind in rows.schema.items():
        cell = pl.col(name)
        if isinstance(kind, pl.List):
            element = pl.element().str.replace_all(r'([\\"])', r"\${1}")
            quoted = cell.list.eval(pl.lit('"') + element + pl.lit('"')).list.join(",")
            cell = pl.lit("{") + quoted + pl.lit("}")
        if isinstance(kind, pl.List) or kind == pl.String:
            if rows[name].dtype != pl.List and not rows[name].str.contains(_SPECIAL).any():
                cells.append(cell)
                continue
            for character, escape in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
                cell = cell.str.replace_all(character, escape, literal=True)
        cells.append(cell.alias(name))
    written = rows.select(cells).write_csv(
        separator="\t",
        include_header=False,
        quote_style="never",
        null_value="\\N",
        datetime_format="%Y-%m-%d %H:%M:%S%.6f+00",
    )
    return written.encode()


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
