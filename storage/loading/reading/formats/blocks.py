"""Blocks of ``key: value`` lines, a row each, as SNAP publishes reviews -> chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from storage.loading.reading.chunk import Chunk
from storage.loading.reading.forms.form import KEY_AND_VALUE, Form
from storage.loading.reading.streams import BLOCK, lines_of

HEAD = 1 << 20  # bytes that tell the keys


def names(file: Path, form: Form) -> list[str]:
    """The keys of the first blocks."""
    assert form.encoding is not None
    _, block, _ = next(lines_of(file, form.encoding, form.line_end, HEAD), (1, b"", True))
    return _keyed(block, 1)["key"].drop_nulls().unique(maintain_order=True).to_list()


def read(file: Path, form: Form, wanted: Sequence[str], size: int = BLOCK) -> Iterator[Chunk]:
    """The ``wanted`` keys as text; ``line`` is that of a block's first key."""
    assert form.encoding is not None
    start, rest = "", b""
    for number, fresh, at_end in lines_of(file, form.encoding, form.line_end, size):
        lines = _keyed(rest + fresh, number - rest.count(b"\n"))
        start = start or (lines["key"].drop_nulls().head(1).to_list() or [""])[0]
        begins = (lines["key"] == start).fill_null(False)
        lines = lines.with_columns(block=(begins | _after_blank(lines)).cum_sum())
        rest = b""
        if not at_end:  # the last block may go on
            last = (lines["block"] == lines["block"].max()).arg_max() or 0
            rest, lines = "\n".join(lines["text"][last:]).encode(), lines[:last]
        lines = lines.filter(pl.col("text").str.strip_chars() != "")
        if len(lines):
            yield _chunk(lines, wanted)


def _keyed(block: bytes, first: int) -> pl.DataFrame:
    """Lines with their number, key and value; other lines have neither."""
    text = pl.Series("text", block.decode(errors="replace").split("\n"), dtype=pl.String)
    parts = text.str.strip_chars_end().str.extract_groups(KEY_AND_VALUE).struct
    line = pl.int_range(first, first + len(text), eager=True)
    return pl.DataFrame({"line": line, "text": text, "key": parts[0], "value": parts[1]})


def _after_blank(lines: pl.DataFrame) -> pl.Series:
    is_blank = lines["text"].str.strip_chars() == ""
    return is_blank.shift(1, fill_value=False) & ~is_blank


def _chunk(lines: pl.DataFrame, wanted: Sequence[str]) -> Chunk:
    whole = lines.group_by("block", maintain_order=True).agg(
        pl.col("line").first(), pl.col("text").str.join("\n")
    )
    frame = whole.select("block")
    for name in wanted:
        cells = lines.filter(pl.col("key") == name).unique("block", keep="first")
        cells = cells.select("block", pl.col("value").alias(name))
        frame = frame.join(cells, on="block", how="left", maintain_order="left")
    text = whole["text"]
    return Chunk(frame.drop("block"), whole["line"], None, lambda at: text.gather(at))
