"""JSON, a line an object or one document -> chunks of the keys that are wanted."""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import polars as pl
from polars.exceptions import PolarsError

from storage.loading.log import LoadError
from storage.loading.reading.chunk import Chunk, Note
from storage.loading.reading.formats.inner import each_object
from storage.loading.reading.forms.documents import one_by_one, rows_of, without_name
from storage.loading.reading.forms.form import Form
from storage.loading.reading.streams import BLOCK, filled, lines_of, opened

_SURROGATE = r"\\u[dD][89a-fA-F]"
_PAIR = r"\\\\|\\u[dD][89abAB]\w\w\\u[dD][c-fC-F]\w\w"
_HALF = re.compile("[\ud800-\udfff]")
NO_OBJECT = "row: not a JSON object"
REST = 10_000  # characters of a document that are kept of what is no JSON
FEW = 1_000  # lines that are read one by one where one of them is no object
LOOKED_AT = 1_000  # rows whose keys are the file's columns


def read(file: Path, form: Form, wanted: Sequence[str], size: int = BLOCK) -> Iterator[Chunk]:
    """The ``wanted`` keys as text, nested values as JSON; ``a.b`` is key b within a."""
    for first, lines in texts(file, form, size):
        number = pl.int_range(first, first + len(lines), eager=True)
        there = lines.str.strip_chars() != ""
        lines, number = lines.filter(there), number.filter(there)
        if form.inner:
            lines, number = _each(lines, number, form.inner)
        if len(lines):
            yield _chunk(lines, number, wanted)


def _each(lines: pl.Series, number: pl.Series, inner: str) -> tuple[pl.Series, pl.Series]:
    """A line for each object within the key ``inner``; lines that are no object stay."""
    texts: list[str] = []
    places: list[int] = []
    for line, place in zip(lines, number, strict=True):
        value, _, _ = parsed(line)
        rows = [line] if value is None else list(each_object(value, inner))
        texts += rows
        places += [place] * len(rows)
    return pl.Series("line", texts, dtype=pl.String), pl.Series(places, dtype=pl.Int64)


def texts(file: Path, form: Form, size: int = BLOCK) -> Iterator[tuple[int, pl.Series]]:
    """Blocks of text, an object each, and the number of the first: its line, or its place.

    Raises:
        Damaged: after the objects before the damage.
    """
    if form.kind == "json":
        with opened(file) as stream:
            data, damage = filled(stream, sys.maxsize)
            text = data.decode(form.encoding or "utf-8", "replace").lstrip("\ufeff")
            text = without_name(text)
            rows = (
                _document(file, text) if damage is None else [*map(json.dumps, one_by_one(text)[0])]
            )
            yield 1, pl.Series("line", rows, dtype=pl.String)
            if damage is not None:
                raise damage
        return
    assert form.encoding is not None
    for first, block, _ in lines_of(file, form.encoding, form.line_end, size):
        if block:
            unicode = block.decode(errors="replace").encode()
            lines = pl.read_lines(unicode)["line"]
            if lines.str.ends_with(",").any():  # as in an array, without its brackets
                lines = lines.str.replace(r"\}\s*,\s*$", "}")
            yield first, lines


def keys(file: Path, form: Form) -> list[str]:
    """The keys of the first rows, those within objects with dots."""
    _, lines = next(texts(file, form, 1 << 20), (1, pl.Series("line", [], dtype=pl.String)))
    lines = lines.head(LOOKED_AT)
    if form.inner:
        lines, _ = _each(lines, pl.int_range(len(lines), eager=True), form.inner)
    objects = [each for line in lines if (each := parsed(line)[0])]
    if not objects:
        raise LoadError(
            f"{file}: no line is a JSON object, as in "
            '{"user_id": "u1", "item_id": "i1", …}. Is the file of another form?'
        )
    return list(dict.fromkeys(name for each in objects for name in _names(each)))


def _names(value: dict[str, Any], before: str = "") -> Iterator[str]:
    for name, inner in value.items():
        yield before + name
        if isinstance(inner, dict) and before.count(".") < 3:
            yield from _names(inner, f"{before}{name}.")


def parsed(line: str) -> tuple[dict[str, Any] | None, bool, list[tuple[str, str]]]:
    """The object of a line, whether the line is JSON, and which keys have numbers not JSON's.

    Python's way of writing (``{u'a': True}``) is read too.
    """
    try:
        outer = orjson.loads(line)
        return (outer, True, []) if isinstance(outer, dict) else (None, True, [])
    except orjson.JSONDecodeError:
        pass
    try:
        outer = json.loads(line, parse_constant=_NotJson, parse_float=_finite)
    except (ValueError, RecursionError):
        try:
            outer = ast.literal_eval(line.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            return None, False, []
    if not isinstance(outer, dict):
        return None, False, []
    try:
        left_out = [
            (name, f"{path}: {message}")
            for name, inner in outer.items()
            for path, message in _not_json(inner, str(name))
        ]
        return {str(name): _plain(value) for name, value in outer.items()}, False, left_out
    except RecursionError:  # nested too deep
        return None, False, []


def _not_json(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """The numbers and texts that JSON cannot hold, by where they stand."""
    if isinstance(value, _NotJson):
        yield path, f"{value} is no JSON"
    elif isinstance(value, str) and _HALF.search(value):
        yield path, f"{ascii(value)[:60]} has half of a character"
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _not_json(inner, f"{path}.{name}")
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _not_json(inner, path)


class _NotJson(str):
    """A number that JSON cannot hold, as it was written."""


def _finite(text: str) -> float | _NotJson:
    number = float(text)
    return number if abs(number) != float("inf") else _NotJson(text)


def _plain(value: Any) -> Any:
    if isinstance(value, _NotJson) or (isinstance(value, str) and _HALF.search(value)):
        return None
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(inner) for inner in value]
    return value


def _chunk(lines: pl.Series, number: pl.Series, wanted: Sequence[str]) -> Chunk:
    read = _read(lines, number, dict.fromkeys(wanted, pl.String))
    frame = read.frame.with_columns(
        *(_nested(column, read.text) for column in read.frame if "." not in column.name),
        *(_dotted(column, read.text) for column in read.frame if "." in column.name),
    )
    problem = None
    if read.bad.any():
        problem = pl.select(pl.when(read.bad).then(pl.lit(NO_OBJECT))).to_series()
    return Chunk(frame, number, problem, lambda at: lines.gather(at).str.replace_all(
        "\x00", "\\u0000", literal=True), read.notes)  # fmt: skip


class _Lines(NamedTuple):
    """Lines as columns; as JSON, ``{}`` for those that are no object; which these are."""

    frame: pl.DataFrame
    text: pl.Series
    bad: pl.Series
    notes: list[Note]


def _read(lines: pl.Series, number: pl.Series, schema: dict[str, type[pl.String]]) -> _Lines:
    frame = _as_it_is(lines, schema)
    if frame is not None:
        return _Lines(frame, lines, pl.repeat(False, len(lines), eager=True), [])
    if len(lines) > FEW:  # some line is no object: few lines are read with it
        parts = [
            _read(lines.slice(at, FEW), number.slice(at, FEW), schema)
            for at in range(0, len(lines), FEW)
        ]
        frames, texts, bads, notes = zip(*parts, strict=True)
        all_notes = [note for part in notes for note in part]
        return _Lines(pl.concat(frames), pl.concat(texts), pl.concat(bads), all_notes)
    parsed_lines = [parsed(line) for line in lines]
    all_notes = [
        Note(field, message, message, at)
        for (_, _, left_out), at in zip(parsed_lines, number, strict=True)
        for field, message in left_out
    ]
    text = pl.Series(
        "line",
        [
            "{}" if value is None else line if as_it_is else json.dumps(value, default=str)
            for line, (value, as_it_is, _) in zip(lines, parsed_lines, strict=True)
        ],
        dtype=pl.String,
    )
    bad = pl.Series([value is None for value, _, _ in parsed_lines], dtype=pl.Boolean)
    return _Lines(pl.read_ndjson("\n".join(text).encode(), schema=schema), text, bad, all_notes)


def _as_it_is(lines: pl.Series, schema: dict[str, type[pl.String]]) -> pl.DataFrame | None:
    escaped = lines.filter(lines.str.contains(_SURROGATE))
    if escaped.str.replace_all(_PAIR, "").str.contains(_SURROGATE).any():
        return None  # polars makes NUL of half a pair
    try:
        frame = pl.read_ndjson("\n".join(lines).encode(), schema=schema)
    except PolarsError:
        return None
    return frame if len(frame) == len(lines) else None


def _nested(cells: pl.Series, lines: pl.Series) -> pl.Series:
    """Cells with nested JSON as it stood: polars drops the escapes when it makes it text."""
    # where the line has no backslash there was none to drop
    wrong = cells.str.contains(r"^[{\[]") & lines.str.contains("\\", literal=True)
    if not wrong.any():
        return cells
    nested = lines.filter(wrong).str.json_path_match(f"$[{orjson.dumps(cells.name).decode()}]")
    return cells.scatter(wrong.arg_true(), nested)


def _dotted(cells: pl.Series, lines: pl.Series) -> pl.Series:
    """Values of a key within a key, where no key has the dots in its own name."""
    path = "".join(f"[{orjson.dumps(part).decode()}]" for part in cells.name.split("."))
    return cells.zip_with(cells.is_not_null(), lines.str.json_path_match(f"${path}"))


def _document(file: Path, text: str) -> list[str]:
    """The rows of a file that is one JSON value, or several, each as a line."""
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise LoadError(
            f"{file}: its JSON is nested too deep. Rows are objects in one list, or one a line."
        ) from error
    except ValueError as error:
        value, at = one_by_one(text)
        if not value:
            raise LoadError(f"{file} is not readable as JSON: {error}.") from error
        rest = " ".join(text[at : at + REST].split())
        return [*map(json.dumps, value), *([rest] if rest not in ("", "]") else [])]
    rows = rows_of(value)
    return [json.dumps(row) for row in ([value] if rows is None else rows)]
