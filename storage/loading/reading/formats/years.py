"""Times of Arrow that lie beyond the years that Python and polars can write."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from storage.loading.reading.chunk import Note

FIRST, LAST = -719_161, 2_932_895  # days since 1970: years 1 to 9999, with a day for time zones
_PER_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000}  # ns end in the year 2262
_SIGNS = {"s": "s", "ms": "ms", "us": "µs", "day": "days"}


def without_others(name: str, column: pa.Array, first: int) -> tuple[pa.Array, list[Note]]:
    """A column of times without those of other years, as ``infinity`` is written, and which.

    Args:
        first: number of the first row.
    """
    unit = _unit(column.type)
    if unit is None:
        return column, []
    per_day = _PER_DAY.get(unit, 1)
    count = column.cast(pa.int32() if pa.types.is_date32(column.type) else pa.int64())
    beyond = pc.or_(pc.less(count, FIRST * per_day), pc.greater(count, LAST * per_day))
    if not pc.any(beyond).as_py():
        return column, []
    notes = list(_notes(name, _SIGNS[unit], count, beyond, first))
    return pc.if_else(beyond, pa.scalar(None, column.type), column), notes


def _notes(name: str, sign: str, count: pa.Array, beyond: pa.Array, first: int) -> Iterator[Note]:
    for at in pc.indices_nonzero(beyond).to_pylist():
        message = f"{name}: {count[at]} {sign} since 1970 is no time of the years 1 to 9999"
        yield Note(name, message, message, first + at)


def _unit(kind: pa.DataType) -> str | None:
    if pa.types.is_date32(kind):
        return "day"
    if pa.types.is_date64(kind):
        return "ms"
    return kind.unit if pa.types.is_timestamp(kind) and kind.unit in _PER_DAY else None


def with_text(kind: pa.DataType) -> pa.DataType:
    """A type of lists, maps or structs with text in the place of its times."""
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return pa.string()
    if pa.types.is_map(kind):
        return pa.map_(with_text(kind.key_type), with_text(kind.item_type))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(with_text(field.type)) for field in kind])
    if pa.types.is_large_list(kind):
        return pa.large_list(with_text(kind.value_type))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(with_text(kind.value_type), kind.list_size)
    return pa.list_(with_text(kind.value_type)) if pa.types.is_list(kind) else kind
