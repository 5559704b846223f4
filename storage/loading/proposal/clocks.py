"""Times that stand in several columns: a date and a clock, or a year, a month and a day."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from storage.loading.proposal.looks import Column, Look
from storage.loading.reading.joined import with_joined
from storage.loading.values.times import TimeReader

_DATE = r"^\s*(\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}|[A-Za-z]{3,} \d{1,2},? \d{4})\s*$"
_CLOCK = r"^\s*([01]?\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d+)?)?( [AaPp][Mm])?\s*$"


def with_clock(look: Look, date: Column) -> str | None:
    """The column ``date`` and the clock of another; None: it has a clock, or there is no other."""
    if not date.like(_DATE):
        return None
    clocks = [column for column in look.columns if column.like(_CLOCK)]
    return f"{{{date.name}}} {{{clocks[0].name}}}" if len(clocks) == 1 else None


def of_parts(look: Look) -> str | None:
    """A year, a month and a day, as ``date_year``; with hours and minutes where they are there."""
    there = {column.plain: column.name for column in look.columns if column.whole > 0.9}
    for year in (name for name in there if name.endswith("year")):
        before = year.removesuffix("year")
        names = [there.get(before + part) for part in ("year", "month", "day", "hour", "minute")]
        if None in names[:3]:
            continue
        date = "-".join(f"{{{name}}}" for name in names[:3])
        full = f"{date} {{{names[3]}}}:{{{names[4]}}}"
        joined = full if None not in names[3:] else date
        text = with_joined(
            pl.DataFrame({column.name: column.text for column in look.columns}), [joined]
        )[joined]
        if replace(look.columns[0], name=joined, text=text).are_times(TimeReader()):
            return joined
    return None
