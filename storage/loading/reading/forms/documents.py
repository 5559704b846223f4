"""What one JSON value holds -> rows: lists within covers, and the ways in which data frames write.

Objects by a key of their own (a user, say) are rows with that key as ``key``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from storage.loading.names import role_of
from storage.loading.reading.forms.header import has_header, names_of

COVER = 5  # keys of an object that is but a cover for a list
KEY, VALUE = "key", "value"
_ASSIGNED = re.compile(r"\s*(window\.|var |let |const )[^=\[{]*=\s*(?=[\[{])")
_BETWEEN = re.compile(r"[\s,]*")


def without_name(text: str) -> str:
    """JSON that a script gives a name: ``window.YTD.like.part0 = [``."""
    assignment = _ASSIGNED.match(text)
    return text[assignment.end() :] if assignment else text


def one_by_one(text: str) -> tuple[list[Any], int]:
    """The values of an array, or one after another, up to what is no JSON; and where that is."""
    decoder, values = json.JSONDecoder(), list[Any]()
    at = 1 if text.startswith("[") else 0
    while True:
        at = _BETWEEN.match(text, at).end()  # type: ignore[union-attr]
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return values, at
        values.append(value)


def rows_of(value: Any, most: int | None = None) -> list[Any] | None:
    """The rows that a value holds; None: it is itself one.

    Args:
        most: keys that a cover may have; None: any number.
    """
    if isinstance(value, list):
        return _of_lists(value) if value and all(isinstance(row, list) for row in value) else value
    if not isinstance(value, dict) or not value:
        return None
    for parser in (_split, _by_column, _of_columns, _by_key):
        if (rows := parser(value)) is not None:
            return rows
    return rows_within(value) or None if most is None or len(value) <= most else None


def rows_within(document: dict[str, Any], deeper: int = 3) -> list[Any]:
    """The longest list of objects in an object, or in those within it."""
    rows: list[Any] = []
    for value in document.values():
        if isinstance(value, dict) and deeper:
            value = rows_within(value, deeper - 1)
        if isinstance(value, list) and value and isinstance(value[0], dict):
            rows = max(rows, value, key=len)
    return rows


def _of_lists(rows: list[list[Any]]) -> list[Any]:
    """A list for each row; the first may have the names."""
    width = max(map(len, rows))
    texts = [[str(cell) for cell in row] for row in rows[:100]]
    header = len(rows) > 1 and has_header(texts)
    names = names_of(texts[0] if header else [""] * width)
    return [dict(zip(names, row, strict=False)) for row in rows[header:]]


def _split(value: dict[str, Any]) -> list[Any] | None:
    """``{"columns": [...], "data": [[...]]}``, as pandas' orient="split"."""
    names, rows = value.get("columns"), value.get("data")
    if isinstance(rows, list) and isinstance(value.get("schema"), dict):
        return rows  # orient="table"
    if not isinstance(names, list) or not isinstance(rows, list):
        return None
    if not all(isinstance(row, list) for row in rows):
        return None
    return [dict(zip(map(str, names), row, strict=False)) for row in rows]


def _by_column(value: dict[str, Any]) -> list[Any] | None:
    """``{"user_id": {"0": …, "1": …}, …}``, as pandas writes without an orient."""
    columns = list(value.values())
    if not all(
        isinstance(column, dict) and column and all(map(str.isdigit, column)) for column in columns
    ):
        return None
    keys = dict.fromkeys(place for column in columns for place in column)
    return [{name: cells.get(place) for name, cells in value.items()} for place in keys]


def _of_columns(value: dict[str, Any]) -> list[Any] | None:
    """``{"user_id": […], "item_id": […]}``: lists as long as each other, under known names."""
    if not _are_lists(value) or not any(map(role_of, value)):
        return None
    if len({len(column) for column in value.values()}) > 1 or len(value) < 2:
        return None
    if any(isinstance(cell, dict | list) for column in value.values() for cell in column[:10]):
        return None
    return [dict(zip(value, cells, strict=True)) for cells in zip(*value.values(), strict=True)]


def _by_key(value: dict[str, Any]) -> list[Any] | None:
    """Objects alike, or lists, each under a key that is no name of a column: ``{"u1": {…}, …}``."""
    if len(value) < 2 or any(map(role_of, value)):
        return None
    inner = [rows if isinstance(rows, list) else [rows] for rows in value.values()]
    cells = [cell for several in inner for cell in several]
    if all(isinstance(cell, dict) for cell in cells) and cells:
        names = [{*cell} for cell in cells]
        shared, all_of = set.intersection(*names), set.union(*names)
        if len(shared) < 2 or 2 * len(shared) < len(all_of):
            return None
        return list(_keyed(value))
    is_plain = not any(isinstance(cell, dict | list) for cell in cells)
    return list(_keyed(value)) if _are_lists(value) and is_plain else None


def _keyed(value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for key, inner in value.items():
        for row in inner if isinstance(inner, list) else [inner]:
            yield {KEY: key, **row} if isinstance(row, dict) else {KEY: key, VALUE: row}


def _are_lists(value: dict[str, Any]) -> bool:
    return all(isinstance(cells, list) for cells in value.values())
