"""What Parquet can hold and other files cannot: endless times, structs, columns of one name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.loading.log import LoadError
from storage.loading.mapping import read_mapping
from storage.loading.readers import read_log
from storage.loading.values.validation import validate

IDS = {"user_id": ["a", "b"], "item_id": ["x", "y"], "type": ["click", "click"]}
NESTED = "interactions: {user_id: user.id, item_id: item.id, occurred_at: at.time.utc}"


@pytest.mark.parametrize(
    ("kind", "good", "beyond"),
    [
        (pa.timestamp("us"), 1_790_000_000_000_000, 2**63 - 1),
        (pa.timestamp("us", "UTC"), 1_790_000_000_000_000, 2**63 - 1),
        (pa.timestamp("us"), 1_790_000_000_000_000, -(2**63)),
        (pa.timestamp("ms"), 1_790_000_000_000, 253_402_300_800_000),
        (pa.date32(), 20_000, 2_932_897),
        (pa.date32(), 20_000, 2**31 - 1),
    ],
)
def test_a_time_beyond_the_last_year_is_refused_or_left_out(
    tmp_path: Path, kind: pa.DataType, good: int, beyond: int
) -> None:
    times = pa.array([good, beyond], kind)
    pq.write_table(pa.table({**IDS, "occurred_at": times}), tmp_path / "interactions.parquet")
    items = {"id": ["x", "y"], "title": ["X", "Y"], "created_at": times, "starts_at": times}
    pq.write_table(pa.table(items), tmp_path / "items.parquet")
    log = read_log(tmp_path)
    events, known = validate(log, "interactions"), validate(log, "items")
    assert events.good["user_id"].to_list() == ["a"]
    assert events.rejected["row_number"].to_list() == [2]
    assert f"{beyond} " in events.rejected["reason"][0]
    assert known.good["title"].to_list() == ["X", "Y"]
    assert known.good["created_at"].is_null().to_list() == [False, True]
    assert len(log.summary.warnings("items")) == 2


def test_times_of_no_year_within_lists_and_maps(tmp_path: Path) -> None:
    time = pa.timestamp("us")
    good = pa.array([1_790_000_000_000_000], time)
    for kind, cell in (
        (pa.struct([("t", time)]), {"t": 2**63 - 1}),
        (pa.map_(pa.string(), time), [("t", 2**63 - 1)]),
    ):
        columns: dict[str, Any] = {name: cells[:1] for name, cells in IDS.items()}
        columns |= {"occurred_at": good, "metadata": pa.array([cell], kind)}
        pq.write_table(pa.table(columns), tmp_path / "interactions.parquet")
        assert "out of range" in validate(read_log(tmp_path), "interactions").good["metadata"][0]


def test_of_columns_of_one_name_the_second_has_its_number(tmp_path: Path) -> None:
    time = pa.array([20_000, 20_000], pa.date32())
    cells = [pa.array(IDS["user_id"]), ["x", "y"], ["click", "click"], ["c", "d"], time]
    names = ["user_id", "item_id", "type", "user_id", "occurred_at"]
    table = pa.Table.from_arrays([pa.array(one) for one in cells], names=names)
    pq.write_table(table, tmp_path / "interactions.parquet")
    assert read_log(tmp_path).interactions["user_id"].to_list() == ["a", "b"]
    second = read_mapping('interactions: {user_id: "user_id (4)"}', "it")
    assert read_log(tmp_path, mapping=second).interactions["user_id"].to_list() == ["c", "d"]


def test_dots_reach_the_fields_of_structs(tmp_path: Path) -> None:
    table = pa.table(
        {
            "user": [{"id": "u1"}, None],
            "item": [{"id": 7, "name": "Saw"}, {"id": 8, "name": "Hammer"}],
            "type": ["click", "click"],
            "at": [{"time": {"utc": "2026-01-01"}}] * 2,
        }
    )
    pq.write_table(table, tmp_path / "interactions.parquet")
    log = read_log(tmp_path, mapping=read_mapping(f"{NESTED}\nitems: {{title: item.name}}", "it"))
    good = validate(log, "interactions").good
    assert good["user_id"].to_list() == ["u1", None]
    assert good["item_id"].to_list() == ["7", "8"]
    assert validate(log, "items").good["title"].to_list() == ["Saw", "Hammer"]


def test_json_that_is_nested_too_deep_is_said(tmp_path: Path) -> None:
    (tmp_path / "interactions.json").write_text("[" * 2_000 + "]" * 2_000)
    with pytest.raises(LoadError, match="nested too deep"):
        read_log(tmp_path)
