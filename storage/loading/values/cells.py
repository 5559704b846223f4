"""Cells of any type -> text, ids, lists of tags, JSON objects and event ids, by column."""

from __future__ import annotations

import ast
import re
from typing import Any

import orjson
import polars as pl

_TAGS = pl.List(pl.String)
_CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f]"
_UUID = "$1-$2-$3-$4-$5"
_NUL_ESCAPE = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def nested_kind(kind: pl.DataType) -> str | None:
    """``list`` or ``struct``, where one cell holds several values."""
    if isinstance(kind, pl.List | pl.Array):
        return "list"
    return "struct" if isinstance(kind, pl.Struct) else None


def to_text(cells: pl.Series) -> pl.Series:
    """Text; of lists and structs their JSON. Bytes that are no UTF-8 lose their signs."""
    if nested_kind(cells.dtype):
        text = [None if cell is None else _json(cell) for cell in cells.to_list()]
        return pl.Series(cells.name, text, dtype=pl.String)
    if cells.dtype == pl.Binary:
        text = [None if cell is None else cell.decode(errors="replace") for cell in cells.to_list()]
        return pl.Series(cells.name, text, dtype=pl.String)
    if cells.dtype == pl.Duration:
        return cells.dt.to_string("iso")
    return cells.cast(pl.String)


def are_text(cells: pl.Series) -> bool:
    """Whether all cells of a column of bytes are UTF-8 without control signs."""
    try:
        return not cells.cast(pl.String).str.contains(_CONTROL).any()
    except pl.exceptions.ComputeError:
        return False


def _digits(cells: pl.Series) -> pl.Series:
    """Bytes as hexadecimal digits, 16 of them as a UUID: what differs as bytes differs as text."""
    return cells.bin.encode("hex").str.replace(r"^(.{8})(.{4})(.{4})(.{4})(.{12})$", _UUID)


def to_ids(cells: pl.Series) -> pl.Series:
    """Text; of whole numbers their digits, however large, and never 5863.0 or 1e+16.

    NaN, which data frames write for an empty cell among numbers, is null. Bytes are digits:
    whether they are text is settled by their whole column, where it is read (``are_text``).
    """
    if cells.dtype == pl.Binary:
        return _digits(cells)
    if cells.dtype.is_decimal():  # as databases and Spark export whole numbers: 10.00
        return cells.cast(pl.String).str.replace(r"\.0+$", "")
    if not cells.dtype.is_float():
        return to_text(cells)
    cells = cells.fill_nan(None)
    whole = (cells == cells.floor()) & cells.is_finite()
    small = whole & (cells.abs() < 2**63)
    text = cells.cast(pl.Int64, strict=False).cast(pl.String)
    if small.fill_null(True).all():
        return text
    others = [
        str(int(cell))
        if cell is not None and cell.is_integer()
        else None
        if cell is None
        else str(cell)
        for cell in cells.filter(~small.fill_null(False))
    ]
    return text.scatter((~small.fill_null(False)).arg_true(), pl.Series(others, dtype=pl.String))


def _json(value: Any) -> str:
    return orjson.dumps(value, default=_plain).decode()


def _plain(value: object) -> str:
    if not isinstance(value, bytes):
        return str(value)
    cell = pl.Series([value], dtype=pl.Binary)
    return (cell.cast(pl.String) if are_text(cell) else _digits(cell)).item()


def to_tags(cells: pl.Series, separator: str) -> pl.Series:
    """Lists of tags: from lists, JSON arrays, or text parted by ``separator``. Null: no tags."""
    if isinstance(cells.dtype, pl.List | pl.Array):
        if nested_kind(cells.dtype.inner):  # type: ignore[arg-type]
            return pl.Series(cells.name, [_flat(cell) for cell in cells.to_list()], dtype=_TAGS)
        return cells.cast(_TAGS).list.drop_nulls().fill_null([])
    text = to_text(cells)
    parted = (
        text.str.split(separator)
        .list.eval(pl.element().str.strip_chars())
        .list.eval(pl.element().filter(pl.element() != ""))
    )
    arrays = text.filter(text.str.starts_with("[") & text.str.ends_with("]")).unique()
    decoded = {cell: tags for cell in arrays if (tags := _array(cell)) is not None}
    if decoded:
        distinct = pl.DataFrame(
            {"cell": list(decoded), "tags": list(decoded.values())},
            schema={"cell": pl.String, "tags": _TAGS},
        )
        joined = pl.DataFrame({"cell": text}).join(
            distinct, on="cell", how="left", maintain_order="left"
        )
        parted = joined["tags"].zip_with(joined["tags"].is_not_null(), parted)
    return parted.fill_null([])


def _array(cell: str) -> list[str] | None:
    """The values of an array, as JSON or as Python writes it (``['a']``)."""
    try:
        values = orjson.loads(cell)
    except orjson.JSONDecodeError:
        try:
            values = ast.literal_eval(cell)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    try:
        return _flat(values) if isinstance(values, list) else None
    except RecursionError:
        return None


def _flat(values: Any) -> list[str]:
    """The texts of nested lists; of an object its name."""
    if isinstance(values, list | tuple):
        return [text for value in values for text in _flat(value)]
    if isinstance(values, dict):
        values = values.get("name")
    return [] if values is None or values == "" else [str(values)]


def is_nested_json(text: pl.Series, sign: str) -> pl.Series:
    """Whether each cell is the JSON of a list (``[``) or an object (``{``)."""
    begins = text.str.starts_with(sign).fill_null(False)
    if begins.any():
        are_json = [_is_json(cell) for cell in text.filter(begins)]
        return begins.scatter(begins.arg_true(), pl.Series(are_json, dtype=pl.Boolean))
    return begins


def _is_json(cell: str) -> bool:
    try:
        orjson.loads(cell)
    except orjson.JSONDecodeError:
        return False
    return True


def to_json(cells: pl.Series) -> pl.Series:
    """JSON text, from text or structs; empty text is null."""
    text = to_text(cells)
    return text.set(text == "", None)


def is_json_object(cells: pl.Series) -> pl.Series:
    """Whether each cell is a JSON object that Postgres can hold; null where the cell is."""
    unique = cells.drop_nulls().unique()
    verdict = pl.DataFrame(
        {
            "cell": unique,
            "good": pl.Series([_is_object(cell) for cell in unique], dtype=pl.Boolean),
        },
        schema={"cell": pl.String, "good": pl.Boolean},
    )
    if verdict["good"].all():
        return cells.is_null() | cells.is_not_null()
    joined = pl.DataFrame({"cell": cells}).join(
        verdict, on="cell", how="left", maintain_order="left"
    )
    return joined["good"]


def _is_object(cell: str) -> bool:
    try:
        value = orjson.loads(cell)
        # jsonb holds no NUL; orjson writes one as the escape, whatever the cell did
        return isinstance(value, dict) and not (
            "\\u0000" in cell and _NUL_ESCAPE.search(orjson.dumps(value))
        )
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return False


def to_uuids(cells: pl.Series) -> pl.Series:
    """Event ids as 32 lowercase hex digits; anything else stays as it is."""
    text = to_ids(cells)
    text = text.set(text == "", None)
    if text.str.contains("^[0-9a-f]{32}$").all():
        return text
    return text.str.to_lowercase().str.replace_all(r"^urn:uuid:|[{}-]", "")
