"""Parquet -> chunks, with the types that the file has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from storage.loading.log import Damaged, LoadError
from storage.loading.reading.chunk import Chunk, as_json

ROWS = 250_000  # of one chunk


def names(file: Path) -> list[str]:
    """The columns of the file."""
    with _opened(file) as content:
        return list(content.schema_arrow.names)


def read(file: Path, wanted: Sequence[str], rows: int = ROWS) -> Iterator[Chunk]:
    """The ``wanted`` columns; a column that polars cannot hold is text.

    Raises:
        Damaged: after the batches before the damage.
    """
    with _opened(file) as content:
        columns = [name for name in content.schema_arrow.names if name in wanted]
        first = 1
        try:
            for batch in content.iter_batches(rows, columns=columns):
                frame = pl.DataFrame(
                    {name: _series(name, batch.column(name)) for name in batch.schema.names}
                )
                yield _chunk(frame, first)
                first += len(frame)
        except (pa.ArrowException, OSError) as error:
            raise Damaged(f"{file} is damaged ({_first_line(error)}).", spoilt=True) from error


def _chunk(frame: pl.DataFrame, first: int) -> Chunk:
    line = pl.int_range(first, first + len(frame), eager=True)
    return Chunk(frame, line, None, lambda at: as_json(frame[at]))


def _series(name: str, column: pa.Array) -> pl.Series:
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return pl.Series(name, column.to_pylist(), dtype=pl.Binary)
    if _is_held(column.type):
        try:
            return pl.Series(name, pl.from_arrow(column))
        except (pa.ArrowException, pl.exceptions.PolarsError, ValueError, TypeError):
            pass  # what polars cannot hold is text
    cells = column.to_pylist(maps_as_pydicts="lossy")
    return pl.Series(name, [_text(cell) for cell in cells], dtype=pl.String)


def _is_held(kind: pa.DataType) -> bool:
    """Whether polars has the type: of maps it makes no text, and wide decimals let it panic."""
    inner = [kind.field(at).type for at in range(kind.num_fields)]
    return (
        not pa.types.is_map(kind)
        and not pa.types.is_decimal256(kind)
        and all(_is_held(one) for one in inner)
    )


def _text(cell: object) -> str | None:
    """Of maps, lists and structs their JSON."""
    if isinstance(cell, dict | list):
        return orjson.dumps(cell, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    return None if cell is None else str(cell)


def _opened(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise LoadError(
            f"{file} is not readable as parquet: {_first_line(error)} Is it another format, or cut "
            "short? What it holds where is at its end, so without that nothing of it can be read. "
            "Export it again."
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]
