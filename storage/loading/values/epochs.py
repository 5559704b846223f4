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
_SINCE_1601 = 11_644_473_600  # seconds to 1970
_SINCE_1 = 62_135_596_800
# Name, lower and upper bound of a number, microseconds of one, and what 1970 is.
_UNITS = (
    ("days since 1970", 3_653, 30_000, _DAY, 0),  # 1980 to 2052
    ("a spreadsheet's days", 32_874, 60_000, _DAY, _EXCEL),  # 1990 to 2064
    ("seconds since 1970", 1e8, 1e11, 1e6, 0),  # from 1973 on
    ("milliseconds since 1970", 1e11, 1e14, 1e3, 0),
    ("microseconds since 1970", 1e14, 1.1645e16, 1.0, 0),
    # of 1970 to 2052; since 1970 these would be of 2339 to 2421, 1973 to 1974, and 1989 to 1990
    ("Chrome's microseconds since 1601", 1.1645e16, 1.425e16, 1.0, _SINCE_1601 * 1e6),
    ("Windows' FILETIME", 1.1645e17, 1.425e17, 0.1, _SINCE_1601 * 1e7),
    (".NET's ticks", 6.2136e17, 6.475e17, 0.1, _SINCE_1 * 1e7),
    ("nanoseconds since 1970", 1.425e17, 6.2136e17, 1e-3, 0),
    ("nanoseconds since 1970", 6.475e17, 1e20, 1e-3, 0),
)
_DATED = r"^(19|20)\d\d((0[1-9]|1[0-2])([0-3]\d([0-2]\d([0-5]\d([0-5]\d)?)?)?)?)?$"
_DIGITS = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_FEW = 0.1  # share of the cells of six or ten digits that are no 202609, from which none is
_SHORT_DAY = r"(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])"
_SHORT = {
    6: (r"^20(0[1-9]|1[0-2])(0[1-9]|1[0-2])$", "%y%m%d", "%Y%m"),
    10: (rf"^\d\d{_SHORT_DAY}([01]\d|2[0-3])[0-5]\d$", "%y%m%d%H%M", "epoch_s"),
    12: (rf"^\d\d{_SHORT_DAY}([01]\d|2[0-3])[0-5]\d[0-5]\d$", "%y%m%d%H%M%S", "epoch_ms"),
}
"""By number of digits: those that are also dates with a year of two; how to say so, and how not."""
_SOME = 3  # different cells that are all such, which is no chance
_APART = timedelta(days=20 * 365)  # between times of one log, from which they are doubted
_MANY_DAYS, _SPARSE = 20, 30  # different days that are so many apart, on average, are doubted too

Zoned = Callable[[pl.Series], pl.Series]


class Epochs:
    """Reads the numbers of one column, chunk by chunk, and remembers what they were taken for."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._short: dict[int, bool] = {}
        self._days: set[int] = set()
        self.first: datetime | None = None
        self.last: datetime | None = None

    def read(self, text: pl.Series, zoned: Zoned) -> pl.Series:
        """Times in UTC; ``zoned`` gives dates without an offset their time zone."""
        whole = whole_digits(text)
        size = whole.str.len_bytes()
        dated = whole.str.contains(_DATED) & size.is_in([4, 6, 8, 10, 12, 14])
        for digits in (6, 10):  # 200115 beside 200101: days of 2020, as nobody can tell for sure
            such = size == digits
            if int((such & ~dated).sum()) > _FEW * int(such.sum()):
                dated &= ~such
        self._look_for_short_years(whole, size, dated)
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
        for digits, is_short in self._short.items():
            if is_short:
                _, short, usual = _SHORT[digits]
                return (
                    f"all may also be dates with a year of two digits. They are read as {usual}; "
                    f'say  time_format: "{short}"  or  "{usual}"  in the mapping'
                )
        apart = self.first and self.last and self.last - self.first > _APART
        is_doubtful = apart or len(self.counts) > 1 or self._are_sparse()
        if not self.first or not self.last or not is_doubtful:
            return None
        units = ", ".join(f"{count:,} as {unit}" for unit, count in self.counts.items())
        return (
            f"numbers are read as times from {self.first.year} to {self.last.year} ({units}). "
            "If they count from a start of their own: default_time: order, without this column"
        )

    def _look_for_short_years(self, whole: pl.Series, size: pl.Series, dated: pl.Series) -> None:
        """Whether all cells of a length are dates of two-digit years, too."""
        for digits, (pattern, _, _) in _SHORT.items():
            cells = whole.filter((size == digits) & (dated if digits == 6 else ~dated))
            if cells.is_empty():
                continue
            is_chance = digits not in self._short and cells.head(1_000).n_unique() < _SOME
            fits = not is_chance and cells.str.contains(pattern).all()
            self._short[digits] = self._short.get(digits, True) and fits

    def _are_sparse(self) -> bool:
        """Whether days lie further apart than those of people do who come again."""
        days = self._days
        return len(days) >= _MANY_DAYS and max(days) - min(days) > _SPARSE * (len(days) - 1)

    def _since(self, number: pl.Series) -> pl.Series:
        n = pl.col("n")
        exact: pl.Expr = pl.when(False).then(n)  # as many cells as there are, whatever fits
        for unit, low, high, microseconds, zero in _UNITS:
            fits = (number >= low) & (number < high)
            if fits.any():
                self._count(unit, int(fits.sum()))
                if unit.startswith("days"):
                    self._days.update(number.filter(fits).cast(pl.Int64).unique())
                since = (n - zero) * microseconds
                if zero == _EXCEL:  # fractions of days are exact to the millisecond
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
            .when(size == 10)
            .then(pl.lit("00"))
            .otherwise(pl.lit(""))
        ).to_series()
    )
    dates = pl.Series(digits.name, [None], dtype=pl.Datetime("us", "UTC"))
    dates = dates.new_from_index(0, len(digits))
    for length, pattern in _DIGITS.items():
        cells = full.set(full.str.len_bytes() != length, None)
        if cells.null_count() < len(cells):
            if length == 8:
                times = cells.str.to_date(pattern, strict=False).cast(pl.Datetime("us"))
            else:
                times = cells.str.to_datetime(pattern, time_unit="us", strict=False)
            dates = zoned(times).zip_with(times.is_not_null(), dates)
    return dates


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
