"""Columns of times, in whatever way a log writes them, to UTC.

Numbers are told by their size, which leaves no doubt: 20260930 and 2019 as seconds would be
days of 1970, and what would be one is never read as seconds unless the mapping says so.
Whether 1/2/2026 is in January or February is told by the other cells of the column.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

import polars as pl

from storage.cells import to_text

FORMATS = ("auto", "rfc3339", "epoch_s", "epoch_ms", "epoch_us", "epoch_ns", "epoch_days", "year")
UTC_TIME = pl.Datetime("us", "UTC")
UNDERSTOOD = (
    "2026-09-30, 2026-09-30T14:13:20Z, 30.09.2026 14:13, 9/30/2026 2:13 PM, Sep 30, 2026, "
    "20260930, 2026, seconds, ms, µs or ns since 1970 (from 1973 on); another by time_format: in "
    "the mapping"
)
AMBIGUOUS = (
    'may be day or month first: say time_format: "%m/%d/%Y" or "%d/%m/%Y" in the mapping, '
    "with what follows the date"
)

_ISO = (
    "%+",
    "%Y-%m-%d %H:%M:%S%.f%#z",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%d",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d %H:%M:%S%.f UTC",
    "%Y-%m-%dT%H:%M%#z",
)
_CLOCKS = ("", " %H:%M:%S%.f", " %H:%M", " %I:%M:%S %p", " %I:%M %p")
_DATES = (
    "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%y", "%d.%m.%Y", "%d-%b-%Y", "%d %b %Y", "%d %B %Y",
    "%d-%B-%Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%B %d %Y", "%m %d, %Y",
)  # fmt: skip
_WORDS = (
    "%a %b %d %H:%M:%S %z %Y",
    "%a %b %d %H:%M:%S UTC %Y",
    "%a %b %d %H:%M:%S %Y",
    "%a, %d %b %Y %H:%M:%S %z",
    "%a, %d %b %Y %H:%M:%S GMT",
    "%d/%b/%Y:%H:%M:%S %z",
    "%Y%m%dT%H%M%S%#z",
    "%Y%m%dT%H%M%SZ",
    "%Y%m%dT%H%M%S",
    *(date + clock for date in _DATES for clock in _CLOCKS),
)
_DAY_FIRST = tuple(f"%d{s}%m{s}%{y}{c}" for s in "/-" for y in "yY" for c in _CLOCKS)
_MONTH_FIRST = tuple(f"%m{s}%d{s}%{y}{c}" for s in "/-" for y in "yY" for c in _CLOCKS)
_EITHER = r"^\s*(\d{1,2})[/-](\d{1,2})[/-](\d{4}|\d{2})\b"

_MICROSECONDS = {"epoch_s": 1e6, "epoch_ms": 1e3, "epoch_us": 1.0, "epoch_ns": 1e-3,
                 "epoch_days": 86_400e6}  # fmt: skip
# Lower and upper bound of a number, and how many microseconds one of it has.
_SIZES = (
    (1e8, 1e11, 1e6),  # seconds, from 1973 on
    (1e11, 1e14, 1e3),
    (1e14, 1e17, 1.0),
    (1e17, 1e20, 1e-3),
)
_FIRST_DAY, _LAST_DAY = 3_653, 30_000  # 1980 and 2052 in days since 1970
_DIGITS = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
LOOKED_AT = 500  # cells that tell whether a pattern is worth trying on all
_NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"


class TimeReader:
    """Reads one column, chunk by chunk; what the first cells decide holds for all.

    Args:
        form: one of FORMATS, or a pattern of strftime.
        zone: the time zone of times without an offset.
    """

    def __init__(self, form: str = "auto", zone: str = "UTC") -> None:
        self.form, self.zone = form, zone
        self.order: str | None = None  # "day" or "month" first, once it is known
        self._likely: list[str] = []  # patterns that fitted, the last first

    def read(self, cells: pl.Series) -> pl.Series:
        """Datetimes in UTC, microseconds; null where a cell is no time.

        ``cells`` is text, numbers, dates or datetimes.
        """
        if isinstance(cells.dtype, pl.Datetime):
            zoned = cells if cells.dtype.time_zone else self._zoned(cells)
            return zoned.dt.convert_time_zone("UTC").dt.cast_time_unit("us")
        if cells.dtype == pl.Date:
            return self._zoned(cells.cast(pl.Datetime("us")))
        if cells.dtype.is_numeric() and self.form in _MICROSECONDS:
            return _epoch(cells, _MICROSECONDS[self.form])
        text = _digits(cells) if cells.dtype.is_numeric() else to_text(cells)
        if self.form in _MICROSECONDS:
            return _epoch(text.cast(pl.Float64, strict=False), _MICROSECONDS[self.form])
        if self.form == "year":
            return self._parsed(_whole(text), ["%Y-%m-%d"], suffix="-01-01")
        if self.form not in FORMATS:
            return self._parsed(text, [self.form])
        return self._found(text)

    def _found(self, text: pl.Series) -> pl.Series:
        """Each cell by what it looks like."""
        missing = text.is_not_null() & (text != "")
        is_number = text.str.contains(_NUMBER) & missing
        if self.form == "auto" and is_number.all() and len(text):
            return self._sized(text)
        times = self._by_pattern(text.set(is_number, None))
        if self.form == "auto" and is_number.any():
            times = _first(times, self._sized(text.set(~is_number, None)))
        return times

    def _by_pattern(self, text: pl.Series) -> pl.Series:
        times = self._parsed(text, _ISO)
        missing = times.is_null() & text.is_not_null() & (text != "")
        if self.form == "rfc3339" or not missing.any():
            return times
        rest = text.filter(missing)
        self.order = self.order or day_or_month(rest)
        by_order = {"day": _DAY_FIRST, "month": _MONTH_FIRST}.get(self.order or "", ())
        patterns = dict.fromkeys((*self._likely, *by_order, *_WORDS))
        return times.scatter(missing.arg_true(), self._parsed(rest, list(patterns)))

    def _parsed(self, text: pl.Series, patterns: Sequence[str], suffix: str = "") -> pl.Series:
        """By the first pattern that fits; each is tried on the cells that are left alone."""
        text = text.str.strip_chars() + suffix
        left = text.is_not_null() & (text != suffix)
        times = pl.Series(text.name, [None], dtype=UTC_TIME).new_from_index(0, len(text))
        rest = text.filter(left)
        for pattern in patterns:
            if rest.is_empty():
                break
            sample = rest.gather_every(max(1, len(rest) // LOOKED_AT))
            if _strptime(sample, pattern).null_count() == len(sample):
                continue
            if pattern not in self._likely:
                self._likely.append(pattern)
            times = times.scatter(left.arg_true(), self._zoned(_strptime(rest, pattern)))
            left &= times.is_null()
            rest = text.filter(left)
        return times

    def _zoned(self, times: pl.Series) -> pl.Series:
        assert isinstance(times.dtype, pl.Datetime)
        if times.dtype.time_zone:
            return times.dt.convert_time_zone("UTC")
        if self.zone == "UTC":
            return times.dt.cast_time_unit("us").dt.replace_time_zone("UTC")
        # an hour that comes twice is the first, one that is left out is none
        local = times.dt.cast_time_unit("us").dt.replace_time_zone(
            self.zone, ambiguous="earliest", non_existent="null"
        )
        return local.dt.convert_time_zone("UTC")

    def _sized(self, text: pl.Series) -> pl.Series:
        """Numbers by their size: years, days, dates of digits alone, epochs."""
        number = text.cast(pl.Float64, strict=False)
        factor = pl.lit(None, dtype=pl.Float64)
        n = pl.col("n")
        for low, high, microseconds in _SIZES:
            factor = pl.when((n >= low) & (n < high)).then(microseconds).otherwise(factor)
        factor = pl.when((n >= _FIRST_DAY) & (n <= _LAST_DAY)).then(86_400e6).otherwise(factor)
        times = pl.select(n=number).select(n * factor).to_series()
        epochs = _micros(times)
        whole = _whole(text)
        size = whole.str.len_bytes()
        dated = whole.str.contains(
            r"^(19|20)\d\d(0[1-9]|1[0-2])?([0-3]\d([0-2]\d[0-5]\d([0-5]\d)?)?)?$"
        )
        if not (dated & size.is_in([4, 6, 8, 12, 14])).any():
            return epochs.alias(text.name)
        for length, pattern in ((4, None), (6, None), *_DIGITS.items()):
            here = dated & (size == length)
            if not here.any():
                continue
            cells = whole.set(~here, None)
            if pattern is None:  # a year, or a month of one
                cells = cells + ("0101" if length == 4 else "01")
                pattern = "%Y%m%d"
            found = self._zoned(_strptime(cells, pattern))
            epochs = found.zip_with(here & found.is_not_null(), epochs)
        return epochs.alias(text.name)


def to_times(cells: pl.Series, form: str = "auto", zone: str = "UTC") -> pl.Series:
    """Datetimes in UTC of a whole column (see TimeReader)."""
    return TimeReader(form, zone).read(cells)


def day_or_month(text: pl.Series) -> str | None:
    """Which comes first in cells like 1/2/2026, as far as some cell tells.

    A clock of twelve hours is of those who write the month first.
    """
    parts = text.str.extract_groups(_EITHER).struct
    first, second = parts[0].cast(pl.Int8, strict=False), parts[1].cast(pl.Int8, strict=False)
    if (second > 12).any():
        return "month"
    if (first > 12).any():
        return "day"
    is_twelve = text.str.contains(r"(?i)^\s*\d{1,2}/.*\d\s*[ap]m\s*$")
    return "month" if is_twelve.any() else None


def ambiguous_pattern(text: pl.Series) -> str | None:
    """The pattern, month first, of cells like 1/2/2026 that do not tell what comes first."""
    return next(
        (one for one in _MONTH_FIRST if len(text) and not _strptime(text, one).null_count()), None
    )


def why_not(cell: str) -> str:
    """What to say of a cell that is no time."""
    if re.match(_EITHER, cell):
        return AMBIGUOUS
    return f"is no time that is understood: {UNDERSTOOD}"


def _strptime(text: pl.Series, pattern: str) -> pl.Series:
    zoned = any(sign in pattern for sign in ("%z", "%#z", "%:z", "%+"))
    if not any(sign in pattern for sign in ("%H", "%I", "%+", "%T", "%R", "%s", "%X", "%c")):
        return text.str.to_date(pattern, strict=False).cast(pl.Datetime("us"))
    try:
        return text.str.to_datetime(
            pattern, time_unit="us", time_zone="UTC" if zoned else None, strict=False
        )
    except pl.exceptions.PolarsError:
        return pl.Series(text.name, [None], dtype=pl.Datetime("us")).new_from_index(0, len(text))


def _epoch(numbers: pl.Series, microseconds: float) -> pl.Series:
    return _micros(numbers.cast(pl.Float64) * microseconds)


def _micros(exact: pl.Series) -> pl.Series:
    exact = exact.set(~exact.is_finite(), None)
    whole = exact.round().cast(pl.Int64, strict=False)
    return whole.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def _whole(text: pl.Series) -> pl.Series:
    """Digits without the point that says that they are whole."""
    return text.str.strip_chars().str.replace(r"\.0*$", "")


def _digits(numbers: pl.Series) -> pl.Series:
    """Numbers as text, never as 1e9."""
    if numbers.dtype.is_integer():
        return numbers.cast(pl.String)
    whole = (numbers == numbers.floor()) & (numbers.abs() < 2**63)
    return (
        numbers.cast(pl.Int64, strict=False)
        .cast(pl.String)
        .zip_with(whole.fill_null(False), numbers.cast(pl.String))
    )


def _first(one: pl.Series, other: pl.Series) -> pl.Series:
    return one.zip_with(one.is_not_null(), other)


def newest_until(times: pl.Series, latest: datetime) -> datetime | None:
    """The newest time that is not after ``latest``."""
    newest = times.filter(times <= latest).max()
    return newest if isinstance(newest, datetime) else None
