"""Cells of text -> lists of tags, JSON objects and event ids, by column."""

from __future__ import annotations

import re

import orjson
import polars as pl

_TAGS = pl.List(pl.String)
_NUL_ESCAPE = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def to_tags(cells: pl.Series, separator: str) -> pl.Series:
    """Lists of tags: from lists, JSON arrays, or text parted by ``separator``. Null: no tags."""
    if isinstance(cells.dtype, pl.List | pl.Array):
        return cells.cast(_TAGS).list.drop_nulls().fill_null([])
    text = cells.cast(pl.String)
    parted = (
        text.str.split(separator)
        .list.eval(pl.element().str.strip_chars())
        .list.eval(pl.element().filter(pl.element() != ""))
    )
    arrays = text.filter(text.str.starts_with("[") & text.str.ends_with("]")).unique()
    decoded = {cell: tags for cell in arrays if (tags := _array(cell)) is not None}
    if decoded:
        known = pl.DataFrame(
            {"cell": list(decoded), "tags": list(decoded.values())},
            schema={"cell": pl.String, "tags": _TAGS},
        )
        found = pl.DataFrame({"cell": text}).join(
            known, on="cell", how="left", maintain_order="left"
        )
        parted = found["tags"].zip_with(found["tags"].is_not_null(), parted)
    return parted.fill_null([])


def _array(cell: str) -> list[str] | None:
    try:
        values = orjson.loads(cell)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(values, list):
        return None
    return [str(value) for value in values if value is not None and value != ""]


def to_json(cells: pl.Series) -> pl.Series:
    """JSON text, from text or structs; empty text is null."""
    if isinstance(cells.dtype, pl.Struct):
        there = cells.is_not_null()
        text = cells.struct.json_encode()
        return text.set(~there, None)
    text = cells.cast(pl.String)
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
    found = pl.DataFrame({"cell": cells}).join(
        verdict, on="cell", how="left", maintain_order="left"
    )
    return found["good"]


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
    text = cells.cast(pl.String)
    text = text.set(text == "", None)
    if text.str.contains("^[0-9a-f]{32}$").all():
        return text
    return text.str.to_lowercase().str.replace_all(r"^urn:uuid:|[{}-]", "")
