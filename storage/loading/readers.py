"""Files of a log -> a log whose rows are read when they are needed.

The steps are in ``reading``: find the files, find the form of each, take rows and cells apart, name
the columns. ``values.validation`` then makes the cells typed. MovieLens, with what is particular to
it, is in ``samples``.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping as Dict
from pathlib import Path
from typing import Any, Literal

import polars as pl

from models.profile.interaction_types import DEFAULT_TYPES, InteractionTypes
from storage.loading.log import LoadError, Log, Rows
from storage.loading.mapping import Mapping
from storage.loading.names import type_of_flag
from storage.loading.reading import files
from storage.loading.reading.forms.form import Form, form_of
from storage.loading.reading.rows import FileRows, OncePerId, parts_of_events, unused
from storage.loading.reading.typed_events import flag, scale
from storage.loading.samples import movielens
from storage.loading.values.columns import COLUMNS, Entity

Format = Literal["auto", "csv", "jsonl", "parquet", "movielens"]

MOST = 980  # characters of a message
LIKE_ENOUGH = 0.75  # of difflib's 0 to 1: userId is like user_id, owner_id is not


def read_log(
    path: Path,
    form: Format = "auto",
    mapping: Mapping | None = None,
    types: InteractionTypes = DEFAULT_TYPES,
    *,
    up_to_damage: bool = False,
) -> Log:
    """Read a folder with interactions.* and, if there, users.*, items.*, owners.*; or one file.

    Titles, tags and the like that stand in the file of interactions become the items', where
    there is no file of items.

    Args:
        path: the folder, or the file of interactions alone.
        form: ``movielens``, or which endings count; what is in a file is seen from its content.
        mapping: how the log calls things (``storage.loading.mapping``); None: as we do.
        types: of interactions, that there are.
        up_to_damage: of a file that cannot be read to its end take the rows before the damage.

    Raises:
        LoadError: a file is missing, empty, of a form that is not read, or lacks a column.

    The log's ``notice`` names the columns of each file that are not used.
    """
    path = Path(path)
    if not path.exists():
        raise LoadError(f"{path}: no such file or folder.")
    if form == "movielens" or (form == "auto" and mapping is None and movielens.is_one(path)):
        return movielens.read(path, mapping)
    mapping = mapping or Mapping()
    paths = files.found(path, mapping, form)
    rows = {
        entity: FileRows(entity, parts, mapping, up_to_damage=up_to_damage)
        for entity, parts in paths.items()
    }
    events, found_forms = rows["interactions"], list(rows.values())
    if missing := {
        entity: lines for entity, part in rows.items() if (lines := _missing(part, types))
    }:
        raise LoadError(_sentence(path, rows, missing))
    rows |= parts_of_events(events, rows)
    has_times = not mapping.default_time or "occurred_at" in events.columns
    ours = {entity: _once_each(part, events) for entity, part in rows.items()}
    return _log(
        ours,
        mapping,
        types,
        sources={entity: part.files[0].name for entity, part in rows.items()},
        notice="\n".join(
            [
                *_doubts(found_forms),
                *_passed_over(path, form, found_forms),
                *_not_used(list(rows.values())),
                *_flags(events, types),
            ]
        ),
        has_times=has_times,
        ends_now=not has_times,
        without_user_is_said=bool(mapping.nothing),
    )


def _log(
    rows: Dict[Entity, Rows], mapping: Mapping, types: InteractionTypes, **options: Any
) -> Log:
    return Log(
        rows.get("interactions", pl.DataFrame({"occurred_at": []})),
        rows.get("users"),
        rows.get("items"),
        rows.get("owners"),
        time_format=mapping.time_format,
        time_zone=mapping.time_zone,
        decimal=mapping.decimal,
        tag_separator=mapping.tag_separator,
        types=types,
        **options,
    )


def _once_each(rows: FileRows, events: FileRows) -> Rows:
    """Rows of users or items that stand in the file of interactions come there many times."""
    return OncePerId(rows) if rows is not events and rows.files == events.files else rows


def _doubts(rows: list[FileRows]) -> list[str]:
    """What was found of the forms and may be wrong."""
    return [
        f"{part.files[0].name}: read as {part.form.encoding}, since it is not UTF-8; another by "
        f"files: {{{part.entity}: {{encoding: …}}}} in the mapping"
        for part in rows
        if part.form.encoding not in (None, "utf-8", "utf-16")
    ] + [
        f"{part.files[0].name}: most rows have more cells than the header's "
        f"{len(part.form.names)}; those beyond them are left out"
        for part in rows
        if part.form.ragged
    ]


def _passed_over(path: Path, form: Format, rows: list[FileRows]) -> list[str]:
    """Files of the same name that are not read, where the mapping does not say which is."""
    if path.is_file():
        return []
    return [
        f"{part.files[0].name}: not read, though called {part.entity} too: {files.listed(others)}. "
        f"Put parts into one folder, or say  files: {{{part.entity}: NAME}}  in the mapping"
        for part in rows
        if not part.mapping.files.get(part.entity)
        and (others := files.passed_over(path, part.entity, form))
    ]


def _not_used(rows: list[FileRows]) -> list[str]:
    """A line for each file with columns that nothing is read from."""
    used: dict[Path, set[str]] = {}
    for part in rows:
        used.setdefault(part.files[0], set()).update(part.used)
    return [
        f"{file.name}: not used: {files.listed(rest)}"
        for file, names in used.items()
        if (rest := unused(next(part.there for part in rows if part.files[0] == file), names))
    ]


def _flags(events: FileRows, types: InteractionTypes) -> list[str]:
    """Columns that seem to tell what was done, where the mapping has one type for all rows."""
    mapping = events.mapping
    if not mapping.default_type or mapping.thresholds or mapping.flags or "type" in events.columns:
        return []
    if not (flags := _flags_there(events, types)):
        return []
    return [
        f"{events.files[0].name}: every row counts as {mapping.default_type}. Where 0 is: not "
        f"done, write  {flags.removesuffix(' or ')}"
    ]


def _flags_there(rows: FileRows, types: InteractionTypes) -> str:
    """What to write of columns that are called as things that are done."""
    rest = unused(rows.there, set(rows.used))
    named = {name: kind for name in rest if (kind := type_of_flag(name, types))}
    flags = [f"{name[:60]}: {named[name]}" for name in (rows.flags(list(named)) if named else [])]
    return f"flags: {{{', '.join(flags[:5])}}} or " if flags else ""


def _missing(rows: FileRows, types: InteractionTypes) -> list[str]:
    """For each column that is needed and not there, what to write into the mapping."""
    entity, mapping = rows.entity, rows.mapping
    needed = {column.name for column in COLUMNS[entity] if column.required}
    if entity == "interactions":
        tells = mapping.thresholds or mapping.flags or mapping.default_type
        needed -= {"type"} if tells else set()
        needed -= {"occurred_at"} if mapping.default_time else set()
    needed |= set(mapping.columns(entity))
    lines = []
    ours = [column.name for column in COLUMNS[entity]]
    for name in (*ours, *map(scale, mapping.thresholds), *map(flag, mapping.flags)):
        if name in rows.columns or (name not in needed and name not in rows.missing_scales):
            continue
        theirs = mapping.wanted(entity).get(name, name)
        line = f"{entity}: {{{name}: {_like(theirs, rows) or 'YOUR COLUMN'}}}"
        if name in rows.missing_scales:
            theirs = rows.missing_scales[name]
            line = f"{'thresholds' if name == scale(theirs) else 'flags'}: {{YOUR COLUMN: …}}"
        elif entity == "interactions" and name in _INSTEAD and name not in mapping.columns(entity):
            flags = _flags_there(rows, types) if name == "type" else ""
            line += f" or {flags}{_INSTEAD[name]}"
        taken = next((ours for ours, given in rows.columns.items() if given == theirs), None)
        problem = f"{theirs!r} is given to {taken}" if taken else f"no column {theirs!r}"
        lines.append(f"{problem}: write  {line}")
    return lines


_INSTEAD = {
    "type": "default_type: click (one type for every row)",
    "occurred_at": "default_time: order (of the rows, where nothing tells a time; or none)",
}


def _like(name: str, rows: FileRows) -> str | None:
    """A column of the file with a similar name that is not given to another of ours."""
    taken = set(rows.columns.values())
    plain = {_plain(column): column for column in rows.there if column not in taken}
    near = difflib.get_close_matches(_plain(name), list(plain)[:1_000], n=1, cutoff=LIKE_ENOUGH)
    return plain[near[0]] if near else None


def _plain(name: str) -> str:
    """A name without what spellings differ in: itemId, Item ID and item_id are one."""
    return "".join(filter(str.isalnum, name)).lower()[:60]


def _sentence(path: Path, rows: dict[Entity, FileRows], missing: dict[Entity, list[str]]) -> str:
    """All that is missing, at once, with what to write."""
    sentences = []
    for entity, lines in missing.items():
        part = rows[entity]
        header = "" if part.form.header is not False else "It has no header. "
        sentences.append(
            f"{part.files[0]}: {'; '.join(lines)}. {header}"
            f"Columns there: {files.listed(part.there)}."
        )
    folder = path if path.is_dir() else path.parent
    fix = f"`feedwright map {folder}` writes a mapping to begin with; load it with --mapping."
    return f"{' '.join(sentences)[: MOST - len(fix)]} {fix}"


def readable(
    path: Path, form: Format, mapping: Mapping, types: InteractionTypes
) -> tuple[Log, dict[Entity, tuple[dict[str, str | bool | None], BaseException]]]:
    """The log of those files that can be read; of the others what form they have, and why not.

    What is wrong with one file, expected or not, never hides the others.

    Raises:
        LoadError: which files there are is not clear.
    """
    rows: dict[Entity, FileRows] = {}
    failed: dict[Entity, tuple[dict[str, str | bool | None], BaseException]] = {}
    for entity, parts in files.found(path, mapping, form).items():
        shape = Form("csv")
        try:
            shape = form_of(parts[0], mapping.files.get(entity))
            part = FileRows(entity, parts, mapping, up_to_damage=True)
            if lines := _missing(part, types):
                raise LoadError(_sentence(path, {entity: part}, {entity: lines}))
            rows[entity] = part
        except Exception as error:
            failed[entity] = shape.document(), error
    sources = {entity: part.files[0].name for entity, part in rows.items()}
    log = _log(rows, mapping, types, sources=sources)
    if "interactions" in failed:
        del log.rows["interactions"]
    return log, failed
