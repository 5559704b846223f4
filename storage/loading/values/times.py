"""Columns of times, in whatever way a log writes them, to UTC.

Numbers are recognised by their size: 20260930 and 2019 as seconds would be days of 1970, and what
would be one is never read as seconds unless the mapping says so. Whether 1/2/2026 is in January
or February follows from the other cells of the column.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache

import polars as pl

from storage.loading.values.cells import to_text
from storage.loading.values.conventions import Column
from storage.loading.values.date_order import DateOrder
from storage.loading.values.epochs import MICROSECONDS, Epochs, digits, since_1970, whole_digits
from storage.loading.values.spellings import ZONE, ZONES, respelled

FORMATS = ("auto", "rfc3339", "epoch_s", "epoch_ms", "epoch_us", "epoch_ns", "epoch_days", "year")
UTC_TIME = pl.Datetime("us", "UTC")
UNDERSTOOD = (
    "2026-09-30, 2026-09-30T14:13:20Z, 30.09.2026 14:13, 9/30/2026 2:13 PM, Sep 30, 2026, "
    "20260930, 2026, seconds, ms, µs or ns since 1970 (from 1973 on), a spreadsheet's days; "
    "another by time_format: in the mapping"
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
_CLOCKS = ("", " %H:%M:%S%.f", " %H:%M", " %I:%M:%S%.f %p", " %I:%M %p")
_ZONED_CLOCKS = tuple(f"{clock} %#z" for clock in _CLOCKS if clock)
_DATES = (
    "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d-%b-%Y", "%d %b %Y", "%d %B %Y",
    "%d-%B-%Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%B %d %Y", "%m %d, %Y", "%d/%b/%Y",
    "%d-%b-%y", "%d %b %y", "%d/%b/%y", "%Y %b %d", "%Y-%b-%d", "%b-%d-%Y", "%Y%m%d", "%G-W%V-%u",
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
    *(date + clock for date in _DATES for clock in (*_CLOCKS, *_ZONED_CLOCKS)),
)
_HOUR = r"^\s*(\d{4}-\d\d-\d\d)[T ](\d\d)\s*$"  # of a time without minutes
_WITH_T = r"^\s*(\d{4}-\d\d-\d\d)T"
_WEEKDAY = r"(?i)^\s*(mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,?\s+"
_SHORT_YEAR = r"\d\d(0[1-9]|1[0-2])([0-2]\d|3[01])"
_MAY_BE_OPEN = r"^\s*\d{1,2}[/.-]\d"
_CUT = r"^\d{4}-\d\d(-\d)?$|[T ]\d$|:\d$"  # the end of a file that was cut within a time

FIRST_YEAR = datetime(1000, 1, 1, tzinfo=UTC)
LOOKED_AT = 500  # cells that tell what is worth trying on all
_DIRECTIVE = r"%[#.:]*\d?[a-zA-Z+%]|\s"  # blanks too, of which a text may have any number
_NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"


class TimeReader:
    """Reads one column, chunk by chunk; what the first cells decide holds for all.

    Args:
        form: one of FORMATS, or a pattern of strftime.
        zone: the time zone of times without an offset.
    """

    def __init__(self, form: str = "auto", zone: str = "UTC") -> None:
        self.form, self.zone = form, zone
        self.orders = (DateOrder("/-", None), DateOrder(".", DateOrder.DAY))
        self.numbers = Epochs()
        self._is_asked = False
        self._likely: list[str] = []  # patterns that fitted, the last first

    def decide(self, cells: pl.Series, column: Column) -> None:
        """Whether the day or the month comes first, by the whole ``column``, where these cells of
        it leave that open and it is not decided yet."""
        self._is_asked = True
        if self.form != "auto" or cells.dtype != pl.String:
            return
        if cells.str.contains(_MAY_BE_OPEN).any():
            for order in self.orders:
                order.decide(cells, column)

    def read(self, cells: pl.Series) -> pl.Series:
        """Datetimes in UTC, microseconds; null where a cell is no time.

        ``cells`` is text, numbers, dates or datetimes.
        """
        if isinstance(cells.dtype, pl.Datetime):
            zoned = cells if cells.dtype.time_zone else self._zoned(cells)
            return zoned.dt.convert_time_zone("UTC").dt.cast_time_unit("us")
        if cells.dtype == pl.Date:
            return self._zoned(cells.cast(pl.Datetime("us")))
        if cells.dtype.is_numeric() and self.form in MICROSECONDS:
            return since_1970(cells, MICROSECONDS[self.form])
        text = digits(cells) if cells.dtype.is_numeric() else to_text(cells)
        if self.form in MICROSECONDS:
            return since_1970(text.cast(pl.Float64, strict=False), MICROSECONDS[self.form])
        if self.form == "year":
            return self._parsed(whole_digits(text), ["%Y-%m-%d"], suffix="-01-01")
        return self._found(text) if self.form in FORMATS else self._by_own_pattern(text)

    def _by_own_pattern(self, text: pl.Series) -> pl.Series:
        """By the mapping's pattern; ``.%f`` and ``,%f`` are fractions, as in Python, and an hour
        may stand without minutes."""
        if ",%f" in self.form:
            text = text.str.replace(r"(:\d\d),(\d)", "$1.$2")
        pattern = re.sub(r"[.,]%f", "%.f", self.form)
        if re.search(r"%[HI]", pattern) and "%M" not in pattern:
            return self._parsed(text, [f"{pattern} %M"], suffix=" 00")
        return self._parsed(text, [pattern])

    def _found(self, text: pl.Series) -> pl.Series:
        """Each cell by what it looks like."""
        if not self._is_asked:
            self.decide(text, lambda: iter([text]))
            self._is_asked = False
        if self.form == "rfc3339":
            return self._by_pattern(text)
        is_number = text.str.contains(_NUMBER) & text.is_not_null()
        if is_number.all() and len(text):
            return self.numbers.read(text, self._zoned)
        size = text.str.len_bytes()
        if size.min() != size.max():
            text = text.set(text.str.contains(_CUT), None)
        times = self._by_size_or_pattern(text, is_number)
        left = (times.is_null() & (text != "")).fill_null(False).arg_true()
        rest = text.gather(left)
        again = respelled(rest)
        if (again != rest).any():
            again = again.set(again == rest, None)
            is_number = again.str.contains(_NUMBER) & again.is_not_null()
            times = times.scatter(left, self._by_size_or_pattern(again, is_number))
        return times

    def _by_size_or_pattern(self, text: pl.Series, is_number: pl.Series) -> pl.Series:
        times = self._by_pattern(text.set(is_number, None))
        if is_number.any():
            times = _first(times, self.numbers.read(text.set(~is_number, None), self._zoned))
        return times

    def _by_pattern(self, text: pl.Series) -> pl.Series:
        times = self._parsed(text, _ISO)
        missing = times.is_null() & text.is_not_null() & (text != "")
        if self.form == "rfc3339" or not missing.any():
            return times
        rest = text.filter(missing).str.replace(_HOUR, "$1 $2:00").str.replace(_WITH_T, "$1 ")
        dates = (pattern for order in self.orders for pattern in order.dates)
        ordered = (date + clock for date in dates for clock in (*_CLOCKS, *_ZONED_CLOCKS))
        patterns = dict.fromkeys((*self._likely, *ordered, *_WORDS))
        parsed = self._parsed(rest, list(patterns))
        weekday = parsed.is_null() & rest.str.contains(_WEEKDAY)
        if weekday.any():
            bare = rest.filter(weekday).str.replace(_WEEKDAY, "")
            parsed = parsed.scatter(weekday.arg_true(), self._parsed(bare, list(patterns)))
        return times.scatter(missing.arg_true(), parsed)

    def _parsed(self, text: pl.Series, patterns: Sequence[str], suffix: str = "") -> pl.Series:
        """By the first pattern that fits; each is tried on the cells that are left alone."""
        text = text.str.strip_chars() + suffix
        left = text.is_not_null() & (text != suffix)
        times = pl.Series(text.name, [None], dtype=UTC_TIME).new_from_index(0, len(text))
        rest = text.filter(left)
        sample, signs = _sample(rest)
        for pattern in patterns:
            if rest.is_empty():
                break
            if not _needs(pattern) <= signs:
                continue
            if _strptime(sample, pattern).null_count() == len(sample):
                continue
            if pattern not in self._likely:
                self._likely.append(pattern)
            parsed = self._zoned(_strptime(rest, pattern))
            parsed = parsed.set(parsed < FIRST_YEAR, None)  # 13-02-26 is none of the year 13
            times = times.scatter(left.arg_true(), parsed)
            left &= times.is_null()
            rest = text.filter(left)
            sample, signs = _sample(rest)
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


def to_times(cells: pl.Series, form: str = "auto", zone: str = "UTC") -> pl.Series:
    """Datetimes in UTC of a whole column (see TimeReader)."""
    return TimeReader(form, zone).read(cells)


def ambiguous_pattern(text: pl.Series) -> str | None:
    """The pattern, month first, of cells like 1/2/2026 that do not tell what comes first."""
    dates = DateOrder("/-", DateOrder.MONTH).dates
    clocks = (*_CLOCKS, *(f",{clock}" for clock in _CLOCKS if clock))
    patterns = (date + clock for date in dates for clock in clocks)
    return next(
        (
            pattern
            for pattern in patterns
            if len(text) and not _strptime(text, pattern).null_count()
        ),
        None,
    )


def is_pattern(form: str) -> bool:
    """Whether ``form`` is a pattern of strftime that tells a date."""
    moment = pl.Series([datetime(2026, 9, 30, 14, 13, 20, tzinfo=UTC)])
    try:
        written = moment.dt.strftime(re.sub(r"[.,]%f", "%.f", form))
        return TimeReader(form).read(written).null_count() == 0
    except pl.exceptions.PolarsError:
        return False


def why_not(cell: str, reader: TimeReader) -> str:
    """What to say of a cell that is no time to ``reader``."""
    if reader.form != "auto":
        return f"does not fit  time_format: {reader.form}"
    order = next((order for order in reader.orders if order.fits(cell)), None)
    if order is not None and order.order is None:
        return AMBIGUOUS
    if order is not None and order.contradicts(cell):
        return f"is no date with the {order.order} first, as most of its column are"
    if re.fullmatch(_SHORT_YEAR, cell.strip()):
        return 'may be a date with a year of two digits: say  time_format: "%y%m%d"  in the mapping'
    if (zone := re.search(ZONE, cell)) and zone[1] not in ZONES:
        return (
            f"names no time zone that is sure: {zone[1]}. Say  time_format:  with %Z in its place, "
            "and  time_zone:  in the mapping"
        )
    return f"is no time that is understood: {UNDERSTOOD}"


def _sample(text: pl.Series) -> tuple[pl.Series, set[str]]:
    """Cells that tell whether a pattern is worth trying on all, and the characters in them."""
    sample = text.gather_every(max(1, len(text) // LOOKED_AT))
    return sample, set("".join(sample))


@cache
def _needs(pattern: str) -> frozenset[str]:
    """Characters without which no text fits: trying a pattern costs a thousand times as much."""
    return frozenset(re.sub(_DIRECTIVE, "", pattern))


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


def _first(first: pl.Series, other: pl.Series) -> pl.Series:
    return first.zip_with(first.is_not_null(), other)


def newest_until(times: pl.Series, latest: datetime) -> datetime | None:
    """The newest time that is not after ``latest``."""
    newest = times.filter(times <= latest).max()
    return newest if isinstance(newest, datetime) else None
