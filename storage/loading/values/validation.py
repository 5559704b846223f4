"""Rows of a log -> typed rows, and those that are refused, each with its first reason.

Everything is by column. A bad row never takes a good one with it, and an optional cell that
cannot be read never takes its row: it is left out, and counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from models.profile.interaction_types import InteractionTypes
from storage.loading.log import Log
from storage.loading.reading.chunk import Chunk
from storage.loading.seen import Seen
from storage.loading.values.columns import COLUMNS, MAX_ID_BYTES, Entity, key
from storage.loading.values.judging import SHOWN, Judge, Readers, Tally

__all__ = ["SHOWN", "Checked", "checked", "validate"]


@dataclass(frozen=True)
class Checked:
    """What validation made of some rows of one entity.

    ``good``: typed, with ``row_number`` (Int64, the line in the file, from 1) and the columns
    that the log has.
    ``rejected``: row_number, kind (for counting), reason, raw (JSON text of the whole row),
    user_ids (the user whom it names, if any).
    ``duplicates``: rows that repeat an earlier one of the same log exactly.
    ``left_out``: optional cells that could not be read; their rows are among the good.
    """

    good: pl.DataFrame
    rejected: pl.DataFrame
    duplicates: int
    left_out: list[Tally]

    @property
    def rows(self) -> int:
        """How many there were in all."""
        return len(self.good) + len(self.rejected) + self.duplicates


def checked(log: Log, entity: Entity) -> Iterator[Checked]:
    """Check the rows of one entity of ``log``, some at a time; times get the clock shift.

    What is found is added up in the log's ``summary`` as well. The columns of ``good`` are the
    same each time.

    Raises:
        KeyError: the log has no such entity.
        LoadError: a file cannot be read to its end.
    """
    seen = Seen()
    delimiter = str(log.rows[entity].document()["delimiter"])
    readers = Readers(entity, log.time_format, log.time_zone, log.decimal, delimiter)
    log.summary.begin(entity)
    for chunk in log.chunks(entity):
        readers.decide(chunk, lambda name: log.column(entity, name))
        part = _checked(chunk, entity, log, readers, seen)
        log.summary.add(entity, part.good, part.rejected, part.duplicates, part.left_out)
        yield part
    log.summary.entities[entity].doubts = readers.doubts()
    log.summary.entities[entity].damage = log.rows[entity].damage


def validate(log: Log, entity: Entity) -> Checked:
    """Check every row of one entity of ``log`` at once: for small logs."""
    parts = list(checked(log, entity))
    if len(parts) == 1:
        return parts[0]
    if not parts:
        empty = pl.DataFrame(schema={"row_number": pl.Int64})
        return Checked(empty, pl.DataFrame(schema=_REJECTED), 0, [])
    return Checked(
        pl.concat([part.good for part in parts]),
        pl.concat([part.rejected for part in parts]),
        sum(part.duplicates for part in parts),
        [tally for part in parts for tally in part.left_out],
    )


_REJECTED: dict[str, pl.DataType | type[pl.DataType]] = {
    "row_number": pl.Int64,
    "kind": pl.String,
    "reason": pl.String,
    "raw": pl.String,
    "user_ids": pl.List(pl.String),
}


def _checked(chunk: Chunk, entity: Entity, log: Log, readers: Readers, seen: Seen) -> Checked:
    judge = Judge(chunk, log.tag_separator, readers, log.clock_shift, log.ends_at, log.types)
    if chunk.problem is not None:
        judge.refuse_problems(chunk.problem)
    typed = {
        column.name: judge.typed(chunk.frame[column.name], column)
        for column in COLUMNS[entity]
        if column.name in chunk.frame.columns
    }
    _check_together(entity, typed, judge, log.types)
    good = pl.DataFrame(typed).with_row_index("at")
    refused = judge.refused()
    if len(refused):
        good = good.join(refused, on="at", how="anti", maintain_order="left")
    duplicates = 0
    if key(entity) in typed:
        good, again, duplicates = _without_repeats(good, chunk, key(entity), seen)
        refused = pl.concat([refused, again], how="vertical_relaxed").sort("at")
    rejected = refused.select(
        row_number=chunk.line.gather(refused["at"]),
        kind="kind",
        reason="reason",
        raw=chunk.raw(refused["at"]),
        user_ids=_users(entity, typed, refused["at"]),
    )
    line = chunk.line.gather(good["at"])
    good = good.select(line.alias("row_number"), pl.exclude("at"))
    return Checked(good, rejected, duplicates, judge.left_out)


def _check_together(
    entity: Entity, typed: dict[str, pl.Series], judge: Judge, types: InteractionTypes
) -> None:
    """What takes more than one column to see."""
    if entity == "interactions":
        kind = typed["type"]
        judge.refuse(
            typed["item_id"].is_null() & ~kind.is_in(types.without_item),
            "item_id: required",
            lambda at: "item_id: required for type " + kind.gather(at),
        )
    for column, other in (("lat", "lon"), ("lon", "lat")):
        if column in typed:
            there = typed[column].is_not_null()
            lacks = there & (typed[other].is_null() if other in typed else True)
            typed[column] = judge.left(typed[column], lacks, f"{column}: without {other}")
            if other not in typed:
                del typed[column]  # it would take half of a place that is known already
    if {"price_min", "price_max"} <= set(typed):
        above = (typed["price_min"] > typed["price_max"]).fill_null(False)
        for name in ("price_min", "price_max"):
            typed[name] = judge.left(typed[name], above, f"{name}: {_ABOVE[name]}")


def _users(entity: Entity, typed: dict[str, pl.Series], at: pl.Series) -> pl.Series:
    """Of the rows at those places, the user whom each names, as a list of one or none."""
    named = typed.get("id" if entity == "users" else "user_id")
    if named is None:
        return pl.repeat([], len(at), dtype=pl.List(pl.String), eager=True)
    ids = named.gather(at)
    good = ids.str.len_bytes().is_between(1, MAX_ID_BYTES) & ~ids.str.contains("\0", literal=True)
    return pl.select(pl.concat_list(ids.set(~good, None)).list.drop_nulls()).to_series()


_ABOVE = {"price_min": "above price_max", "price_max": "below price_min"}


def _without_repeats(
    good: pl.DataFrame, chunk: Chunk, name: str, seen: Seen
) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """The first row of each key; other rows that have its key; how many repeat it exactly."""
    rows = good.select("at", name).filter(pl.col(name).is_not_null())
    rows = rows.with_columns(key=rows[name].hash(), content=_content(chunk, rows["at"]))
    rows = rows.with_columns(
        before=seen.content_of(rows["key"]), again=~pl.col("key").is_first_distinct()
    )
    new = rows.filter(~pl.col("again") & pl.col("before").is_null())
    seen.add(new["key"], new["content"])
    repeated = rows.with_columns(
        first=pl.coalesce("before", pl.col("content").first().over("key"))
    ).filter(pl.col("again") | pl.col("before").is_not_null())
    if repeated.is_empty():
        return good, pl.DataFrame(schema=Judge.REFUSED), 0
    other = repeated.filter(pl.col("content") != pl.col("first"))
    reason = pl.lit(f"{name}: appears twice in this file").alias("reason")
    return (
        good.join(repeated, on="at", how="anti", maintain_order="left"),
        other.select("at", reason.alias("kind"), reason),
        len(repeated) - len(other),
    )


def _content(chunk: Chunk, at: pl.Series) -> pl.Series:
    """A hash of each whole row, as far as we read it."""
    return chunk.frame[at].hash_rows()
