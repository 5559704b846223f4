"""Times that are numbers, by their size: years, dates of digits alone, days and seconds since 1970.

What numbers count from does not stand there. A column whose numbers are of several units, or far
apart, rather counts from a start of its own, and ``doubt`` says so.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import polars as pl

MICROSECONDS = {"epoch_s": 1e6, "epoch_ms": 1e3, "epoch_us": 1.0, "epoch_ns": 1e-3,
                "epoch_days": 86_400e6}  # fmt: skip
_DAY = 86_400e6
_EXCEL = 25_569  # days from 1899-12-30, which spreadsheets count from, to 1970
# Name, lower and upper bound of a number, microseconds of one, and what 1970 is.
_UNITS = (
    ("days since 1970", 3_653, 30_000, _DAY, 0),  # 1980 to 2052
    ("a spreadsheet's days", 32_874, 60_000, _DAY, _EXCEL),  # 1990 to 2064
    ("seconds since 1970", 1e8, 1e11, 1e6, 0),  # from 1973 on
    ("milliseconds since 1970", 1e11, 1e14, 1e3, 0),
    ("microseconds since 1970", 1e14, 1e17, 1.0, 0),
    ("nanoseconds since 1970", 1e17, 1e20, 1e-3, 0),
)
_DATED = r"^(19|20)\d\d((0[1-9]|1[0-2])([0-3]\d([0-2]\d[0-5]\d([0-5]\d)?)?)?)?$"
_DIGITS = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_NO_MONTHS = 0.1  # share of the cells of six digits that are no 202609, from which none is
_APART = timedelta(days=20 * 365)  # between times of one log, from which they are doubted

Zoned = Callable[[pl.Series], pl.Series]


class Epochs:
    """Reads the numbers of one column, chunk by chunk, and remembers what they were taken for."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.first: datetime | None = None
        self.last: datetime | None = None

    def read(self, text: pl.Series, zoned: Zoned) -> pl.Series:
        """Times in UTC; ``zoned`` gives dates without an offset their time zone."""
        whole = whole_digits(text)
        size = whole.str.len_bytes()
        dated = whole.str.contains(_DATED) & size.is_in([4, 6, 8, 12, 14])
        six = size == 6
        if int((six & ~dated).sum()) > _NO_MONTHS * int(six.sum()):
            dated &= ~six  # 200115 beside 200101: days of 2020, as nobody can tell for sure
        number = text.cast(pl.Float64, strict=False)
        if not dated.any():
            times = self._since(number)
        else:
            dates = _dates(whole.set(~dated, None), zoned)
            self._count("dates", len(dates) - dates.null_count())
            rest = self._since(number.set(dates.is_not_null(), None))
            times = dates.zip_with(dates.is_not_null(), rest)
        self._spread(times)
        return times.alias(text.name)

    def doubt(self) -> str | None:
        """What to say when the numbers seem to count from another start."""
        apart = self.first and self.last and self.last - self.first > _APART
        if not self.first or not self.last or not (apart or len(self.counts) > 1):
            return None
        units = ", ".join(f"{count:,} as {unit}" for unit, count in self.counts.items())
        return (
            f"numbers are read as times from {self.first.year} to {self.last.year} ({units}). "
            "If they count from a start of their own: default_time: order, without this column"
        )

    def _since(self, number: pl.Series) -> pl.Series:
        n = pl.col("n")
        exact: pl.Expr = pl.when(False).then(
            n
        )  # as many cells as there are, also where no unit fits
        for unit, low, high, microseconds, zero in _UNITS:
            fits = (number >= low) & (number < high)
            if fits.any():
                self._count(unit, int(fits.sum()))
                since = (n - zero) * microseconds
                if zero:  # a spreadsheet's fractions of days are exact to the millisecond
                    since = (since / 1e3).round() * 1e3
                exact = pl.when((n >= low) & (n < high)).then(since).otherwise(exact)
        return micros(pl.select(n=number).select(exact).to_series())

    def _count(self, unit: str, count: int) -> None:
        if count:
            self.counts[unit] = self.counts.get(unit, 0) + count

    def _spread(self, times: pl.Series) -> None:
        first, last = times.min(), times.max()
        if isinstance(first, datetime) and isinstance(last, datetime):
            self.first = min(self.first or first, first)
            self.last = max(self.last or last, last)


def _dates(digits: pl.Series, zoned: Zoned) -> pl.Series:
    """2026, 202609, 20260930, and with a clock."""
    size = digits.str.len_bytes()
    full = (
        digits
        + pl.select(
            pl.when(size == 4)
            .then(pl.lit("0101"))
            .when(size == 6)
            .then(pl.lit("01"))
            .otherwise(pl.lit(""))
        ).to_series()
    )
    found = pl.Series(digits.name, [None], dtype=pl.Datetime("us", "UTC"))
    found = found.new_from_index(0, len(digits))
    for length, pattern in _DIGITS.items():
        cells = full.set(full.str.len_bytes() != length, None)
        if cells.null_count() < len(cells):
            if length == 8:
                times = cells.str.to_date(pattern, strict=False).cast(pl.Datetime("us"))
            else:
                times = cells.str.to_datetime(pattern, time_unit="us", strict=False)
            found = zoned(times).zip_with(times.is_not_null(), found)
    return found


def since_1970(numbers: pl.Series, microseconds: float) -> pl.Series:
    """Times of numbers, of which one is so many microseconds."""
    return micros(numbers.cast(pl.Float64) * microseconds)


def micros(exact: pl.Series) -> pl.Series:
    exact = exact.set(~exact.is_finite(), None)
    whole = exact.round().cast(pl.Int64, strict=False)
    return whole.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def whole_digits(text: pl.Series) -> pl.Series:
    """Digits without the point that says that they are whole."""
    return text.str.strip_chars().str.replace(r"\.0*$", "")


def digits(numbers: pl.Series) -> pl.Series:
    """Numbers as text, never as 1e9."""
    if numbers.dtype.is_integer():
        return numbers.cast(pl.String)
    whole = (numbers == numbers.floor()) & (numbers.abs() < 2**63)
    return (
        numbers.cast(pl.Int64, strict=False)
        .cast(pl.String)
        .zip_with(whole.fill_null(False), numbers.cast(pl.String))
    )
