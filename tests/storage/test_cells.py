"""Cells of Parquet as text: what differs there differs here."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

from storage.loading.mapping import read_mapping
from storage.loading.proposal.proposal import propose
from storage.loading.proposal.written import written
from storage.loading.readers import read_log
from storage.loading.reading.formats import parquet
from storage.loading.values.cells import to_ids, to_text

ONE, OTHER = UUID(int=1 << 96 | 0xBE), UUID(int=0xFF)


@pytest.mark.parametrize(
    ("cells", "text"),
    [
        ([ONE.bytes, None, OTHER.bytes], [str(ONE), None, str(OTHER)]),
        ([b"\xbe" * 4, b"\xbf" * 4, b"i1"], ["bebebebe", "bfbfbfbf", "6931"]),
        ([b"\x01" * 16, b"i1"], [str(UUID(bytes=b"\x01" * 16)), "6931"]),
        ([None], [None]),
    ],
)
def test_bytes_that_differ_stay_apart(cells: list[bytes | None], text: list[str | None]) -> None:
    assert to_ids(pl.Series(cells, dtype=pl.Binary)).to_list() == text


@pytest.mark.parametrize(
    ("parts", "ids"),
    [
        ([[b"i1", None], ["ä\n".encode()]], ["i1", None, "ä\n"]),
        # one id is written in one way, whatever stands in other rows, batches and files
        ([[b"i1", b"i2"], [b"i1", b"\xbe"]], ["6931", "6932", "6931", "be"]),
        ([[b"i1", b"\0"], [b"i1"]], ["6931", "00", "6931"]),
    ],
)
@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_whether_bytes_are_text_is_decided_once_for_all_files(
    tmp_path: Path, parts: list[list[bytes | None]], ids: list[str | None], kind: str
) -> None:
    folder = tmp_path / "interactions"
    folder.mkdir()
    for number, part in enumerate(parts):
        cells = {"user_id": pa.array(["u"] * len(part)), "item_id": pa.array(part, pa.binary())}
        cells |= {"type": cells["user_id"], "occurred_at": cells["user_id"]}
        table = pa.table(cells)
        if kind == "parquet":
            pq.write_table(table, folder / f"part-{number}.parquet", row_group_size=1)
        else:
            feather.write_feather(table, folder / f"part-{number}.feather", chunksize=1)
    chunks = read_log(tmp_path).chunks("interactions")
    assert pl.concat([to_ids(chunk.frame["item_id"]) for chunk in chunks]).to_list() == ids


@pytest.mark.parametrize("is_stream", [True, False])
def test_arrow(tmp_path: Path, is_stream: bool) -> None:
    table = pa.table(
        {"user_id": ["u1", "u2", "u3"], "item_id": [7, 8, None], "tags": [[1], [], [2]]}
    )
    file = tmp_path / "log.arrow"
    new = pa.ipc.new_stream if is_stream else pa.ipc.new_file
    with new(str(file), table.schema) as out:
        out.write_table(table)
    assert parquet.names(file) == ["user_id", "item_id", "tags"]
    chunks = list(parquet.read(file, ["item_id", "user_id"], rows=2))
    assert [chunk.frame.rows() for chunk in chunks] == [[("u1", 7), ("u2", 8)], [("u3", None)]]
    assert [chunk.line.to_list() for chunk in chunks] == [[1, 2], [3]]


def test_durations_are_text() -> None:
    assert to_text(pl.Series([timedelta(seconds=5), None])).to_list() == ["PT5S", None]


def test_whole_decimals_are_whole_numbers() -> None:
    cells = pl.Series([Decimal("10.00"), Decimal("12345678901234567890.00"), Decimal("1.50"), None])
    assert to_ids(cells).to_list() == ["10", "12345678901234567890", "1.50", None]


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        (pa.array([b"caf\xe9", b"caf\xe8"]), ["636166e9", "636166e8"]),
        (pa.array([b"caf\xe9", b"caf\xe8"]).dictionary_encode(), ["636166e9", "636166e8"]),
        (pa.array([ONE.bytes, None], pa.uuid()), [str(ONE), None]),
        (pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int8())), ['{"a":1}', None]),
        (pa.array([[[(1, 2)]]], pa.list_(pa.map_(pa.int8(), pa.int8()))), ['[{"1":2}]']),
        (pa.array([Decimal("1.50"), None], pa.decimal256(40, 2)), ["1.50", None]),
    ],
)
def test_columns_of_parquet_of_any_type(
    tmp_path: Path, column: pa.Array, cells: list[str | None]
) -> None:
    pq.write_table(pa.table({"x": column}), tmp_path / "rows.parquet")
    (chunk,) = parquet.read(tmp_path / "rows.parquet", ["x"])
    assert to_ids(chunk.frame["x"]).to_list() == cells


def test_a_title_with_a_wrong_byte_keeps_its_other_signs() -> None:
    assert to_text(pl.Series([b"caf\xe9", b"tea"])).to_list() == ["caf\ufffd", "tea"]


def test_a_row_for_each_value_of_a_list(tmp_path: Path) -> None:
    events = [[{"item": 7, "t": "2026-01-01"}, {"item": 8, "t": "2026-01-02"}], [], [{"item": 7}]]
    table = pa.table({"user": ["u1", "u2", "u1"], "events": events, "seen": [[1, 2], [3], []]})
    pq.write_table(table, tmp_path / "log.parquet")
    file = tmp_path / "log.parquet"
    assert parquet.names(file, "events") == ["user", "events", "seen", "events.item", "events.t"]
    (chunk,) = parquet.read(file, ["user", "events.item"], inner="events")
    rows = chunk.frame.select("user", "events.item").rows()
    assert rows == [("u1", 7), ("u1", 8), ("u1", 7)]
    assert chunk.line.to_list() == [1, 1, 3]
    (chunk,) = parquet.read(file, ["seen.id"], inner="seen")
    assert chunk.frame["seen.id"].to_list() == [1, 2, 3]
    mapping = read_mapping(written(propose(tmp_path)), "the proposal")
    assert mapping.columns("interactions")["item_id"] == "events.item"
    assert len(read_log(tmp_path, mapping=mapping).interactions) == 3
