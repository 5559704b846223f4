"""Files of a log -> frames: CSV, JSON Lines, Parquet; MovieLens is in ``storage.samples``."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Literal

import orjson
import polars as pl
from polars.exceptions import PolarsError

from storage.columns import COLUMNS, ENTITIES, Entity
from storage.log import PROBLEM, LoadError, Log
from storage.mapping import Mapping, typed_events
from storage.samples import movielens

Format = Literal["csv", "jsonl", "parquet", "movielens"]

ENDINGS: dict[str, tuple[str, ...]] = {
    "csv": (".csv", ".csv.gz"),
    "jsonl": (".jsonl", ".ndjson", ".json"),
    "parquet": (".parquet",),
}
LINE = "line"
MORE = "cells beyond the header"
LOOKED_AT = 1_000  # lines of JSON whose keys are told as the file's columns
LIKE_ENOUGH = 0.75  # of difflib's 0 to 1: userId is like user_id, owner_id is not


def read_log(path: Path, form: Format, mapping: Mapping | None = None) -> Log:
    """Read a folder with interactions.* and, if there, users.*, items.*, owners.*; or one file.

    Args:
        path: the folder, or the file of interactions alone.
        mapping: how the log calls things (``storage.mapping``); None: as we do.

    Raises:
        LoadError: a file is missing, empty, not of the format, or lacks a column.

    The log's ``notice`` names the columns of each file that are not used.
    """
    path = Path(path)
    if not path.exists():
        raise LoadError(f"{path}: no such file or folder.")
    if form == "movielens":
        return movielens.read(path, mapping)
    mapping = mapping or Mapping()
    frames: dict[Entity, pl.DataFrame] = {}
    raw: dict[str, pl.DataFrame] = {}
    unused: list[str] = []
    files = _files(path, form)
    for entity, file in files.items():
        wanted = _wanted(entity, mapping)
        try:
            content, whole = _READERS[form](file, list(wanted.values()))
        except PolarsError as error:
            raise _not_readable(file, form, error) from error
        except OSError as error:
            raise LoadError(f"{file} cannot be read: {error.strerror or error}.") from error
        there = _names(whole, form)
        frames[entity] = _renamed(content, entity, file, wanted, mapping, there)
        if rest := [name for name in there if name not in wanted.values()]:
            unused.append(f"{file.name}: not used: {', '.join(rest)}")
        raw[entity] = whole
    return Log(
        interactions=frames["interactions"],
        users=frames.get("users"),
        items=frames.get("items"),
        owners=frames.get("owners"),
        sources={entity: file.name for entity, file in files.items()},
        raw=raw,
        time_format=mapping.time_format,
        tag_separator=mapping.tag_separator,
        notice="\n".join(unused),
    )


def _files(path: Path, form: Format) -> dict[Entity, Path]:
    if path.is_file():
        files: dict[Entity, Path] = {"interactions": path}
    else:
        files = {}
        for entity in ENTITIES:
            names = [path / f"{entity}{ending}" for ending in ENDINGS[form]]
            if file := next(filter(Path.is_file, names), None):
                files[entity] = file
    if "interactions" not in files:
        there = ", ".join(sorted(file.name for file in path.iterdir())) or "nothing"
        raise LoadError(
            f"{path}: no interactions{ENDINGS[form][0]} (there: {there}). "
            "Name the file so, or give another --format."
        )
    for file in files.values():
        if file.stat().st_size == 0:
            raise LoadError(f"{file}: the file is empty. Export it again.")
    return files


def _wanted(entity: Entity, mapping: Mapping) -> dict[str, str]:
    """Our name -> theirs, of all columns to look for."""
    wanted = {column.name: column.name for column in COLUMNS[entity]} | mapping.columns(entity)
    if entity == "interactions":
        wanted |= {f"scale {name}": name for name in mapping.thresholds}
    return wanted


def _csv(file: Path, wanted: list[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """All columns as text. Rows with more cells than the header keep one more, as a problem."""
    header = pl.read_csv(file, n_rows=0, infer_schema=False).columns
    whole = pl.read_csv(
        file,
        has_header=False,
        skip_rows=1,
        schema=dict.fromkeys((*header, MORE), pl.String),
        truncate_ragged_lines=True,
        missing_columns="insert",
    )
    if whole[MORE].null_count() == len(whole):
        whole = whole.drop(MORE)
        return whole, whole
    problem = (
        pl.when(pl.col(MORE).is_not_null())
        .then(pl.lit(f"row: more cells than the header's {len(header)}"))
        .alias(PROBLEM)
    )
    return whole.with_columns(problem), whole


def _jsonl(file: Path, wanted: list[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The wanted keys as text, nested values as JSON. Lines that are no object are problems."""
    lines = pl.read_lines(file, name=LINE)
    lines = lines.filter(pl.col(LINE).str.strip_chars() != "")
    schema = dict.fromkeys(wanted, pl.String)
    try:
        content = pl.read_ndjson(file, schema=schema)
        if len(content) == len(lines):
            return _present(content, lines), lines
    except PolarsError:
        pass  # some line is no object: find out which
    good = lines.select(
        good=pl.Series([_is_object(line) for line in lines[LINE]], dtype=pl.Boolean)
    )
    kept = lines.filter(good["good"])
    if kept.is_empty():
        raise LoadError(
            f"{file}: no line is a JSON object, as in "
            '{"user_id": "u1", "item_id": "i1", …}. Give the --format that the file has.'
        )
    content = pl.read_ndjson("\n".join(kept[LINE]).encode(), schema=schema)
    places = good.with_row_index("at").filter("good").select("at")
    content = (
        good.with_row_index("at")
        .join(places.hstack(content), on="at", how="left", maintain_order="left")
        .with_columns(
            pl.when(~pl.col("good")).then(pl.lit("row: not a JSON object")).alias(PROBLEM)
        )
        .drop("at", "good")
    )
    return _present(content, lines), lines


def _present(content: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
    """``content`` with valid JSON in its cells, without the columns that no line names."""
    absent = [
        name
        for name in content.columns
        if content[name].null_count() == len(content)
        and not lines[LINE].str.contains(orjson.dumps(name).decode(), literal=True).any()
    ]
    content = content.drop(absent)
    return content.with_columns(_nested(column, lines[LINE]) for column in content)


def _nested(cells: pl.Series, lines: pl.Series) -> pl.Series:
    """Cells with nested JSON as it stood: polars drops the escapes when it makes it text."""
    # where the line has no backslash there was none to drop
    wrong = cells.str.contains(r"^[{\[]") & lines.str.contains("\\", literal=True)
    if not wrong.any():
        return cells
    found = lines.filter(wrong).str.json_path_match(f"$[{orjson.dumps(cells.name).decode()}]")
    return cells.scatter(wrong.arg_true(), found)


def _is_object(line: str) -> bool:
    try:
        return isinstance(orjson.loads(line), dict)
    except orjson.JSONDecodeError:
        return False


def _parquet(file: Path, wanted: list[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    whole = pl.read_parquet(file)
    return whole, whole


_READERS = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}


def _not_readable(file: Path, form: str, error: Exception) -> LoadError:
    said = str(error).strip().partition("\n")[0]
    if form != "parquet" and "utf" in said.lower():
        content = file.read_bytes()
        try:
            content.decode()
        except UnicodeDecodeError as where:
            line = content.count(b"\n", 0, where.start) + 1
            return LoadError(
                f"{file}: line {line} is not UTF-8. Save the file as UTF-8, for example with "
                "iconv -f WINDOWS-1252 -t UTF-8."
            )
    fix = {
        "csv": "Cells are parted by commas, and a quote inside a cell is written twice.",
        "jsonl": "Each line is one JSON object.",
        "parquet": "Is it another format, or cut short? Export it again.",
    }[form]
    return LoadError(f"{file} is not readable as {form}: {said} {fix}")


def _names(whole: pl.DataFrame, form: Format) -> list[str]:
    """The columns of a file, or the keys of its first lines."""
    if form != "jsonl":
        return [name for name in whole.columns if name != MORE]
    objects = [orjson.loads(line) for line in whole[LINE].head(LOOKED_AT) if _is_object(line)]
    return list(dict.fromkeys(name for one in objects for name in one))


def _renamed(
    content: pl.DataFrame,
    entity: Entity,
    file: Path,
    wanted: dict[str, str],
    mapping: Mapping,
    there: list[str],
) -> pl.DataFrame:
    """The columns that we know, under our names; ``there`` is what a message says there is."""
    given = entity == "interactions" and bool(mapping.thresholds or mapping.default_type)
    required = {column.name for column in COLUMNS[entity] if column.required}
    required |= set(mapping.columns(entity)) | {
        name for name in wanted if name.startswith("scale ")
    }
    if given:
        required -= {"type"} - set(mapping.columns(entity))
    for name, theirs in wanted.items():
        if theirs not in content.columns and name in required:
            taken = {other for other in wanted.values() if other != theirs}
            raise _missing(entity, file, name, theirs, there, taken)
    frame = content.select(
        *(
            pl.col(theirs).alias(ours)
            for ours, theirs in wanted.items()
            if theirs in content.columns
        ),
        *([PROBLEM] if PROBLEM in content.columns else []),
    )
    return typed_events(frame, mapping) if entity == "interactions" else frame


def _missing(
    entity: Entity, file: Path, name: str, theirs: str, there: list[str], taken: set[str]
) -> LoadError:
    """What to say of a missing column; those ``taken`` by others are no hint."""
    if len(there) == 1 and (mark := next((m for m in ";\t" if m in there[0]), None)):
        found = "semicolons" if mark == ";" else "tabs"
        return LoadError(
            f"{file}: no column {theirs!r}. Its header is parted by {found}: the delimiter must "
            "be a comma. Export it again, with commas."
        )
    plain = {_plain(column): column for column in there if column not in taken}
    near = difflib.get_close_matches(_plain(theirs), plain, n=1, cutoff=LIKE_ENOUGH)
    line = f"{entity}: {{{name}: {plain[near[0]] if near else 'YOUR COLUMN'}}}"
    if name.startswith("scale "):
        line = "thresholds: {YOUR COLUMN: …}"
    return LoadError(
        f"{file}: no column {theirs!r}. Columns there: {', '.join(there)}. "
        f"Say in the mapping file which one it is:  {line}"
    )


def _plain(name: str) -> str:
    """A name without what spellings differ in: itemId, Item ID and item_id are one."""
    return "".join(filter(str.isalnum, name)).lower()
