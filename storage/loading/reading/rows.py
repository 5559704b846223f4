"""The rows of one entity: its files, one after another, under our names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Dict
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from storage.loading.log import Damaged, LoadError
from storage.loading.mapping import Mapping
from storage.loading.reading.chunk import Chunk
from storage.loading.reading.files import listed, partition
from storage.loading.reading.formats import blocks, delimited, inner, json_lines, parquet
from storage.loading.reading.forms.form import BY_COLUMNS, Form, form_of
from storage.loading.reading.joined import parts_of, those_of, with_joined
from storage.loading.reading.streams import BLOCK
from storage.loading.reading.typed_events import FLAG, flag, scale, typed_events
from storage.loading.values.cells import to_text
from storage.loading.values.columns import COLUMNS, Entity

STAND_IN = datetime(2000, 1, 1, tzinfo=UTC)
"""Time of the first interaction of a log without times; the next are a second apart each."""


PARTS = 20  # whose columns are looked at
LOOKED_AT = 10_000  # rows that tell whether a title is an item's
ALIKE = 1.1  # different titles of an item, on average, that are still its own
OF_ITEMS = ("title", "text", "tags", "category", "price_min", "price_max")
"""Columns that are an item's wherever they stand; a place or a status may be of either."""


class FileRows:
    """The rows of one entity from its file, or from the parts of it.

    ``there``: the columns or keys of the first parts. ``columns``: our name -> theirs.
    """

    def __init__(
        self,
        entity: Entity,
        files: Sequence[Path],
        mapping: Mapping,
        *,
        up_to_damage: bool = False,
    ) -> None:
        """
        Args:
            up_to_damage: take the rows before the damage of a file instead of refusing it.
        """
        self.entity, self.files, self.mapping = entity, list(files), mapping
        self.up_to_damage, self.damage = up_to_damage, ""
        self._raw: dict[str, bool] = {}  # columns of Parquet that hold bytes and no text
        self.forms = [form_of(file, mapping.files.get(entity)) for file in self.files]
        self.there = self._columns()
        self._check_inner()
        wanted = mapping.wanted(entity)
        scales = {}
        if entity == "interactions":
            scales = {scale(name): name for name in mapping.thresholds}
            scales |= {flag(name): name for name in mapping.flags}
        self.joined = those_of(wanted.values(), self.there)
        self.there += self.joined
        self.columns = {
            ours: theirs for ours, theirs in (wanted | scales).items() if theirs in self.there
        }
        self.missing_scales = {
            ours: theirs for ours, theirs in scales.items() if theirs not in self.there
        }

    def _columns(self) -> list[str]:
        columns: dict[str, None] = {}
        for file, form in list(zip(self.files, self.forms, strict=True))[:PARTS]:
            with no_panic(file):
                columns |= dict.fromkeys(columns_of(file, form))
        return list(columns)

    def _check_inner(self) -> None:
        declared = self.mapping.files.get(self.entity)
        there = self.form.names if self.form.kind == "csv" else self.there
        if declared is not None and declared.rows and declared.rows not in there:
            raise LoadError(
                f"{self.files[0]}: no column or key {declared.rows!r}, which  rows:  names in the "
                f"mapping. There are {listed(list(there))}."
            )

    @property
    def used(self) -> list[str]:
        """The columns of the file that something is read from."""
        return [part for name in self.columns.values() for part in (name, *parts_of(name))]

    @property
    def form(self) -> Form:
        return self.forms[0]

    def document(self) -> dict[str, str | bool | None]:
        return self.form.document()

    def flags(self, names: Sequence[str]) -> list[str]:
        """Those of ``names`` whose first cells all say if something was done."""
        with suppress(Damaged):  # reported when its rows are read
            for chunk in rows_of(self.files[0], self.form, names):
                cells = {
                    name: to_text(chunk.frame[name]).head(LOOKED_AT).drop_nulls()
                    for name in names
                    if name in chunk.frame
                }
                return [name for name, text in cells.items() if text.str.contains(FLAG).all()]
        return []

    def chunks(self) -> Iterator[Chunk]:
        """
        Raises:
            Damaged: a file cannot be read to its end, and is not taken up to there.
        """
        self.damage, done = "", 0
        for file, form in zip(self.files, self._settled(), strict=True):
            before, line = done, 0
            try:
                with no_panic(file):
                    for chunk in rows_of(file, form, self.used):
                        yield self._ours(chunk, done)
                        done += len(chunk.frame)
                        line = int(chunk.line[-1])
            except Damaged as error:
                message = f"{error} {_readable(done - before, line, error.spoilt)}"
                if not self.up_to_damage:
                    fix = "Get the file again, or load what can be read of it: --up-to-damage."
                    raise Damaged(
                        f"{message} Nothing is loaded. {fix}", spoilt=error.spoilt
                    ) from error
                self.damage = message

    def _settled(self) -> list[Form]:
        """The forms, with the columns that hold bytes in any of the files."""
        of_parquet = [form.kind in BY_COLUMNS for form in self.forms]
        if not any(of_parquet):
            return self.forms
        files = [file for file, fits in zip(self.files, of_parquet, strict=True) if fits]
        new = {*self.used} - {*self._raw}
        self._raw |= dict.fromkeys(new, False)
        self._raw |= dict.fromkeys(parquet.byte_columns(files, new), True)
        raw = frozenset(name for name, is_raw in self._raw.items() if is_raw)
        return [replace(form, raw=raw) for form in self.forms]

    def _ours(self, chunk: Chunk, done: int) -> Chunk:
        theirs = chunk.frame
        absent = [name for name in self.used if name not in theirs.columns]
        theirs = theirs.with_columns(pl.lit(None, dtype=pl.String).alias(name) for name in absent)
        theirs = with_joined(theirs, self.joined)
        frame = theirs.select(pl.col(name).alias(ours) for ours, name in self.columns.items())
        frame = self._words(frame)
        if self.entity == "interactions":
            frame = self._timed(typed_events(frame, self.mapping), done)
        return self._noted(replace(chunk, frame=frame))

    def _noted(self, chunk: Chunk) -> Chunk:
        """Of values left out those that are needed refuse their row; others are reported."""
        if not chunk.notes:
            return chunk
        needed = {column.name for column in COLUMNS[self.entity] if column.required}
        ours = {theirs.partition(".")[0]: name for name, theirs in self.columns.items()}
        bad = {note.line: note.kind for note in chunk.notes if ours.get(note.field) in needed}
        why = chunk.line.replace_strict(
            list(bad), list(bad.values()), default=None, return_dtype=pl.String
        )
        problem = why if chunk.problem is None else _either(chunk.problem, why)
        kept = [note for note in chunk.notes if note.field in ours and note.line not in bad]
        return replace(chunk, problem=problem, notes=kept)

    def _words(self, frame: pl.DataFrame) -> pl.DataFrame:
        """What the mapping says of words: those for nothing, ids like 12.0, statuses."""
        mapping = self.mapping
        texts = [name for name, kind in frame.schema.items() if kind == pl.String]
        if mapping.nothing:
            is_nothing = pl.col(texts).is_in(mapping.nothing)
            frame = frame.with_columns(pl.when(~is_nothing).then(pl.col(texts)))
        if mapping.whole_ids:
            ids = {column.name for column in COLUMNS[self.entity] if column.kind == "id"}
            here = [name for name in texts if name in ids]
            frame = frame.with_columns(pl.col(here).str.replace(r"^(\d+)\.0+$", "$1"))
        if mapping.statuses and "status" in frame.columns:
            words = pl.col("status").cast(pl.String).replace(dict(mapping.statuses))
            frame = frame.with_columns(status=words)
        return frame

    def _timed(self, frame: pl.DataFrame, done: int) -> pl.DataFrame:
        if not self.mapping.default_time or "occurred_at" in frame.columns:
            return frame
        start = STAND_IN
        if self.mapping.default_time == "none":
            return frame.with_columns(occurred_at=pl.lit(start))
        start += timedelta(seconds=done)
        seconds = pl.duration(seconds=pl.int_range(pl.len()))
        return frame.with_columns(occurred_at=pl.lit(start) + seconds)


@dataclass(frozen=True)
class OncePerId:
    """Rows of a file in which ids come again and again: the first of each."""

    rows: FileRows

    @property
    def damage(self) -> str:
        return self.rows.damage

    def document(self) -> dict[str, str | bool | None]:
        return self.rows.document()

    def chunks(self) -> Iterator[Chunk]:
        seen = pl.Series([], dtype=pl.UInt64)
        for chunk in self.rows.chunks():
            ids = chunk.frame["id"]
            keys = ids.hash()
            new = ids.is_not_null() & keys.is_first_distinct() & ~keys.is_in(seen.implode())
            seen = seen.append(keys.filter(new))
            if chunk.problem is not None:
                new &= chunk.problem.is_null()  # refused among the interactions
            yield chunk.only(new)


def _readable(rows: int, line: int, spoilt: bool) -> str:
    if not rows:
        return "No row of it can be read."
    doubt = "; the last of them may be wrong" if spoilt else ""
    return f"The {rows:,} rows before that can be read, up to line {line:,}{doubt}."


def parts_of_events(events: FileRows, others: Dict[Entity, FileRows]) -> dict[Entity, FileRows]:
    """Items, users or owners that stand in the file of interactions and have no file."""
    parts: dict[Entity, FileRows] = {}
    mapping = events.mapping
    keys: tuple[tuple[Entity, str, tuple[str, ...]], ...] = (
        ("items", "item_id", OF_ITEMS), ("users", "user_id", ()),
    )  # fmt: skip
    for entity, key, own in keys:
        if entity in others or mapping.files.get(entity, False) is None:
            continue
        wanted = {name: name for name in own} | mapping.columns(entity)
        wanted = {name: wanted[name] for name in wanted if name in mapping.wanted(entity)}
        taken = set(events.columns.values())
        columns = {
            ours: theirs
            for ours, theirs in wanted.items()
            if theirs in events.there and (theirs not in taken or ours in mapping.columns(entity))
        }
        columns.pop("id", None)
        if columns and not mapping.columns(entity) and key in events.columns:
            columns = _following(events, columns, events.columns[key])
        if columns and key in events.columns:
            rows = copy(events)
            rows.entity, rows.columns = entity, {"id": events.columns[key], **columns}
            parts[entity] = rows
    return parts


def _following(events: FileRows, columns: dict[str, str], key: str) -> dict[str, str]:
    """Those of ``columns`` that are the same in all rows of a key: the title of a review is not."""
    names = [*columns.values(), key]
    for chunk in rows_of(events.files[0], events.form, names):
        rows = chunk.frame.head(LOOKED_AT)
        return {ours: name for ours, name in columns.items() if follows(rows[name], rows[key])}
    return columns


def follows(cells: pl.Series, keys: pl.Series) -> bool:
    """Whether a cell's meaning follows from its key, but for some rows."""
    rows = pl.DataFrame({"key": keys, "cell": cells}).drop_nulls()
    return rows.n_unique() <= ALIKE * rows["key"].n_unique()


def unused(there: Sequence[str], used: set[str]) -> list[str]:
    """The columns that nothing of ours is read from; of keys with dots, the outer ones."""
    outer = {name.partition(".")[0] for name in used}
    everywhere = set(there)
    nested = {name for name in there if "." in name and name.partition(".")[0] in everywhere}
    return [name for name in there if name not in used | outer | nested]


def _either(first: pl.Series, other: pl.Series) -> pl.Series:
    return first.zip_with(first.is_not_null(), other)


def columns_of(file: Path, form: Form) -> list[str]:
    """The columns of a file, or the keys of its first rows; and what its folders tell."""
    return list(dict.fromkeys([*_own_columns(file, form), *partition(file)]))


def _own_columns(file: Path, form: Form) -> list[str]:
    if form.kind == "csv":
        return inner.columns(form.inner, form.names) if form.inner else list(form.names)
    if form.kind == "blocks":
        return blocks.names(file, form)
    if form.kind in BY_COLUMNS:
        return parquet.names(file, form.inner)
    return json_lines.keys(file, form)


def rows_of(file: Path, form: Form, wanted: Sequence[str], size: int = BLOCK) -> Iterator[Chunk]:
    """The rows of a file, under its own names, ``size`` bytes at a time; of CSV all columns."""
    of_folders = partition(file)
    if not of_folders:
        yield from _own_rows(file, form, wanted, size)
        return
    own = _own_columns(file, form)
    others = [pl.lit(value, pl.String).alias(name) for name, value in of_folders.items()
              if name not in own]  # fmt: skip
    for chunk in _own_rows(file, form, wanted, size):
        yield replace(chunk, frame=chunk.frame.with_columns(others))


def _own_rows(file: Path, form: Form, wanted: Sequence[str], size: int) -> Iterator[Chunk]:
    if form.kind == "csv":
        chunks = delimited.read(file, form, size)
        return (inner.each_word(chunk, form.inner) for chunk in chunks) if form.inner else chunks
    if form.kind == "blocks":
        return blocks.read(file, form, wanted, size)
    if form.kind in BY_COLUMNS:
        return parquet.read(file, wanted, raw=form.raw, inner=form.inner)
    return json_lines.read(file, form, wanted, size)


@contextmanager
def no_panic(file: Path) -> Iterator[None]:
    """Errors of polars, and panics of its Rust code, as a sentence.

    Raises:
        LoadError: instead of both.
    """
    try:
        yield
    except BaseException as error:
        is_panic = type(error).__name__ == "PanicException"
        if not is_panic and not isinstance(error, PolarsError):
            raise
        message = str(error).strip().partition("\n")[0][:200]
        raise LoadError(f"{file} cannot be read: {message}. Export it again, as CSV.") from error
