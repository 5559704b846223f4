"""How score tables are weighed and stored.

The blend weighs the tables' standard scores, each ``(score - mean) / spread`` over all items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.catalogue.tables.factors import FactorTable, VectorTable
from models.catalogue.tables.kinds import (
    ConstantTable,
    GroupTable,
    ItemTable,
    TasteTable,
    UserTable,
)
from models.catalogue.tables.scores import ScoreTable
from models.data.ragged import Ragged

VECTORS = "vectors"
"""The name by which a blend weighs the snapshot's vectors."""


@dataclass(frozen=True)
class Blend:
    """How a version weighs its tables.

    Attributes:
        weights: name of a table, or ``VECTORS`` → at least 0.
        centre, spread: what blended scores usually are at place ten of a list, and how far its
            first fifty differ: they scale what people see.
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    centre: float = 0.0
    spread: float = 1.0


TABLES: dict[str, type[Any]] = {
    table.kind: table
    for table in (
        ItemTable,
        UserTable,
        FactorTable,
        VectorTable,
        ConstantTable,
        TasteTable,
        GroupTable,
    )
}
"""Every kind of table, by the name it is stored under."""


def table_settings(table: ScoreTable) -> dict[str, Any]:
    """What is not an array of a table: its kind and settings."""
    return {"kind": table.kind} | {
        name: value for name, value in _parts(table).items() if not _is_column(value)
    }


def table_arrays(tables: Mapping[str, ScoreTable]) -> dict[str, NDArray]:
    """The arrays of all tables, by the names under which they are stored."""
    arrays: dict[str, NDArray] = {}
    for name, table in tables.items():
        for part, column in _parts(table).items():
            if isinstance(column, Ragged):
                for suffix, array in column._asdict().items():
                    arrays[f"tables.{name}.{part}.{suffix}"] = array
            elif isinstance(column, np.ndarray):
                arrays[f"tables.{name}.{part}"] = column
    return arrays


def read_tables(
    settings: Mapping[str, Mapping[str, Any]], array: Callable[[str], NDArray]
) -> dict[str, ScoreTable]:
    """What ``table_arrays`` and ``table_settings`` stored.

    Args:
        settings: by table. array: the one of a name.

    Raises:
        ValueError: a kind that this release does not know.
    """
    tables: dict[str, ScoreTable] = {}
    for name, of_table in settings.items():
        kind = TABLES.get(of_table["kind"])
        if kind is None:
            raise ValueError(f"table {name}: no kind {of_table['kind']!r} in this release")
        given = {key: value for key, value in of_table.items() if key != "kind"}
        for part in fields(kind):
            stored = f"tables.{name}.{part.name}"
            if part.type == "Ragged":
                given[part.name] = Ragged(*(array(f"{stored}.{field}") for field in Ragged._fields))
            elif str(part.type).startswith("NDArray"):
                given[part.name] = array(stored)
        tables[name] = kind(**given)
    return tables


def check_tables(tables: Mapping[str, ScoreTable], items: int, users: int) -> None:
    """
    Raises:
        ValueError: an array does not fit the number of items or users; the message names it.
    """
    for name, table in tables.items():
        sizes = {"items": items, "users": users, "features": len(getattr(table, "shares", ()))}
        for part, axes in table.axes.items():
            column, of = getattr(table, part), f"column tables.{name}.{part}"
            rows = column.rows if isinstance(column, Ragged) else len(column)
            values = column.values if isinstance(column, Ragged) else column
            if rows != sizes[axes[0]]:
                raise ValueError(f"{of}: {rows} rows, expected {sizes[axes[0]]}")
            if not np.isfinite(values).all():
                raise ValueError(f"{of}: a value is not finite")
            if isinstance(column, Ragged):
                _check_entries(of, column, sizes[axes[1]])


def _check_entries(name: str, column: Ragged, most: int) -> None:
    entries = column.indices
    if not column.indptr[-1] == len(entries) == len(column.values):
        raise ValueError(f"{name}: its entries do not fit its rows")
    if len(entries) and not 0 <= entries.min() <= entries.max() < most:
        raise ValueError(f"{name}: an entry is no row of {most}")


def _parts(table: ScoreTable) -> dict[str, Any]:
    return {part.name: getattr(table, part.name) for part in fields(table)}  # type: ignore[arg-type]


def _is_column(value: object) -> bool:
    return isinstance(value, Ragged | np.ndarray)
