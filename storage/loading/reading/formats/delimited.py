"""Text of rows and cells -> chunks. A row that cannot be taken apart is that one row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from storage.loading.reading.chunk import Chunk, as_json
from storage.loading.reading.forms.encodings import is_utf8
from storage.loading.reading.forms.form import Form
from storage.loading.reading.forms.grammar import Grammar
from storage.loading.reading.forms.layout import BLANKS
from storage.loading.reading.forms.shapes import as_rows, under_headings
from storage.loading.reading.streams import BLOCK, lines_of

MORE = "cells beyond the header"
NOT_UTF8 = "row: not UTF-8"
NULL = "\\N"  # what MySQL writes for an empty cell, where it escapes

_PROBLEM = {"at": pl.Int64, "problem": pl.String, "line": pl.String}


def read(file: Path, form: Form, size: int = BLOCK) -> Iterator[Chunk]:
    """All columns as text, under the names of ``form``; blank lines are left out."""
    assert form.encoding is not None
    rest, heading = b"", None
    for first, fresh, at_end in lines_of(file, form.encoding, form.line_end, size):
        if form.shape == "headed":
            fresh, heading = under_headings(fresh, heading, form.delimiter or ",")
        else:
            fresh = as_rows(fresh, form.shape)
        number, block = first - rest.count(b"\n"), rest + fresh
        if (skipped := form.first - number) > 0:  # the header, and blank lines before it
            lines = block.split(b"\n", skipped)
            if len(lines) <= skipped:
                rest = b"" if at_end else rest
                continue
            number, block = form.first, lines[-1]
        chunk, rest = _chunk(block, number, form, at_end=at_end)
        if not chunk.line.is_empty():
            yield chunk


def _chunk(block: bytes, first: int, form: Form, *, at_end: bool) -> tuple[Chunk, bytes]:
    """The rows of a block, and what waits for the next one: a cell that is not closed yet."""
    assert form.delimiter is not None
    grammar = Grammar(form.delimiter, form.quote, form.escape)
    block, problems = _as_utf8(block)
    rest = b""
    if _is_simple(block, form):
        if grammar.sign != grammar.delimiter:
            block = block.replace(grammar.delimiter.encode(), grammar.sign.encode())
        frame = _cells(block, form, grammar, quote=None)
        at = pl.int_range(len(frame), eager=True)
    else:
        lines = pl.read_lines(block)["line"]
        records, used = grammar.records(grammar.plain(lines), at_end=at_end)
        if used < len(lines):
            rest = "\n".join(lines[used:]).encode() + b"\n"
        stray = records.filter(pl.col("problem").is_not_null())
        problems = problems.vstack(
            stray.select("at", "problem", line=lines.gather(stray["at"]))
        ).unique("at", keep="first", maintain_order=True)
        text = "\n".join(records["text"]) + "\n"
        frame, at = _cells(text.encode(), form, grammar, quote=form.quote), records["at"]
    return _without_blanks(frame, at, first, problems, form), rest


def _as_utf8(block: bytes) -> tuple[bytes, pl.DataFrame]:
    """The block with U+FFFD for bytes that are no UTF-8, and the lines that had some."""
    problems = pl.DataFrame(schema=_PROBLEM)
    if block.isascii() or is_utf8(block):
        return block, problems
    lines = block.split(b"\n")
    bad = [at for at, line in enumerate(lines) if not is_utf8(line)]
    for at in bad:
        lines[at] = lines[at].decode(errors="replace").encode()
    content = [bad, [NOT_UTF8] * len(bad), [lines[at].decode() for at in bad]]
    return b"\n".join(lines), pl.DataFrame(dict(zip(_PROBLEM, content, strict=True)), _PROBLEM)


def _is_simple(block: bytes, form: Form) -> bool:
    if form.quote and form.quote.encode() in block:
        return False
    return not (form.escape and form.escape.encode() in block)


def _cells(text: bytes, form: Form, grammar: Grammar, quote: str | None) -> pl.DataFrame:
    schema = dict.fromkeys((*form.names, MORE), pl.String)
    if not text:
        return pl.DataFrame(schema=schema)
    return pl.read_csv(
        text,
        has_header=False,
        separator=grammar.sign,
        quote_char=quote,
        schema=schema,
        truncate_ragged_lines=True,
        extra_columns="ignore",
        missing_columns="insert",
        null_values=[NULL] if form.escape else None,
    )


def _without_blanks(
    frame: pl.DataFrame, at: pl.Series, first: int, problems: pl.DataFrame, form: Form
) -> Chunk:
    beyond = frame[MORE].is_not_null() & (frame[MORE] != "")
    if form.ragged:
        beyond = pl.repeat(False, len(frame), eager=True)
    problem, line = None, None
    if len(problems) or beyond.any():
        joined = pl.DataFrame({"at": at}).join(problems, on="at", how="left", maintain_order="left")
        more = pl.lit(f"row: more cells than the header's {len(form.names)}")
        problem = joined.select(
            pl.coalesce("problem", pl.when(beyond).then(more)).alias("problem")
        ).to_series()
        line = joined["line"]
    frame = frame.select(form.names)
    if form.padded:
        cells = pl.col(form.padded).str.strip_chars(BLANKS)
        frame = frame.with_columns(pl.when(cells != "").then(cells))
    # an unusual first column alone tells of a row that is all but empty
    there = frame.select(pl.any_horizontal(pl.all().is_not_null())).to_series()
    if problem is not None:
        there |= problem.is_not_null()
    if not there.all():
        frame, at = frame.filter(there), at.filter(there)
        problem = problem.filter(there) if problem is not None else None
        line = line.filter(there) if line is not None else None
    rows = frame

    def raw(indices: pl.Series) -> pl.Series:
        cells = as_json(rows[indices])
        return (
            cells
            if line is None
            else line.gather(indices).zip_with(line.gather(indices).is_not_null(), cells)
        )

    return Chunk(frame, at + first, problem, raw)
