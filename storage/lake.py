"""The interaction lake: Parquet, one file a UTC day, on any fsspec address.

A day's file is replaced whole, so writing a day again is harmless. Readers scan
lazily and only the columns and days that they name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date, datetime

import fsspec
import polars as pl

SCHEMA: dict[str, type[pl.DataType] | pl.DataType] = {
    "event_id": pl.String,
    "user_id": pl.String,
    "item_id": pl.String,
    "type": pl.String,
    "occurred_at": pl.Datetime("us", "UTC"),
    "received_at": pl.Datetime("us", "UTC"),
    "metadata": pl.String,
}


@dataclass(frozen=True)
class Extent:
    """What the lake covers.

    Attributes:
        first_day: the oldest day that may hold interactions.
        received_until: interactions received up to then are in it; None: nothing is yet.
    """

    first_day: date
    received_until: datetime | None = None


@dataclass(frozen=True)
class Lake:
    """The lake at ``url`` (a folder, ``s3://…``, ``gs://…``)."""

    url: str

    def path(self, day: date) -> str:
        return f"{self.url}/interactions/day={day.isoformat()}/part.parquet"

    def write_day(self, day: date, interactions: pl.DataFrame) -> None:
        """Replace the day's file. No rows: the file goes.

        Args:
            interactions: columns of ``SCHEMA``.
        """
        files, path = fsspec.core.url_to_fs(self.path(day))
        if interactions.is_empty():
            if files.exists(path):
                files.rm(path)
            return
        files.makedirs(path.rpartition("/")[0], exist_ok=True)
        draft = f"{path}.draft"
        with files.open(draft, "wb") as file:
            interactions.select(list(SCHEMA)).write_parquet(file, compression="zstd")
        files.mv(draft, path)

    def days(self) -> list[date]:
        """Days that have a file, oldest first."""
        files, root = fsspec.core.url_to_fs(f"{self.url}/interactions")
        if not files.exists(root):
            return []
        names = (entry["name"] for entry in files.ls(root, detail=True))
        return sorted(
            date.fromisoformat(name.rpartition("day=")[2]) for name in names if "day=" in name
        )

    def scan(self, days: Iterable[date] | None = None) -> pl.LazyFrame:
        """All interactions, or those of the given days; empty when there are none."""
        paths = [self.path(day) for day in (self.days() if days is None else days)]
        if not paths:
            return pl.LazyFrame(schema=SCHEMA)
        return pl.scan_parquet(paths, hive_partitioning=False)

    def extent(self) -> Extent | None:
        """What the lake covers; None for a new lake."""
        files, path = fsspec.core.url_to_fs(f"{self.url}/extent.json")
        if not files.exists(path):
            return None
        content = json.loads(files.cat_file(path))
        received_until = content["received_until"]
        return Extent(
            date.fromisoformat(content["first_day"]),
            datetime.fromisoformat(received_until) if received_until else None,
        )

    def set_extent(self, extent: Extent) -> None:
        files, path = fsspec.core.url_to_fs(f"{self.url}/extent.json")
        files.makedirs(path.rpartition("/")[0], exist_ok=True)
        files.pipe_file(path, json.dumps(asdict(extent), default=str).encode())

    def first_day(self) -> date | None:
        extent = self.extent()
        return extent.first_day if extent else None

    def cover(self, day: date) -> None:
        """Let the lake begin at ``day`` or earlier."""
        extent = self.extent()
        if extent is None or day < extent.first_day:
            self.set_extent(Extent(day, extent.received_until if extent else None))
