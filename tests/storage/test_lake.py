"""The lake on a folder, on file:// and on an address that only fsspec reads."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import IO

import fsspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

from storage.events.lake import SCHEMA, SMALL, Extent, Lake

DAY = date(2026, 3, 1)
NEXT = date(2026, 3, 2)


@pytest.fixture(params=["folder", "file", "memory"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    urls = {
        "folder": str(tmp_path / "a lake"),
        "file": f"file://{tmp_path}/lake",
        "memory": f"memory://{uuid.uuid4().hex}",
    }
    return Lake(urls[request.param])


def rows(*event_ids: str, day: date = DAY) -> pl.DataFrame:
    at = datetime(day.year, day.month, day.day, 23, 59, 59, 999_999, tzinfo=UTC)
    return pl.DataFrame(
        {
            "event_id": list(event_ids),
            "user_id": [None] * len(event_ids),
            "item_id": ['quote " and 🦊'] * len(event_ids),
            "type": ["click"] * len(event_ids),
            "occurred_at": [at] * len(event_ids),
            "received_at": [at] * len(event_ids),
            "metadata": ['{"a": 1}'] * len(event_ids),
        },
        schema=SCHEMA,
    )


def test_a_new_lake_is_empty(lake: Lake) -> None:
    assert lake.days() == []
    assert lake.extent() is None
    assert lake.first_day() is None
    assert_frame_equal(lake.scan().collect(), pl.DataFrame(schema=SCHEMA))


@pytest.mark.parametrize("small", [SMALL, 0], ids=["read at once", "read when it is needed"])
def test_what_was_written_comes_back(
    lake: Lake, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.events.lake.SMALL", small)
    lake.write_day(NEXT, rows("c", day=NEXT))
    lake.write_day(DAY, rows("a", "b"))
    assert lake.days() == [DAY, NEXT]
    assert_frame_equal(lake.scan([DAY]).collect(), rows("a", "b"))
    assert lake.scan().select("event_id").collect()["event_id"].to_list() == ["a", "b", "c"]


def test_a_day_is_replaced_whole(lake: Lake) -> None:
    lake.write_day(DAY, rows("a", "b"))
    lake.write_day(DAY, rows("c"))
    assert lake.scan().collect()["event_id"].to_list() == ["c"]


def test_columns_that_are_not_the_lakes_stay_out(lake: Lake) -> None:
    lake.write_day(DAY, rows("a").with_columns(day=pl.lit(DAY)))
    assert lake.scan().collect_schema() == pl.Schema(SCHEMA)


def test_the_file_of_a_day_without_rows_goes(lake: Lake) -> None:
    lake.write_day(DAY, rows("a"))
    lake.write_day(NEXT, rows("b", day=NEXT))
    lake.write_day(DAY, rows())
    lake.write_day(date(2026, 1, 1), rows())
    assert lake.days() == [NEXT]
    assert lake.scan().collect()["event_id"].to_list() == ["b"]


def test_a_write_that_breaks_off_leaves_the_old_day(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.write_day(DAY, rows("a"))

    def breaks(table: pa.Table, file: IO[bytes], **options: object) -> None:
        file.write(b"PAR1 half a file")
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", breaks)
        for day in (DAY, NEXT):
            with pytest.raises(OSError, match="disk full"):
                lake.write_day(day, rows("b"))
    assert lake.days() == [DAY]
    assert lake.scan().collect()["event_id"].to_list() == ["a"]


@pytest.mark.parametrize(
    "until",
    [None, datetime(2026, 3, 2, 1, 2, 3, 456_789, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)],
)
def test_the_extent_comes_back(lake: Lake, until: datetime | None) -> None:
    lake.set_extent(Extent(DAY, until))
    assert lake.extent() == Extent(DAY, until)
    assert lake.first_day() == DAY


def test_covering_only_ever_begins_earlier(lake: Lake) -> None:
    now = datetime(2026, 3, 2, tzinfo=UTC)
    lake.cover(DAY)
    assert lake.extent() == Extent(DAY)
    lake.set_extent(Extent(DAY, now))
    lake.cover(NEXT)
    assert lake.extent() == Extent(DAY, now)
    lake.cover(DAY - timedelta(days=40))
    assert lake.extent() == Extent(DAY - timedelta(days=40), now)


def test_no_drafts_stay_behind(lake: Lake) -> None:
    lake.write_day(DAY, rows("a"))
    lake.set_extent(Extent(DAY))
    files, root = fsspec.core.url_to_fs(lake.url)
    names = sorted(path.rpartition("/")[2] for path in files.find(root))
    assert names == ["extent.json", "part.parquet"]


@pytest.mark.parametrize("content", [b"", b"PA", b"PAR1 and nothing more", b"\0" * 4096])
def test_a_broken_day_is_found(lake: Lake, content: bytes) -> None:
    lake.write_day(DAY, rows("a"))
    lake.write_day(NEXT, rows("b", day=NEXT))
    assert lake.broken_days() == []
    overwrite(lake, NEXT, content)
    assert lake.broken_days() == [NEXT]


@pytest.mark.parametrize("share", [0.02, 0.1, 0.25, 0.5])
@pytest.mark.parametrize("change", [bytes.swapcase, lambda old: bytes(len(old))])
def test_a_day_damaged_in_its_middle_is_found(
    lake: Lake, share: float, change: Callable[[bytes], bytes]
) -> None:
    """Such damage, between sound ends, gives other rows where no error comes."""
    lake.write_day(DAY, rows(*(uuid.uuid4().hex for _ in range(2_000))))
    content = content_of(lake, DAY)
    at = int(len(content) * share)
    overwrite(lake, DAY, content[:at] + change(content[at : at + 64]) + content[at + 64 :])
    assert lake.broken_days() == [DAY]


def content_of(lake: Lake, day: date) -> bytes:
    with fsspec.open(lake.path(day), "rb") as file:
        return bytes(file.read())


def overwrite(lake: Lake, day: date, content: bytes) -> None:
    with fsspec.open(lake.path(day), "wb") as file:
        file.write(content)
