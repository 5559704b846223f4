"""Rows that hold several interactions each, as sessions do -> a row for each of these."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace

import polars as pl

from storage.loading.reading.chunk import Chunk

LABELLED = r"^(.*)-([01])$"  # an item and whether it was clicked, as MIND writes them


def columns(inner: str, names: Iterable[str]) -> list[str]:
    """The columns of a text file, with those of what stands within ``inner``."""
    return [*names, f"{inner}.id", f"{inner}.label"]


def each_word(chunk: Chunk, inner: str) -> Chunk:
    """A row for each word of column ``inner``: ``inner.id``, and ``inner.label`` of ``id-1``."""
    words = chunk.frame.select(
        pl.int_range(pl.len()).alias("__at"),
        pl.col(inner).str.strip_chars().str.split(" ").alias("__word"),
    ).explode("__word")
    at = words["__at"]
    parts = words["__word"].str.extract_groups(LABELLED).struct
    ids = parts[0].zip_with(parts[0].is_not_null(), words["__word"])
    frame = chunk.frame[at].with_columns(ids.alias(f"{inner}.id"), parts[1].alias(f"{inner}.label"))
    return replace(
        chunk,
        frame=frame,
        line=chunk.line.gather(at),
        problem=None if chunk.problem is None else chunk.problem.gather(at),
        raw=lambda indices: chunk.raw(at.gather(indices)),
    )


def each_object(outer: dict[str, object], inner: str) -> Iterator[str]:
    """JSON of ``one`` for each value of its list ``inner``, which stands there alone."""
    values = outer.get(inner)
    for value in values if isinstance(values, list) else [values]:
        yield json.dumps({**outer, inner: value}, default=str)
