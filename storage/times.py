"""Columns of times, in whatever way a log writes them, to UTC."""

from __future__ import annotations

from typing import Literal

import polars as pl

TimeFormat = Literal["auto", "rfc3339", "epoch_s", "epoch_ms", "epoch_us"]

UTC_TIME = pl.Datetime("us", "UTC")
_ZONED = ("%+", "%Y-%m-%d %H:%M:%S%.f%#z")
_LOCAL = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d")
_MICROSECONDS = {"epoch_s": 1e6, "epoch_ms": 1e3, "epoch_us": 1.0}
# An epoch below the bound is in that unit: 1e11 s is the year 5138, 1e11 ms is 1973.
_BOUNDS = ((1e11, 1e6), (1e14, 1e3), (float("inf"), 1.0))


def to_times(cells: pl.Series, form: TimeFormat = "auto") -> pl.Series:
    """Datetimes in UTC, microseconds; null where a cell is no time.

    ``cells`` is text, numbers, dates or datetimes. A time without an offset is
    taken as UTC. ``auto`` reads RFC 3339 and epochs, whose unit it tells by size.
    """
    if isinstance(cells.dtype, pl.Datetime):
        zoned = cells if cells.dtype.time_zone else cells.dt.replace_time_zone("UTC")
        return zoned.dt.convert_time_zone("UTC").dt.cast_time_unit("us")
    if cells.dtype == pl.Date:
        return cells.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if cells.dtype.is_numeric():
        return _from_epoch(cells, form)
    cells = cells.cast(pl.String)
    if form.startswith("epoch"):
        return _from_epoch(cells, form)
    times = _from_text(cells)
    if form == "auto" and times.null_count() > cells.null_count():
        times = _first(times, _from_epoch(cells, form))
    return times


def _from_text(cells: pl.Series) -> pl.Series:
    times = pl.Series(cells.name, [None], dtype=UTC_TIME).new_from_index(0, len(cells))
    for pattern in _ZONED + _LOCAL:
        zone = "UTC" if pattern in _ZONED else None
        parsed = cells.str.to_datetime(pattern, time_unit="us", time_zone=zone, strict=False)
        times = _first(times, parsed if zone else parsed.dt.replace_time_zone("UTC"))
        if times.null_count() == cells.null_count():
            break
    return times


def _from_epoch(cells: pl.Series, form: TimeFormat) -> pl.Series:
    numbers = cells.cast(pl.Float64, strict=False)
    numbers = numbers.set(~numbers.is_finite(), None)
    if form in _MICROSECONDS:
        exact = numbers * _MICROSECONDS[form]
    else:
        scale = pl.lit(1.0)
        for bound, factor in reversed(_BOUNDS):
            scale = pl.when(pl.col("n").abs() < bound).then(factor).otherwise(scale)
        exact = pl.select(n=numbers).select(pl.col("n") * scale).to_series()
    whole = exact.round().cast(pl.Int64, strict=False)
    return whole.cast(pl.Datetime("us")).dt.replace_time_zone("UTC").alias(cells.name)


def _first(one: pl.Series, other: pl.Series) -> pl.Series:
    return one.zip_with(one.is_not_null(), other)
