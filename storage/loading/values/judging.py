"""One column of text or of another type -> the type that it must have, cell by cell.

What is wrong with a required cell refuses its row; what is wrong with an optional one leaves
the cell out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import ClassVar

import polars as pl

from models.profile.interaction_types import DEFAULT_TYPES, InteractionTypes
from storage.loading.reading.chunk import Chunk
from storage.loading.values import cells
from storage.loading.values.columns import (
    CLOCK_SLACK,
    COLUMNS,
    EARLIEST,
    LATEST,
    MAX_ID_BYTES,
    MAX_TEXT_BYTES,
    MAX_WHOLE,
    STATUSES,
    Column,
    Entity,
)
from storage.loading.values.numbers import DECIMALS, NumberReader
from storage.loading.values.times import FORMATS, TimeReader, why_not

SHOWN = 60  # characters of a refused value that its reason repeats
THOUSAND = 1_000
IN_DOUBT = 'may be thousands or have decimals: say  decimal: ","  or  decimal: "."  in the mapping'
_NUL = "\x00"

Reason = Callable[[pl.Series], pl.Series]


@dataclass(frozen=True)
class Tally:
    """Something that happened ``count`` times, first in ``line``."""

    kind: str
    count: int
    example: str
    line: int


class Readers:
    """How the columns of times and of numbers of one entity are written, once it is decided."""

    def __init__(
        self,
        entity: Entity,
        time_format: str,
        time_zone: str,
        decimal: str | None = None,
        delimiter: str | None = None,
    ) -> None:
        """
        Args:
            decimal: what parts decimals; None: as each column shows.
            delimiter: of the file; semicolons are of those whose decimals have a comma.
        """
        convention = None if decimal is None else DECIMALS.index(decimal)
        self.times = {
            column.name: TimeReader(time_format, time_zone)
            for column in COLUMNS[entity]
            if column.kind == "time"
        }
        self.numbers = {
            column.name: NumberReader(
                convention, large=column.high >= THOUSAND, semicolons=delimiter == ";"
            )
            for column in COLUMNS[entity]
            if column.kind in ("number", "whole")
        }

    def decide(self, chunk: Chunk, column: Callable[[str], Iterator[pl.Series]]) -> None:
        """Decide what these rows leave open; ``column`` gives the whole of the one of that name."""
        frame = chunk.frame
        for name, time in self.times.items():
            if name in frame.columns:
                time.decide(frame[name], partial(column, name))
        there = {name: each for name, each in self.numbers.items() if name in frame.columns}
        decided = [each.decide(frame[name], partial(column, name)) for name, each in there.items()]
        if any(decided):
            self._as_in_other_columns()

    def _as_in_other_columns(self) -> None:
        """A file that writes one column so writes those so that do not show it."""
        ways = {number.decimal for number in self.numbers.values() if number.decimal is not None}
        for each in self.numbers.values() if len(ways) == 1 else ():
            if each.is_decided and each.decimal is None:
                each.decimal = next(iter(ways))

    def doubts(self) -> list[str]:
        """What is doubtful of how columns that must be filled were read."""
        return [
            f"{name}: {message}"
            for name, reader in self.times.items()
            if name == "occurred_at" and (message := reader.numbers.doubt())
        ]


class Judge:
    """Types the columns of one chunk, and collects what is wrong with their cells.

    Args:
        readers: how to read the columns of times and numbers.
        shift: added to all times.
        ends_at: the newest interaction where there is a shift: what has passed by then is drawn
            to it, not to lie in the future.
        types: of interactions, that there are.
    """

    REFUSED: ClassVar = {"at": pl.UInt32, "kind": pl.String, "reason": pl.String}

    def __init__(
        self,
        chunk: Chunk,
        tag_separator: str,
        readers: Readers,
        shift: timedelta,
        ends_at: datetime | None,
        types: InteractionTypes = DEFAULT_TYPES,
    ) -> None:
        self._chunk, self._separator, self._readers = chunk, tag_separator, readers
        self._shift, self._ends_at, self._types = shift, ends_at, types
        self._found: list[pl.DataFrame] = []
        self.left_out = [
            Tally(f"{note.kind}, left out", 1, note.example, note.line) for note in chunk.notes
        ]

    def refuse_problems(self, problem: pl.Series) -> None:
        """Refuse the rows that could not be taken apart."""
        at = problem.is_not_null().arg_true()
        words = problem.gather(at)
        self._found.append(pl.DataFrame({"at": at, "kind": words, "reason": words}))

    def refuse(self, bad: pl.Series, kind: str, reason: Reason | None = None) -> None:
        """Refuse where ``bad`` is true; ``reason`` gets places from 0. None: ``kind``."""
        at = bad.fill_null(False).arg_true()
        if len(at):
            words = reason(at) if reason else pl.repeat(kind, len(at), eager=True)
            kinds = pl.repeat(kind, len(at), eager=True)
            self._found.append(pl.DataFrame({"at": at, "kind": kinds, "reason": words}))

    def left(
        self, typed: pl.Series, bad: pl.Series, kind: str, reason: Reason | None = None
    ) -> pl.Series:
        """``typed`` without the cells where ``bad`` is true, which are counted."""
        bad = bad.fill_null(False)
        if self._chunk.problem is not None:
            bad &= self._chunk.problem.is_null()
        at = bad.arg_true()
        if not len(at):
            return typed
        example = reason(at.head(1))[0] if reason else kind
        line = self._chunk.line[int(at[0])]
        self.left_out.append(Tally(f"{kind}, left out", len(at), example, line))
        return typed.set(bad, None)

    def refused(self) -> pl.DataFrame:
        """The first reason of each refused row, in the order of rows."""
        rows = pl.concat([pl.DataFrame(schema=self.REFUSED), *self._found], how="vertical_relaxed")
        return rows.unique("at", keep="first", maintain_order=True).sort("at")

    def typed(self, series: pl.Series, column: Column) -> pl.Series:
        """The typed column, null where a cell is bad."""
        match column.kind:
            case "number" | "whole":
                return self._number(series, column)
            case "time":
                return self._time(series, column)
            case "tags":
                tags = cells.to_tags(series, self._separator)
                return self._text(tags.list.join("\x1f"), column, tags)
            case "json":
                text = cells.to_json(series)
                text = self._text(text, column)
                good = cells.is_json_object(text)
                return self._judged(
                    text, ~good, column, *_say(text, column, "is not a JSON object")
                )
            case "uuid":
                text = cells.to_uuids(series)
                bad = ~text.str.contains("^[0-9a-f]{32}$")
                return self._judged(
                    text, bad, column, *_say(cells.to_text(series), column, "is not a UUID")
                )
            case "type" | "status":
                return self._word(cells.to_text(series), column)
            case "id":
                return self._id(series, column)
            case "text":
                return self._text(cells.to_text(series), column)

    def _judged(
        self,
        typed: pl.Series,
        bad: pl.Series,
        column: Column,
        kind: str,
        reason: Reason | None = None,
    ) -> pl.Series:
        if not column.required:
            return self.left(typed, bad, kind, reason)
        self.refuse(bad, kind, reason)
        return typed

    def _filled(self, typed: pl.Series, column: Column) -> None:
        if column.filled:
            self.refuse(typed.is_null(), f"{column.name}: empty")

    def _word(self, text: pl.Series, column: Column) -> pl.Series:
        allowed = self._types.names if column.kind == "type" else STATUSES
        if column.kind == "status":
            text = text.set(text == "", None)
        plain = text.str.strip_chars().str.to_lowercase()
        text = plain.zip_with(plain.is_in(allowed), text)
        self._filled(text, column)
        one_of = f"is not one of {', '.join(allowed)}"
        text = self._judged(text, ~text.is_in(allowed), column, *_say(text, column, one_of))
        return text.fill_null("published") if column.kind == "status" else text

    def _id(self, series: pl.Series, column: Column) -> pl.Series:
        what = cells.nested_kind(series.dtype)
        if what:
            text = pl.Series(column.name, [None], dtype=pl.String).new_from_index(0, len(series))
            return self._judged(text, series.is_not_null(), column, f"{column.name}: is a {what}")
        text = cells.to_ids(series)
        for kind, sign in (("a list", "["), ("an object", "{")):
            bad = cells.is_nested_json(text, sign)
            text = self._judged(text, bad, column, f"{column.name}: is {kind}")
        self._filled(text, column)
        name = column.name
        if not column.required:
            text = text.set(text == "", None)
        text = self._judged(text, text == "", column, f"{name}: empty")
        long = text.str.len_bytes() > MAX_ID_BYTES
        text = self._judged(text, long, column, f"{name}: longer than {MAX_ID_BYTES} bytes")
        return self._judged(text, *self._nul(text, column))

    def _nul(self, text: pl.Series, column: Column) -> tuple[pl.Series, Column, str]:
        message = f"{column.name}: has a NUL byte, which Postgres cannot hold"
        return text.str.contains(_NUL, literal=True), column, message

    def _text(self, text: pl.Series, column: Column, typed: pl.Series | None = None) -> pl.Series:
        """``typed`` (the text itself, unless it is given) without what Postgres cannot hold."""
        typed = text if typed is None else typed
        size = text.str.len_bytes()
        message = f"{column.name}: longer than {MAX_TEXT_BYTES} bytes"
        typed = self._judged(
            typed,
            size > MAX_TEXT_BYTES,
            column,
            message,
            lambda at: pl.select(
                pl.format(f"{column.name}: {{}} bytes, at most {MAX_TEXT_BYTES}", size.gather(at))
            ).to_series(),
        )
        return self._judged(typed, *self._nul(text, column))

    def _number(self, series: pl.Series, column: Column) -> pl.Series:
        if series.dtype.is_numeric():
            text, number = series, series.cast(pl.Float64)
            number = number.fill_nan(None)  # what data frames write for an empty cell
        else:
            text = cells.to_text(series).str.strip_chars()
            text = text.set(text == "", None)
            reader = self._readers.numbers[column.name]
            number = reader.read(text)
            in_doubt = reader.in_doubt(text)
            text = self._judged(text, in_doubt, column, *_say(text, column, IN_DOUBT))
        original = text.cast(pl.String)
        bad = (number.is_null() & text.is_not_null()) | number.is_nan()
        if series.dtype.is_numeric():
            bad = number.is_nan()
        number = self._judged(number, bad, column, *_say(original, column, "is not a number"))
        if column.kind == "whole":
            whole = (number == number.floor()) & number.is_between(0, MAX_WHOLE)
            limits = f"is not a whole number in 0..{MAX_WHOLE}"
            number = self._judged(number, ~whole, column, *_say(original, column, limits, ""))
            return number.cast(pl.Int32, strict=False)
        limits = f"is not in {column.low:g}..{column.high:g}"
        outside = ~number.is_between(column.low, column.high)
        return self._judged(number, outside, column, *_say(original, column, limits, ""))

    def _time(self, series: pl.Series, column: Column) -> pl.Series:
        reader = self._readers.times[column.name]
        times = reader.read(series)
        original = cells.to_text(series)
        empty = original.is_null() | (original == "")
        if not column.required and reader.form not in FORMATS and (times.is_null() & ~empty).any():
            # the pattern of the mapping may be that of the interactions alone
            again = TimeReader("auto", reader.zone).read(series)
            times = times.zip_with(times.is_not_null(), again)
        if column.filled:
            self.refuse(empty, f"{column.name}: empty")
        unread = times.is_null() & ~empty
        times = self._judged(
            times,
            unread,
            column,
            f"{column.name}: no time that is understood",
            _reason_of_time(original, column, reader),
        )
        passed = latest = datetime.now(UTC) + CLOCK_SLACK
        if column.future:  # the shift must not push it beyond the last time that there is
            latest = LATEST - max(self._shift, timedelta(0))
        until = LATEST.year if column.future else "now"
        earliest = EARLIEST + max(-self._shift, timedelta(0))
        outside = ~times.is_between(earliest, latest)
        message = f"is not a time between 1970 and {until}"
        times = self._judged(times, outside, column, *_say(original, column, message))
        if self._ends_at is None:
            return times
        if column.passes or not column.future:
            times = times.set((times > self._ends_at) & (times <= passed), self._ends_at)
        return times.set(outside, None) + self._shift


def _reason_of_time(original: pl.Series, column: Column, reader: TimeReader) -> Reason:
    def reason(at: pl.Series) -> pl.Series:
        words = [
            f"{column.name}: {value[:SHOWN]!r} {why_not(value, reader)}"
            for value in original.gather(at)
        ]
        return pl.Series(words, dtype=pl.String).str.replace_all(_NUL, "\\0", literal=True)

    return reason


def _say(values: pl.Series, column: Column, problem: str, quote: str = "'") -> tuple[str, Reason]:
    """Kind and reason: the column, the refused value, and what is wrong with it."""

    def reason(at: pl.Series) -> pl.Series:
        value = values.gather(at)
        cut = pl.select(
            pl.when(value.str.len_chars() > SHOWN).then(pl.lit("…")).otherwise(pl.lit(""))
        ).to_series()
        shown = (value.str.slice(0, SHOWN) + cut).str.replace_all(_NUL, "\\0", literal=True)
        return f"{column.name}: {quote}" + shown + f"{quote} {problem}"

    return f"{column.name}: {problem.removeprefix('is ')}", reason
