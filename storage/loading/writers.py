"""A log -> files, in the formats that ``storage.loading.readers`` reads."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import polars as pl

from storage.loading.log import Log

WriteFormat = Literal["csv", "jsonl", "parquet"]


def write(log: Log, folder: Path, form: WriteFormat) -> list[Path]:
    """Write each frame of ``log`` to ``folder``/<entity>.<form>; the files, in writing order.

    Tags are lists in Parquet and JSON Lines, and JSON arrays in the cells of CSV, so any
    text comes back as it was.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for entity, frame in log.frames().items():
        file = folder / f"{entity}.{form}"
        match form:
            case "csv":
                frame.with_columns(
                    _as_array(name) for name, kind in frame.schema.items() if kind == pl.List
                ).write_csv(file, datetime_format="%Y-%m-%dT%H:%M:%S%.6fZ")
            case "jsonl":
                frame.with_columns(
                    pl.col(name).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
                    for name, kind in frame.schema.items()
                    if kind == pl.Datetime
                ).write_ndjson(file)
            case "parquet":
                frame.write_parquet(file)
        files.append(file)
    return files


def _as_array(name: str) -> pl.Expr:
    """A list as a JSON array; null stays null."""
    named = pl.struct(pl.col(name).alias("v")).struct.json_encode()
    array = named.str.slice(len('{"v":')).str.head(-1)
    return pl.when(pl.col(name).is_not_null()).then(array).alias(name)
