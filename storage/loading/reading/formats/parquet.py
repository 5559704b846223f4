"""Parquet and Arrow (Feather) -> chunks, with the types that the file has."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from storage.loading.log import Damaged, LoadError
from storage.loading.reading.chunk import Chunk, Note, as_json
from storage.loading.reading.formats.years import with_text, without_others
from storage.loading.reading.streams import ARROW
from storage.loading.values.cells import are_text

ROWS = 250_000  # of one chunk
DEEPEST = 3  # structs within structs, whose fields are columns
ID = "id"  # of the values of a list, which have no names


def names(file: Path, inner: str | None = None) -> list[str]:
    """The columns of the file, with those of what stands within ``inner``.

    Fields of structs have dots, as ``user.id``.
    """
    with _opened(file) as content:
        there = _paths(content.schema_arrow)
    columns = list(there)
    if inner in there:
        kind = getattr(there[inner].kind, "value_type", pa.null())
        columns += [f"{inner}.{name}" for name in _fields(kind) or [ID]]
    return columns


class _Path(NamedTuple):
    """Where a column stands: its place among the columns, then those within structs."""

    places: tuple[int, ...]
    kind: pa.DataType


def _paths(schema: pa.Schema) -> dict[str, _Path]:
    """Columns and fields of structs by their names; of columns of one name by ``name (2)``."""
    paths: dict[str, _Path] = {}
    for at, field in enumerate(schema):
        name = f"{field.name} ({at + 1})" if field.name in paths else field.name
        paths[name] = _Path((at,), field.type)
    return {
        name: path
        for outer, inner in paths.items()
        for name, path in _with_fields(outer, inner)
        if path is inner or name not in paths
    }


def _with_fields(name: str, path: _Path) -> Iterator[tuple[str, _Path]]:
    yield name, path
    if pa.types.is_struct(path.kind) and len(path.places) <= DEEPEST:
        for at, field in enumerate(path.kind):
            yield from _with_fields(f"{name}.{field.name}", _Path((*path.places, at), field.type))


def byte_columns(files: Sequence[Path], wanted: Collection[str]) -> frozenset[str]:
    """Those of the ``wanted`` columns that hold bytes which are not all text, in any of ``files``.

    They are read ahead, so that what an id is written as does not depend on the rows around it.
    """
    columns: set[str] = set()
    for file in files:
        with _opened(file) as content:
            paths = _paths(content.schema_arrow)
        there = [name for name, path in paths.items() if _is_bytes(path.kind)]
        for name in {*there} & {*wanted} - columns:
            with suppress(Damaged):  # reported when its rows are read
                if not all(
                    are_text(_series(name, cells.column(0))) for cells in _batches(file, [name])
                ):
                    columns.add(name)
    return frozenset(columns)


def read(
    file: Path,
    wanted: Sequence[str],
    rows: int = ROWS,
    raw: frozenset[str] | None = None,
    inner: str | None = None,
) -> Iterator[Chunk]:
    """The ``wanted`` columns; a column that polars cannot hold is text.

    Args:
        raw: the columns that stay bytes; None: those that are not text, chunk by chunk.
        inner: a column of lists, with a row for each value of them.

    Raises:
        Damaged: after the batches before the damage.
    """
    first = 1
    own = [*wanted, *([inner] if inner else [])]
    for batch in _batches(file, own, rows):
        cells, notes = list[pl.Series](), list[Note]()
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            column, beyond = without_others(name, column, first)
            cells.append(_as_text(_series(name, column), raw))
            notes += beyond
        frame = pl.DataFrame(cells)
        line = pl.int_range(first, first + len(frame), eager=True)
        first += len(frame)
        if inner in frame.columns:
            frame, line = _each(frame, line, inner)
        yield _chunk(frame, line, notes)


def _batches(file: Path, wanted: Collection[str], rows: int = ROWS) -> Iterator[pa.RecordBatch]:
    """The ``wanted`` columns and fields, under these names."""
    with _opened(file) as content:
        schema = content.schema_arrow
        paths = {name: path for name, path in _paths(schema).items() if name in wanted}
        outer = sorted({path.places[0] for path in paths.values()})
        columns = None  # all, where a name tells no column
        if len({*schema.names}) == len(schema.names):
            columns = [schema.names[at] for at in outer]
        try:
            for batch in content.iter_batches(rows, columns=columns):
                read = range(len(schema)) if columns is None else outer
                there = dict(zip(read, batch.columns, strict=True))
                cells = [_within(there[at], inner) for at, *inner in _places(paths)]
                yield pa.RecordBatch.from_arrays(cells, names=list(paths))
        except (pa.ArrowException, OSError) as error:
            raise Damaged(f"{file} is damaged ({_first_line(error)}).", spoilt=True) from error


def _places(paths: dict[str, _Path]) -> list[tuple[int, ...]]:
    return [path.places for path in paths.values()]


def _within(column: pa.Array, places: Sequence[int]) -> pa.Array:
    """The field of structs at these places; null where a struct is."""
    return pc.struct_field(column, list(places)) if places else column


def _each(frame: pl.DataFrame, line: pl.Series, inner: str) -> tuple[pl.DataFrame, pl.Series]:
    """A row for each value of the lists in ``inner``, with its fields as columns."""
    if isinstance(frame.schema[inner], pl.Array):
        frame = frame.with_columns(pl.col(inner).arr.to_list())
    if not isinstance(frame.schema[inner], pl.List):
        return frame, line
    frame = frame.with_columns(__line=line).filter(pl.col(inner).list.len() > 0).explode(inner)
    kind = frame.schema[inner]
    fields = [field.name for field in kind.fields] if isinstance(kind, pl.Struct) else []
    parts = [pl.col(inner).struct.field(name).alias(f"{inner}.{name}") for name in fields]
    frame = frame.with_columns(parts or [pl.col(inner).alias(f"{inner}.{ID}")])
    return frame.drop("__line"), frame["__line"]


def _fields(kind: pa.DataType) -> list[str]:
    return [field.name for field in kind.fields] if pa.types.is_struct(kind) else []


def _chunk(frame: pl.DataFrame, line: pl.Series, notes: list[Note]) -> Chunk:
    return Chunk(frame, line, None, lambda at: as_json(frame[at]), notes)


def _as_text(cells: pl.Series, raw: frozenset[str] | None) -> pl.Series:
    if cells.dtype != pl.Binary:
        return cells
    stays = not are_text(cells) if raw is None else cells.name in raw
    return cells if stays else cells.cast(pl.String)


def _series(name: str, column: pa.Array) -> pl.Series:
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_nested(column.type):
        column = column.cast(with_text(column.type))
    if _is_held(column.type):
        try:
            return pl.Series(name, pl.from_arrow(column))
        except (pa.ArrowException, pl.exceptions.PolarsError, ValueError, TypeError):
            pass  # what polars cannot hold is text
    cells = column.to_pylist(maps_as_pydicts="lossy")
    return pl.Series(name, [_text(cell) for cell in cells], dtype=pl.String)


def _is_bytes(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return any(
        is_such(kind)
        for is_such in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view,
                        pa.types.is_fixed_size_binary)
    )  # fmt: skip


def _is_held(kind: pa.DataType) -> bool:
    """Whether polars has the type: of maps it makes no text, and wide decimals let it panic."""
    inner = [kind.field(at).type for at in range(kind.num_fields)]
    return (
        not pa.types.is_map(kind)
        and not pa.types.is_decimal256(kind)
        and all(_is_held(part) for part in inner)
    )


def _text(cell: object) -> str | None:
    """Of maps, lists and structs their JSON."""
    if isinstance(cell, dict | list):
        return orjson.dumps(cell, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    return None if cell is None else str(cell)


class _Arrow:
    """A file or a stream of Arrow, with those calls of ``ParquetFile`` that are made here."""

    def __init__(self, file: Path) -> None:
        source = pa.memory_map(str(file))
        try:
            self._content = pa.ipc.open_file(source)
        except pa.ArrowInvalid:
            self._content = pa.ipc.open_stream(source)
        self.schema_arrow = self._content.schema

    def __enter__(self) -> _Arrow:
        return self

    def __exit__(self, *_: object) -> None:
        self._content.__exit__(*_)

    def iter_batches(self, rows: int, columns: list[str] | None) -> Iterator[pa.RecordBatch]:
        content = self._content
        is_file = isinstance(content, pa.ipc.RecordBatchFileReader)
        batches = map(content.get_batch, range(content.num_record_batches)) if is_file else content
        for batch in batches:
            for at in range(0, len(batch), rows):
                some = batch if columns is None else batch.select(columns)
                yield some.slice(at, rows)


def _opened(file: Path) -> pq.ParquetFile | _Arrow:
    with file.open("rb") as start:
        is_arrow = start.read(6).startswith(ARROW)
    try:
        return _Arrow(file) if is_arrow else pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise LoadError(
            f"{file} is not readable as {'Arrow' if is_arrow else 'parquet'}: "
            f"{_first_line(error)} Is it another format, or cut short? What it holds where is at "
            "its end, so without that nothing of it can be read. Export it again."
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]
