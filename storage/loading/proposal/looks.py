"""What the first rows of a file look like, column by column."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import orjson
import polars as pl

from models.profile.interaction_types import DEFAULT_TYPES, InteractionTypes
from storage.loading.log import Damaged, LoadError
from storage.loading.mapping import FileForm
from storage.loading.names import plain_name, role_of, type_of
from storage.loading.reading.forms.form import BY_COLUMNS, Form, form_of
from storage.loading.reading.rows import columns_of, no_panic, rows_of
from storage.loading.summary import NOTHING
from storage.loading.values.cells import nested_kind, to_ids, to_text
from storage.loading.values.columns import CLOCK_SLACK, EARLIEST
from storage.loading.values.numbers import to_numbers
from storage.loading.values.times import TimeReader

ROWS = 10_000  # that are looked at
COLUMNS = 200
LOOKED_AT = 1_000  # cells that tell whether a column has times
MOSTLY = 0.9
HALF = 0.5  # of the cells, enough where the column's name tells what they are
_NO_DATE = r"^\s*0000-00-00"
_CODE = r"^[\w\-.:+/=]{1,64}$"


@dataclass
class Column:
    """One column. Shares are of the cells that are not empty."""

    name: str
    text: pl.Series
    filled: int
    distinct: int
    numbers: float
    """Share that are numbers."""
    whole: float
    codes: float
    """Share that are one short word without spaces, as ids are."""
    low: float | None
    high: float | None
    length: float
    """Mean length in characters."""
    pointed: bool
    """Whether all are like 12.0."""
    words: list[str]
    """Words for nothing among them."""
    types: InteractionTypes
    """Of interactions, that there are."""

    @cached_property
    def is_time(self) -> bool:
        """Whether nearly all cells are times as they are, and of one clock."""
        return self.are_times(TimeReader())

    def are_times(self, reader: TimeReader, share: float = MOSTLY) -> bool:
        """Whether ``reader`` takes more than ``share`` of the cells for times that have passed.

        Words for nothing do not count, nor the date of zeros that MySQL writes for none.
        """
        cells = self.text.drop_nulls()
        cells = cells.filter(~cells.is_in(self.words) & ~cells.str.contains(_NO_DATE))
        times = reader.read(cells.gather_every(max(1, len(cells) // LOOKED_AT)))
        passed = times.is_between(EARLIEST, datetime.now(UTC) + CLOCK_SLACK)
        return bool(passed.sum() > share * len(times)) and reader.numbers.doubt() is None

    @property
    def is_unique(self) -> bool:
        return bool(self.filled) and self.distinct > 0.95 * self.filled

    @cached_property
    def plain(self) -> str:
        """The name without what spellings differ in."""
        return plain_name(self.name)

    def like(self, pattern: str) -> bool:
        """Whether nearly all cells are of the pattern."""
        cells = self.text.drop_nulls()
        return bool(len(cells)) and int(cells.str.contains(pattern).sum()) > MOSTLY * len(cells)


@dataclass
class Look:
    """A file: its form, the columns of its first rows, and a key with several rows within."""

    name: str
    files: list[Path]
    form: Form
    columns: list[Column]
    rows: int
    size: int
    types: InteractionTypes
    inner: str | None = None

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)

    def cells(self, name: str) -> Iterator[pl.Series]:
        """A column of all files, as text, some rows at a time."""
        for file in self.files:
            with suppress(Damaged):  # reported when its rows are read
                for chunk in rows_of(file, self.form, [name]):
                    yield to_text(chunk.frame[name])


def look(name: str, files: list[Path], types: InteractionTypes = DEFAULT_TYPES) -> Look:
    """Look at the first rows.

    Raises:
        LoadError: they cannot be read.
    """
    form = form_of(files[0])
    size = sum(file.stat().st_size for file in files)
    with no_panic(files[0]):
        names = columns_of(files[0], form)[:COLUMNS]
        frame = _first_rows(files[0], form, names)
        columns = _columns(frame, names, types)
    made = Look(name, files, form, columns, len(frame), size, types)
    if inner := _inner(made):
        return look_within(made, inner)
    return made


def look_within(outer: Look, inner: str) -> Look:
    """The same file, with a row for each value of the list in column ``inner``."""
    form = form_of(outer.files[0], FileForm(rows=inner))
    names = columns_of(outer.files[0], form)[:COLUMNS]
    frame = _first_rows(outer.files[0], form, names)
    columns = _columns(frame, names, outer.types)
    return Look(outer.name, outer.files, form, columns, len(frame), outer.size, outer.types, inner)


def _first_rows(file: Path, form: Form, names: list[str]) -> pl.DataFrame:
    for chunk in rows_of(file, form, names, size=1 << 20):
        frame = chunk.frame.head(ROWS)
        if chunk.problem is not None:
            frame = frame.filter(chunk.problem.head(ROWS).is_null())
        return frame
    raise LoadError(f"{file}: there is no row in it.")


def _columns(frame: pl.DataFrame, names: list[str], types: InteractionTypes) -> list[Column]:
    """Those that hold values: what holds other keys is named by these."""
    outer = {name.rpartition(".")[0] for name in names if "." in name} & set(names)
    return [
        _column(frame[name], types)
        for name in names
        if name in frame.columns and not (name in outer and _has_objects(frame[name]))
    ]


def _has_objects(cells: pl.Series) -> bool:
    return bool(to_text(cells.drop_nulls().head(100)).str.starts_with("{").all())


def _column(cells: pl.Series, types: InteractionTypes) -> Column:
    is_id_like = cells.dtype.is_float() or nested_kind(cells.dtype) is None
    text = to_ids(cells) if is_id_like else to_text(cells)
    text = text.set(text.str.strip_chars() == "", None)
    there = text.drop_nulls()
    count = max(len(there), 1)
    number = to_numbers(there)
    number = number.set(~number.is_finite(), None).drop_nulls()
    whole = there.str.contains(r"^[-+]?\d+(\.0)?$")
    low, high = number.min(), number.max()
    words = there.filter(there.is_in(NOTHING)).unique().sort().to_list()
    return Column(
        name=cells.name,
        text=text,
        filled=len(there),
        distinct=there.n_unique(),
        numbers=len(number) / count,
        whole=int(whole.sum()) / count,
        codes=int(there.str.contains(_CODE).sum()) / count,
        low=float(low) if isinstance(low, float) else None,
        high=float(high) if isinstance(high, float) else None,
        length=float(there.str.len_chars().mean() or 0),  # type: ignore[arg-type]
        pointed=bool(len(there)) and there.str.contains(r"^\d+\.0$").all(),
        words=words,
        types=types,
    )


def _inner(look: Look) -> str | None:
    """A key or column that holds several interactions of one row, as sessions do."""
    if look.form.shape == "lists":
        return look.form.names[1]
    has_item = any(
        role_of(column.name) == "item_id" and 2 * column.filled > look.rows
        for column in look.columns
    )
    for column in look.columns:
        cells = column.text.drop_nulls().head(100)
        is_nested = look.form.kind in ("json", "jsonl", *BY_COLUMNS)
        if is_nested and column.like(r"^\[\s*[{\]]"):
            keys = {key for cell in cells for each in _objects(cell) for key in each}
            is_known = any("id" in key.lower() or role_of(key) == "item_id" for key in keys)
            if is_known and len(keys) > 1:
                return column.name
        if look.form.kind in BY_COLUMNS and _are_items(column) and not has_item:
            return column.name
        # MIND: N55689-1 N35729-0
        if (
            look.form.kind == "csv"
            and column.like(r"^\S+-[01]( \S+-[01])*$")
            and column.length > 12
        ):
            return column.name
    return None


def _are_items(column: Column) -> bool:
    """Whether cells are lists of ids of items with which the same was done: article_ids_clicked."""
    words = [word.removesuffix("s") for word in re.split(r"\W|_", column.name.lower())]
    is_named = any(role_of(word) == "item_id" for word in words) and any(map(type_of, words))
    return is_named and column.like(r'^\[(("[^"]*"|\d+)(,\s*)?)*\]$')


def _objects(cell: str) -> list[dict[str, object]]:
    try:
        return [value for value in orjson.loads(cell) if isinstance(value, dict)]
    except orjson.JSONDecodeError:
        return []
