"""Numbers as people write them: 1234.5, 1,234.50, 1.234,50, 1'234.50, 13/20, true.

What parts the decimals follows from the cells of a column that leave no doubt. Where none does,
1,234 is no number, and 1.234 is one where nothing speaks for thousands.
"""

from __future__ import annotations

import polars as pl

from storage.loading.values.conventions import Column, majority

POINT, COMMA = 0, 1
DECIMALS = (".", ",")


def _sure(decimal: str, thousands: str) -> str:
    """Cells in which ``decimal`` can be nothing else."""
    return (
        rf"^[-+]?(\d*{decimal}(\d{{1,2}}|\d{{4,}})|0?{decimal}\d+|\d{{4,}}{decimal}\d+"
        rf"|\d{{1,3}}({thousands}\d{{3}})+{decimal}\d+|\d{{1,3}}({thousands}\d{{3}}){{2,}})$"
    )


_SURE = (_sure(r"\.", ","), _sure(",", r"\."))
_IN_DOUBT = r"^[-+]?[1-9]\d{0,2}\.\d{3}$|,"
_MAYBE_THOUSANDS = r"^[-+]?[1-9]\d{0,2}[.,]\d{3}$"
_GROUPED = (r"^[-+]?\d{1,3}(,\d{3})+(\.\d*)?$", r"^[-+]?(\d{1,3}(\.\d{3})+|\d+|\d{0,3})(,\d*)?$")
_BLANKS = r"(\d)[ '’\u00a0\u2009\u202f](\d{3})\b"  # between thousands
_SHARE = r"^(\d+(?:\.\d+)?)\s*/\s*([1-9]\d*)$"
_BOOLEAN = {"true": 1.0, "false": 0.0}


class NumberReader:
    """Reads one column, chunk by chunk; ``decimal`` holds for all, once it is decided.

    Args:
        decimal: POINT or COMMA; None: as the column shows.
        large: whether its numbers may be of thousands.
        semicolons: whether these part its cells, as where decimals have a comma.
    """

    def __init__(
        self, decimal: int | None = None, *, large: bool = False, semicolons: bool = False
    ) -> None:
        self.decimal, self._large = decimal, large
        self._doubts_points = large and semicolons
        self.is_decided = decimal is not None

    def decide(self, cells: pl.Series, column: Column) -> bool:
        """What parts decimals, by the whole ``column``, where these cells of it leave that open;
        whether it was decided now."""
        if self.is_decided or cells.dtype != pl.String:
            return False
        if not _plain(cells).str.contains(_IN_DOUBT).any():
            return False
        self.decimal, self.is_decided = majority(cells, _votes, column), True
        is_short = _plain(cells).str.contains(r"^[-+]?[1-9]\d{0,2}$")
        if self._large and is_short.any():  # 1.250 beside 980 is hardly 1.25
            self._doubts_points = True
        return True

    def in_doubt(self, text: pl.Series) -> pl.Series:
        """Whether cells may be thousands or have decimals, and nothing tells which."""
        if self.decimal is not None:
            return pl.repeat(False, len(text), eager=True)
        doubtful = _plain(text).str.contains(_MAYBE_THOUSANDS).fill_null(False)
        if self._doubts_points:
            return doubtful
        return doubtful & text.str.contains(",", literal=True).fill_null(False)

    def read(self, text: pl.Series) -> pl.Series:
        """Float64; null where a cell is no number."""
        text = _plain(text)
        if self.decimal == COMMA:
            return _grouped(text, COMMA).cast(pl.Float64, strict=False)
        number = text.set(self.in_doubt(text), None).cast(pl.Float64, strict=False)
        rest = text.filter(number.is_null() & text.is_not_null() & (text != ""))
        if self.decimal is None or rest.is_empty():
            return number
        grouped = _grouped(text.set(number.is_not_null(), None), POINT)
        return number.zip_with(number.is_not_null(), grouped.cast(pl.Float64, strict=False))


def to_numbers(text: pl.Series) -> pl.Series:
    """Float64 of a column by itself; shares (``13/20``) and words (``true``) are numbers too."""
    reader = NumberReader()
    reader.decide(text, lambda: iter([text]))
    number = reader.read(text)
    left = number.is_null() & text.is_not_null() & (text != "")
    if not left.any():
        return number
    rest = text.filter(left).str.strip_chars().str.to_lowercase()
    share = rest.str.extract_groups(_SHARE).struct
    parts = share[0].cast(pl.Float64) / share[1].cast(pl.Float64)
    words = rest.replace_strict(_BOOLEAN, default=None, return_dtype=pl.Float64)
    return number.scatter(left.arg_true(), parts.zip_with(parts.is_not_null(), words))


def _votes(cells: pl.Series) -> tuple[int, int]:
    text = _plain(cells)
    point, comma = (int(text.str.contains(sure).sum()) for sure in _SURE)
    return point, comma


def _plain(text: pl.Series) -> pl.Series:
    return text.str.strip_chars().str.replace_all(_BLANKS, "$1$2")


def _grouped(text: pl.Series, decimal: int) -> pl.Series:
    """Numbers with signs between thousands -> as Python writes them; null: it is none."""
    text = text.set(~text.str.contains(_GROUPED[decimal]), None)
    if decimal == COMMA:
        return text.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
    return text.str.replace_all(",", "", literal=True)
