"""What readers hand on: some rows of a file, with their line numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import orjson
import polars as pl


@dataclass(frozen=True)
class Note:
    """A value of ``field`` that was left out while its row was kept."""

    field: str
    kind: str
    example: str
    line: int


@dataclass(frozen=True)
class Chunk:
    """Some rows. All members are row for row.

    ``frame``: the cells, text or of a type of their own.
    ``line``: Int64, from 1, where in its file each row begins.
    ``problem``: String, why the row could not be taken apart, else null; None: no row has one.
    ``raw``: places (from 0) -> the rows as they stood, as JSON text or the line itself.
    """

    frame: pl.DataFrame
    line: pl.Series
    problem: pl.Series | None
    raw: Callable[[pl.Series], pl.Series]
    notes: list[Note] = field(default_factory=list)

    def only(self, kept: pl.Series) -> Chunk:
        """The rows where ``kept`` is true."""
        indices = kept.arg_true()
        return Chunk(
            self.frame.filter(kept),
            self.line.filter(kept),
            None if self.problem is None else self.problem.filter(kept),
            lambda at: self.raw(indices.gather(at)),
            self.notes,
        )


def of_frame(frame: pl.DataFrame, raw: pl.DataFrame | None = None, first: int = 1) -> Chunk:
    """A frame in memory as one chunk; ``raw`` has the rows as they stood, when they differ."""
    whole = frame if raw is None else raw
    line = pl.int_range(first, first + len(frame), eager=True)
    return Chunk(frame, line, None, lambda at: as_json(whole[at]))


def as_json(rows: pl.DataFrame) -> pl.Series:
    """Each row as JSON text, whatever the types of its columns; NUL is written as an escape."""
    # polars panics on binary columns; the rows that were refused are few
    lines = [orjson.dumps(row, default=_plain).decode() for row in rows.iter_rows(named=True)]
    return pl.Series("raw", lines, dtype=pl.String)


def _plain(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
