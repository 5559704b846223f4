"""JSON as data frames, databases and scripts write it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from storage.loading.readers import read_log
from storage.loading.reading.forms.documents import rows_of
from storage.loading.values.validation import validate

ROWS: list[dict[str, Any]] = [
    {"user_id": "u1", "item_id": "i1", "type": "like", "occurred_at": "2026-01-01"},
    {"user_id": "u2", "item_id": "i2", "type": "view", "occurred_at": "2026-01-02"},
    {"user_id": "u1", "item_id": "i2", "type": "view", "occurred_at": "2026-01-03"},
]
FRAME = pd.DataFrame(ROWS)
LISTS = [[*ROWS[0]], *([*row.values()] for row in ROWS)]


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(json.dumps(row, indent=2) for row in ROWS),  # mongoexport --pretty, jq
        "".join(f"{json.dumps(row)},\n" for row in ROWS),
        *(FRAME.to_json(orient=way) for way in ("columns", "index", "records", "split", "table")),
        FRAME.to_json(orient="columns", indent=2),
        json.dumps(FRAME.to_dict(orient="list")),
        json.dumps(LISTS),
        "window.YTD.like.part0 = " + json.dumps(ROWS, indent=1),
        f"var data = {json.dumps(ROWS)};",
    ],
)
def test_json_as_others_write_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "interactions.json").write_text(text)
    found = validate(read_log(tmp_path), "interactions")
    pairs = found.good.select("user_id", "item_id").rows()
    assert pairs == [("u1", "i1"), ("u2", "i2"), ("u1", "i2")]


@pytest.mark.parametrize(
    ("value", "rows"),
    [
        ({"u1": {"a": 1, "b": 2}, "u2": {"a": 3, "b": 4}}, [("u1", 1, 2), ("u2", 3, 4)]),
        ({"u1": [{"a": 1, "b": 2}], "u2": [{"a": 3, "b": 4}]}, [("u1", 1, 2), ("u2", 3, 4)]),
        ({"u1": ["i1", "i2"], "u2": ["i3"]}, [("u1", "i1"), ("u1", "i2"), ("u2", "i3")]),
        # one row
        ({"user": {"id": 1, "name": "Ann"}, "item": {"id": 2, "name": "Kite"}}, None),
        ({"user": "u1", "tags": ["a", "b"]}, None),
        ({"device": {"os": "x", "v": 1}, "geo": {"city": "y", "v": 2}}, None),
        # covers
        ({"users": [{"id": 1}], "events": [{"user": 1, "item": 2}] * 2}, [(1, 2), (1, 2)]),
    ],
)
def test_objects_by_a_key_of_their_own_are_rows(value: Any, rows: list[tuple[Any, ...]]) -> None:
    found = rows_of(value)
    assert (found and [tuple(row.values()) for row in found]) == rows
