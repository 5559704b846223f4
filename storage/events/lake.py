"""The interaction lake: Parquet, one file a UTC day, on any fsspec address.

A file is replaced whole, so writing a day again is harmless, and a write that breaks off
leaves the old file. Readers scan lazily and only the columns and days that they name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import IO

import fsspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.spec import AbstractFileSystem

READ_BY_POLARS = {"file", "local", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"}
"""Protocols of which a scan fetches only what it needs. Others come through fsspec, whole."""

SMALL = 32 << 20
"""Bytes of all files up to which a scan reads them at once: a training collects its scans some
thirty times, and to open the files of a log of years takes longer than to read their rows."""

VERIFIED_AT_ONCE = 8
"""Files, which hides the way to a store far away."""

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
    """The lake at ``url``: a folder, ``s3://…``, ``gs://…``, or any other address of fsspec."""

    url: str

    def path(self, day: date) -> str:
        return f"{self.url}/interactions/day={day.isoformat()}/part.parquet"

    def write_day(self, day: date, interactions: pl.DataFrame) -> None:
        """Replace the day's file. No rows: the file goes. Its pages carry checksums.

        Args:
            interactions: columns of ``SCHEMA``.
        """
        files, path = fsspec.core.url_to_fs(self.path(day))
        if interactions.is_empty():
            if files.exists(path):
                files.rm(path)
            return
        table = interactions.select(list(SCHEMA)).to_arrow()
        _replace(
            files,
            path,
            lambda file: pq.write_table(table, file, compression="zstd", write_page_checksum=True),
        )

    def days(self) -> list[date]:
        """Days that have a file, oldest first."""
        return list(self._sizes())

    def _sizes(self) -> dict[date, int]:
        """Bytes of each day's file, oldest first."""
        files, root = fsspec.core.url_to_fs(f"{self.url}/interactions")
        # The file, not its folder: that may stay behind when the file goes.
        return {
            date.fromisoformat(path.split("/")[-2].removeprefix("day=")): file["size"]
            for path, file in sorted(files.find(root, detail=True).items())
            if path.endswith("/part.parquet")
        }

    def scan(self, days: Iterable[date] | None = None) -> pl.LazyFrame:
        """All interactions, or those of the given days; empty when there are none."""
        if days is None:
            sizes = self._sizes()
            rows = self._scan(sizes)
            return rows.collect().lazy() if sum(sizes.values()) <= SMALL else rows
        return self._scan(days)

    def _scan(self, days: Iterable[date]) -> pl.LazyFrame:
        paths = [self.path(day) for day in days]
        if not paths:
            return pl.LazyFrame(schema=SCHEMA)
        if fsspec.utils.get_protocol(self.url) in READ_BY_POLARS:
            return pl.scan_parquet(paths, hive_partitioning=False, schema=SCHEMA)
        opened = [file.open() for file in fsspec.open_files(paths)]
        return pl.scan_parquet(opened, hive_partitioning=False, schema=SCHEMA)

    def broken_days(self) -> list[date]:
        """Days whose file cannot be read or fails its checksums, as after a disk was full, a copy
        broke off or a sector went bad. Polars would read some of these as other rows.

        Cost: one read of the lake.
        """

        def is_broken(day: date) -> bool:
            files, path = fsspec.core.url_to_fs(self.path(day))
            return not _is_sound(files.cat_file(path))

        days = self.days()
        with ThreadPoolExecutor(VERIFIED_AT_ONCE) as pool:
            return [day for day, bad in zip(days, pool.map(is_broken, days), strict=True) if bad]

    def erase_users(self, users: Mapping[str, datetime]) -> dict[date, int]:
        """Write the files that hold these users anew, without them; other files stay as they are.

        Args:
            users: id -> up to when; what they did later stays.

        Returns:
            Rows that went, by day. Cost: one scan of the ids and times of all days.
        """
        if not users:
            return {}
        asked = pl.DataFrame(
            {"user_id": list(users), "until": list(users.values())},
            schema={"user_id": pl.String, "until": SCHEMA["occurred_at"]},
        ).lazy()
        early = (pl.col("occurred_at") <= pl.col("until")) | (
            pl.col("received_at") <= pl.col("until")
        )
        named = self.scan().filter(pl.col("user_id").is_in(list(users)))
        gone = named.join(asked, on="user_id").filter(early)
        events = gone.select("event_id", day=pl.col("occurred_at").dt.date()).collect()
        erased: dict[date, int] = {}
        for (day,), rows in events.partition_by("day", as_dict=True).items():
            kept = ~pl.col("event_id").is_in(rows["event_id"].implode())
            self.write_day(day, self.scan([day]).filter(kept).collect())
            erased[day] = len(rows)
        return erased

    def drop_before(self, day: date) -> list[date]:
        """Remove the files of all days before ``day``; the lake begins there then. Returns them."""
        old = [old_day for old_day in self.days() if old_day < day]
        for old_day in old:
            self.write_day(old_day, pl.DataFrame(schema=SCHEMA))
        extent = self.extent()
        if extent is not None and extent.first_day < day:
            self.set_extent(Extent(day, extent.received_until))
        return old

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
        content = json.dumps(asdict(extent), default=str).encode()
        _replace(files, path, lambda file: file.write(content))

    def first_day(self) -> date | None:
        extent = self.extent()
        return extent.first_day if extent else None

    def cover(self, day: date) -> None:
        """Let the lake begin at ``day`` or earlier."""
        extent = self.extent()
        if extent is None or day < extent.first_day:
            self.set_extent(Extent(day, extent.received_until if extent else None))


def _replace(files: AbstractFileSystem, path: str, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file beside ``path`` and move it there, so that readers see the old or the new."""
    files.makedirs(path.rpartition("/")[0], exist_ok=True)
    draft = f"{path}.draft"
    with files.open(draft, "wb") as file:
        write(file)
    files.mv(draft, path)


def _is_sound(content: bytes) -> bool:
    """Whether a file has the columns of the lake and pages that match their checksums."""
    try:
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        for _ in file.iter_batches():
            pass
    except (pa.ArrowException, OSError):
        return False
    return file.schema_arrow.names == list(SCHEMA)
