"""Types of interactions from what the mapping says: names, flags, a scale of numbers, or one."""

from __future__ import annotations

import polars as pl

from storage.loading.mapping import Mapping, Step
from storage.loading.values.cells import to_text
from storage.loading.values.numbers import to_numbers

FLAG = r"(?i)^(1?\d(\.0)?|true|false|yes|no|y|n|t|f)$"
"""A cell that says if, or how often, one thing was done."""
_FLAGS = {"yes": 1.0, "y": 1.0, "t": 1.0, "no": 0.0, "n": 0.0, "f": 0.0}


def scale(column: str) -> str:
    """Name within a frame of the column of numbers that types come from."""
    return f"scale {column}"


def flag(column: str) -> str:
    """Name within a frame of a column that says whether one thing was done."""
    return f"flag {column}"


def typed_events(frame: pl.DataFrame, mapping: Mapping) -> pl.DataFrame:
    """``frame`` with ``type``: of the first flag that is set, else of a scale or a name, else the
    default."""
    if mapping.types and "type" in frame.columns:
        frame = frame.with_columns(type=to_text(frame["type"]).replace(dict(mapping.types)))
    for column, steps in mapping.thresholds.items():
        kind = _of_number(frame[scale(column)], steps)
        frame = frame.with_columns(type=kind).drop(scale(column))
    if mapping.default_type and "type" not in frame.columns:
        frame = frame.with_columns(type=pl.lit(mapping.default_type))
    for column, name in reversed(mapping.flags.items()):
        kind = _of_flag(frame[flag(column)], name)
        before = pl.col("type") if "type" in frame.columns else pl.lit(None, dtype=pl.String)
        frame = frame.with_columns(type=pl.coalesce(kind, before)).drop(flag(column))
    return frame


def _of_number(cells: pl.Series, steps: list[Step]) -> pl.Series:
    """The type of each number; what is no number stays as it is, and is refused as unknown."""
    number = _numbers(cells)
    kind = pl.lit(None, dtype=pl.String)
    for step in reversed(steps):
        fits = pl.lit(True) if step.at_least is None else pl.col("number") >= step.at_least
        kind = pl.when(fits).then(pl.lit(step.type)).otherwise(kind)
    frame = pl.DataFrame({"number": number, "text": to_text(cells)})
    is_number = pl.col("number").is_finite().fill_null(False)
    return frame.select(pl.when(is_number).then(kind).otherwise("text")).to_series()


def _of_flag(cells: pl.Series, name: str) -> pl.Series:
    """``name`` where the flag is set, null where it is not; other words stay, and are refused."""
    text = to_text(cells).str.strip_chars()
    number = _numbers(cells)
    words = text.str.to_lowercase().replace_strict(_FLAGS, default=None, return_dtype=pl.Float64)
    frame = pl.DataFrame({"number": number.zip_with(number.is_not_null(), words), "text": text})
    is_word = pl.col("number").is_null() & (pl.col("text") != "")
    is_set = pl.when(pl.col("number") > 0).then(pl.lit(name))
    return frame.select(pl.when(is_word).then("text").otherwise(is_set)).to_series()


def _numbers(cells: pl.Series) -> pl.Series:
    if cells.dtype.is_numeric() or cells.dtype == pl.Boolean:
        return cells.cast(pl.Float64)
    return to_numbers(to_text(cells))
