"""Columns of a mapping that are several of a file: ``"{date} {time}"``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import polars as pl

_PART = re.compile(r"\{([^{}]+)\}")


def parts_of(name: str) -> list[str]:
    """The columns that it is made of; none where it is a column itself."""
    return _PART.findall(name)


def those_of(names: Iterable[str], there: Sequence[str]) -> list[str]:
    """Those of ``names`` that are made of columns that are there."""
    return [name for name in names if (parts := parts_of(name)) and set(parts) <= set(there)]


def with_joined(frame: pl.DataFrame, names: Iterable[str]) -> pl.DataFrame:
    """``frame`` with a column of each name; one digit is written as two, as in dates.

    Where a part is missing there is nothing.
    """
    for name in names:
        cells = [
            pl.col(part).cast(pl.String).str.strip_chars().str.replace(r"^\d$", "0$0")
            for part in parts_of(name)
        ]
        frame = frame.with_columns(pl.format(_PART.sub("{}", name), *cells).alias(name))
    return frame
