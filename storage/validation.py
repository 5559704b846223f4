"""Rows of a log -> typed rows, and those that are refused, each with its first reason.

Everything is by column. A bad row never takes a good one with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import polars as pl

from models.profile import INTERACTION_TYPES
from storage import cells
from storage.columns import COLUMNS, MAX_ID_BYTES, MAX_TEXT_BYTES, STATUSES, Column, Entity, key
from storage.log import PROBLEM, Log
from storage.quarantine import EARLIEST, LATEST, WITHOUT_ITEM
from storage.times import to_times

CLOCK_SLACK = timedelta(minutes=10)  # a client's clock may run a little ahead of ours
MAX_WHOLE = 2**31 - 1
SHOWN = 60  # characters of a refused value that its reason repeats
_NUL = "\x00"
_REFUSED = {"at": pl.UInt32, "kind": pl.String, "reason": pl.String}

Reason = Callable[[pl.Series], pl.Series]


@dataclass(frozen=True)
class Checked:
    """What validation made of one entity.

    ``good``: typed, with ``row_number`` (UInt32, from 1) and the columns that the log has.
    ``rejected``: row_number, kind (for counting), reason, raw (JSON text of the whole row).
    ``duplicates``: rows that repeat an earlier one of the same log exactly.
    """

    good: pl.DataFrame
    rejected: pl.DataFrame
    duplicates: int


@dataclass
class _Refusals:
    """Refused rows so far. Only bad rows get a reason in words: they are few."""

    found: list[pl.DataFrame] = field(default_factory=list)

    def add(self, bad: pl.Series, kind: str, reason: Reason | None = None) -> None:
        """Refuse where ``bad`` is true; ``reason`` gets row numbers from 0. None: ``kind``."""
        at = bad.fill_null(False).arg_true()
        if len(at):
            words = reason(at) if reason else pl.repeat(kind, len(at), eager=True)
            kinds = pl.repeat(kind, len(at), eager=True)
            self.found.append(pl.DataFrame({"at": at, "kind": kinds, "reason": words}))

    def first(self) -> pl.DataFrame:
        """The first reason of each refused row, in the order of rows."""
        found = pl.concat([pl.DataFrame(schema=_REFUSED), *self.found], how="vertical_relaxed")
        return found.unique("at", keep="first", maintain_order=True).sort("at")


def validate(log: Log, entity: Entity) -> Checked:
    """Check every row of one entity of ``log``, which must have it; times get the clock shift."""
    frame = log.frame(entity)
    if frame is None:
        raise KeyError(f"the log has no {entity}")
    raw = log.raw.get(entity, frame)
    refusals = _Refusals()
    if PROBLEM in frame.columns:
        problem = frame[PROBLEM]
        refusals.add(problem.is_not_null(), "row: not well-formed", lambda at: problem.gather(at))
    typed: dict[str, pl.Series] = {}
    for column in COLUMNS[entity]:
        if column.name in frame.columns:
            typed[column.name] = _check(frame[column.name], column, log, refusals)
    good = pl.DataFrame(typed)
    _check_together(entity, good, refusals)
    good = good.with_row_index("at")
    refused = refusals.first()
    if len(refused):
        good = good.join(refused, on="at", how="anti", maintain_order="left")
    duplicates = 0
    if key(entity) in typed:
        good, again, duplicates = _without_repeats(good, raw, key(entity))
        refused = pl.concat([refused, again], how="vertical_relaxed").sort("at")
    rejected = refused.select(
        (pl.col("at") + 1).alias("row_number"), "kind", "reason", raw=_as_json(raw, refused["at"])
    )
    good = good.select((pl.col("at") + 1).alias("row_number"), pl.exclude("at"))
    return Checked(good, rejected, duplicates)


def _check(series: pl.Series, column: Column, log: Log, refusals: _Refusals) -> pl.Series:
    """The typed column; its bad rows go to ``refusals``."""
    match column.kind:
        case "number" | "whole":
            return _numbers(series, column, refusals)
        case "time":
            return _times(series, column, log, refusals)
        case "tags":
            typed = cells.to_tags(series, log.tag_separator)
            _check_text(typed.list.join("\x1f"), column, refusals)
            return typed
        case "json":
            text = cells.to_json(series)
            _check_text(text, column, refusals)
            short = text.set(text.str.len_bytes() > MAX_TEXT_BYTES, None)
            good = cells.is_json_object(short)
            refusals.add(~good, *_say(text, column, "is not a JSON object"))
            return text
        case "uuid":
            text = cells.to_uuids(series)
            bad = ~text.str.contains("^[0-9a-f]{32}$")
            refusals.add(bad, *_say(series.cast(pl.String), column, "is not a UUID"))
            return text
        case "type" | "status":
            text = series.cast(pl.String)
            allowed = INTERACTION_TYPES if column.kind == "type" else STATUSES
            if column.kind == "status":
                text = text.fill_null("published")
            _check_filled(text, column, refusals)
            refusals.add(
                ~text.is_in(allowed), *_say(text, column, f"is not one of {', '.join(allowed)}")
            )
            return text
        case "id":
            text = series.cast(pl.String)
            _check_filled(text, column, refusals)
            refusals.add(text == "", f"{column.name}: empty")
            refusals.add(
                text.str.len_bytes() > MAX_ID_BYTES, f"{column.name}: longer than 255 bytes"
            )
            _check_nul(text, column, refusals)
            return text
        case "text":
            text = series.cast(pl.String)
            _check_text(text, column, refusals)
            return text


def _check_filled(text: pl.Series, column: Column, refusals: _Refusals) -> None:
    if column.filled:
        refusals.add(text.is_null(), f"{column.name}: empty")


def _check_nul(text: pl.Series, column: Column, refusals: _Refusals) -> None:
    refusals.add(
        text.str.contains(_NUL, literal=True),
        f"{column.name}: has a NUL byte, which Postgres cannot hold",
    )


def _check_text(text: pl.Series, column: Column, refusals: _Refusals) -> None:
    size = text.str.len_bytes()
    refusals.add(
        size > MAX_TEXT_BYTES,
        f"{column.name}: longer than {MAX_TEXT_BYTES} bytes",
        lambda at: pl.select(
            pl.format(f"{column.name}: {{}} bytes, at most {MAX_TEXT_BYTES}", size.gather(at))
        ).to_series(),
    )
    _check_nul(text, column, refusals)


def _numbers(series: pl.Series, column: Column, refusals: _Refusals) -> pl.Series:
    text = series.cast(pl.String) if not series.dtype.is_numeric() else series
    if text.dtype == pl.String:
        text = text.str.strip_chars()
        text = text.set(text == "", None)
    number = text.cast(pl.Float64, strict=False)
    original = series.cast(pl.String)
    refusals.add(number.is_null() & text.is_not_null(), *_say(original, column, "is not a number"))
    if column.kind == "whole":
        whole = (number == number.floor()) & number.is_between(0, MAX_WHOLE)
        refusals.add(
            ~whole, *_say(original, column, f"is not a whole number in 0..{MAX_WHOLE}", "")
        )
        return number.set(~whole, None).cast(pl.Int32)
    bad = ~number.is_between(column.low, column.high) | number.is_nan()
    limits = f"is not in {column.low:g}..{column.high:g}"
    refusals.add(bad, *_say(original, column, limits, ""))
    return number


def _times(series: pl.Series, column: Column, log: Log, refusals: _Refusals) -> pl.Series:
    times = to_times(series, log.time_format)
    original = series.cast(pl.String)
    empty = original.is_null() | (original == "")
    if column.filled:
        refusals.add(empty, f"{column.name}: empty")
    latest = datetime.now(UTC) + CLOCK_SLACK
    if column.future:  # the shift must not push it beyond the last time that there is
        latest = LATEST - max(log.clock_shift, timedelta(0))
    good = times.is_between(EARLIEST, latest).fill_null(False)
    until = LATEST.year if column.future else "now"
    refusals.add(~good & ~empty, *_say(original, column, f"is not a time between 1970 and {until}"))
    return times + log.clock_shift if log.clock_shift else times


def _say(values: pl.Series, column: Column, problem: str, quote: str = "'") -> tuple[str, Reason]:
    """Kind and reason: the column, the refused value, and what is wrong with it."""

    def reason(at: pl.Series) -> pl.Series:
        value = values.gather(at)
        shown = (
            value.str.slice(0, SHOWN)
            + pl.select(
                pl.when(value.str.len_chars() > SHOWN).then(pl.lit("…")).otherwise(pl.lit(""))
            ).to_series()
        )
        shown = shown.str.replace_all(_NUL, "\\0", literal=True)
        return f"{column.name}: {quote}" + shown + f"{quote} {problem}"

    return f"{column.name}: {problem}", reason


def _check_together(entity: Entity, typed: pl.DataFrame, refusals: _Refusals) -> None:
    """What takes more than one column to see."""
    if entity == "interactions":
        kind = typed["type"]
        refusals.add(
            typed["item_id"].is_null() & ~kind.is_in(WITHOUT_ITEM),
            "item_id: required",
            lambda at: "item_id: required for type " + kind.gather(at),
        )
    for one, other in (("lat", "lon"), ("lon", "lat")):
        if one in typed.columns:  # the reason is that of storage.quarantine
            there = typed[one].is_not_null()
            lacks = typed[other].is_null() if other in typed.columns else there
            refusals.add(there & lacks, f"{one} without {other}")
    if entity == "items" and {"price_min", "price_max"} <= set(typed.columns):
        low, high = typed["price_min"], typed["price_max"]
        refusals.add(
            low > high,
            "price_min: above price_max",
            lambda at: (
                "price_min: "
                + low.gather(at).cast(pl.String)
                + " is above price_max "
                + high.gather(at).cast(pl.String)
            ),
        )


def _without_repeats(
    good: pl.DataFrame, raw: pl.DataFrame, name: str
) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """The first row of each key; other rows that have its key; how many repeat it exactly."""
    ids = good[name]
    repeated = ~ids.is_first_distinct() & ids.is_not_null()
    if not repeated.any():
        return good, pl.DataFrame(schema=_REFUSED), 0
    involved = good.select("at", name).filter(ids.is_in(ids.filter(repeated).unique().implode()))
    involved = involved.with_columns(
        content=raw[involved["at"]].hash_rows(), again=~pl.col(name).is_first_distinct()
    ).with_columns(same=pl.col("content") == pl.col("content").first().over(name))
    again = involved.filter(pl.col("again") & ~pl.col("same"))
    reason = pl.lit(f"{name}: appears twice in this file").alias("reason")
    return (
        good.filter(~repeated),
        again.select("at", reason.alias("kind"), reason),
        involved.filter(pl.col("again") & pl.col("same")).height,
    )


def _as_json(raw: pl.DataFrame, at: pl.Series) -> pl.Series:
    """The rows as JSON text; NUL is written as an escape."""
    rows = raw[at]
    if rows.columns == ["line"]:
        return rows["line"].str.replace_all(_NUL, "\\u0000", literal=True)
    return rows.select(row=pl.struct(pl.exclude(PROBLEM)).struct.json_encode()).to_series()
