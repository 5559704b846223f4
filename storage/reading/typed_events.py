"""Types of interactions from what the mapping says: names, a scale of numbers, or one type."""

from __future__ import annotations

import polars as pl

from storage.mapping import Mapping


def scale(column: str) -> str:
    """Name within a frame of the column of numbers that types come from."""
    return f"scale {column}"


def typed_events(frame: pl.DataFrame, mapping: Mapping) -> pl.DataFrame:
    """``frame`` with ``type`` from the mapping: of names, of a scale of numbers, or the default."""
    if mapping.types and "type" in frame.columns:
        frame = frame.with_columns(pl.col("type").cast(pl.String).replace(dict(mapping.types)))
    for column, steps in mapping.thresholds.items():
        number = pl.col(scale(column)).cast(pl.Float64, strict=False)
        # what is no number stays as it is, and is refused as an unknown type
        kind = pl.lit(None, dtype=pl.String)
        for step in reversed(steps):
            fits = pl.lit(True) if step.at_least is None else number >= step.at_least
            kind = pl.when(fits).then(pl.lit(step.type)).otherwise(kind)
        is_number = number.is_finite().fill_null(False)
        kind = pl.when(is_number).then(kind).otherwise(pl.col(scale(column)).cast(pl.String))
        frame = frame.with_columns(type=kind).drop(scale(column))
    if mapping.default_type and "type" not in frame.columns:
        frame = frame.with_columns(type=pl.lit(mapping.default_type))
    return frame
