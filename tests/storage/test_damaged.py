"""Files that are cut short or damaged: refused, or read up to there."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psycopg
import pyarrow as pa
import pytest

from storage.loading.load import load
from storage.loading.log import Damaged, LoadError
from storage.loading.readers import read_log
from storage.loading.reading.formats import parquet

ROWS = 20_000


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    """Rows that can hardly be compressed, so that the middle of a file is the middle of them."""
    chance = np.random.default_rng(0)
    ids = pl.DataFrame(chance.integers(0, 2**62, (ROWS, 2)), ["user_id", "item_id"])
    return ids.cast(pl.String).with_columns(type=pl.lit("click"), occurred_at=pl.lit("2026-01-01"))


def zstd(content: bytes) -> bytes:
    return pa.Codec("zstd").compress(content, asbytes=True)


COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": lambda content: bz2.compress(content, 1),
    "xz": lzma.compress,
    "zst": zstd,
}


def cut(content: bytes) -> bytes:
    return content[: len(content) * 2 // 3]


def spoilt(content: bytes) -> bytes:
    middle = len(content) * 2 // 3
    return content[:middle] + bytes(1_000) + content[middle + 1_000 :]


def said_and_read(path: Path) -> tuple[str, pl.DataFrame, str]:
    """What is said of a damaged file; then the rows up to there, and what is said of them."""
    with pytest.raises(Damaged) as caught:
        _ = read_log(path).interactions
    log = read_log(path, up_to_damage=True)
    return str(caught.value), log.interactions, log.rows["interactions"].damage


@pytest.mark.parametrize("harm", [cut, spoilt])
@pytest.mark.parametrize("kind", COMPRESSED)
def test_rows_before_the_damage(
    tmp_path: Path, rows: pl.DataFrame, kind: str, harm: Callable[[bytes], bytes]
) -> None:
    file = tmp_path / f"interactions.csv.{kind}"
    file.write_bytes(harm(COMPRESSED[kind](rows.write_csv().encode())))
    said, found, told = said_and_read(tmp_path)
    assert len(found) > ROWS // 3
    right = ROWS // 3 if harm is spoilt else len(found)
    assert found.head(right).equals(rows.head(right))
    assert told.startswith(f"{file} is {'cut short.' if harm is cut else 'damaged ('}")
    assert f"The {len(found):,} rows before that can be read, up to line " in told
    assert told.endswith(
        f"line {len(found) + 1:,}." if harm is cut else "; the last of them may be wrong."
    )
    assert said == (
        f"{told} Nothing is loaded. "
        "Get the file again, or load what can be read of it: --up-to-damage."
    )


def test_one_json_document_up_to_the_damage(tmp_path: Path, rows: pl.DataFrame) -> None:
    file = tmp_path / "interactions.json.gz"
    file.write_bytes(cut(gzip.compress(rows.write_json().encode())))
    _, found, _ = said_and_read(tmp_path)
    assert len(found) > ROWS // 2
    assert found.equals(rows.head(len(found)).select(found.columns))


def test_parquet_up_to_the_damage_and_nothing_without_its_end(
    tmp_path: Path, rows: pl.DataFrame
) -> None:
    file = tmp_path / "interactions.parquet"
    rows.write_parquet(file, row_group_size=ROWS // 4, use_pyarrow=True)
    whole = file.read_bytes()
    file.write_bytes(spoilt(whole))
    chunks = parquet.read(file, rows.columns, ROWS // 4)
    assert pl.concat([next(chunks).frame, next(chunks).frame]).equals(rows.head(ROWS // 2))
    with pytest.raises(Damaged, match=r"interactions\.parquet is damaged \("):
        next(chunks)
    file.write_bytes(cut(whole))
    with pytest.raises(LoadError, match="without that nothing of it can be read"):
        read_log(tmp_path)


def test_of_parts_one_that_is_cut_does_not_end_the_others(
    tmp_path: Path, rows: pl.DataFrame
) -> None:
    folder = tmp_path / "interactions"
    folder.mkdir()
    text = rows.write_csv().encode()
    (folder / "part-0.csv.gz").write_bytes(cut(gzip.compress(text)))
    (folder / "part-1.csv").write_bytes(text)
    _, found, told = said_and_read(tmp_path)
    assert "part-0.csv.gz" in told
    assert found.tail(ROWS).equals(rows)
    assert len(found) > ROWS * 3 // 2


def test_loading_takes_nothing_or_what_is_before_the_damage(
    database: str, tmp_path: Path, rows: pl.DataFrame
) -> None:
    (tmp_path / "interactions.csv.gz").write_bytes(cut(gzip.compress(rows.write_csv().encode())))
    with psycopg.connect(database) as connection:

        def there() -> Any:
            return connection.execute("SELECT count(*) FROM feed.interactions").fetchone()

        with pytest.raises(Damaged, match="Nothing is loaded") as caught:
            load(connection, read_log(tmp_path))
        assert there() == (0,)
        log = read_log(tmp_path, up_to_damage=True)
        load(connection, log)
        assert f"The {there()[0]:,} rows" in str(caught.value)
        (warning,) = log.summary.warnings("interactions")
        assert warning == log.rows["interactions"].damage


def test_a_file_of_which_nothing_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "interactions.csv").write_bytes(b"\x1f\x8b")
    with pytest.raises(Damaged, match=r"interactions\.csv is cut short\."):
        read_log(tmp_path, up_to_damage=True)
