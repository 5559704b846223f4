"""Which files of a folder hold what: by their names, or as the mapping says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

from storage.loading.log import LoadError
from storage.loading.mapping import Mapping
from storage.loading.reading.forms.others import what_else
from storage.loading.values.columns import ENTITIES, Entity

SHOWN = 20  # names that a message lists
SIGNS = 40  # of each of them
ENDINGS = {
    "csv": (".csv", ".tsv", ".txt", ".dat", ".data"),
    "jsonl": (".jsonl", ".ndjson", ".json"),
    "parquet": (".parquet", ".pq"),
    "arrow": (".arrow", ".feather", ".ipc"),
}
COMPRESSED = (".gz", ".zst", ".bz2", ".xz")
_PARTITION = re.compile(r"\w+=.+$")
_MARKS = ("_", ".")  # Spark's _SUCCESS and hidden files


def found(path: Path, mapping: Mapping, form: str = "auto") -> dict[Entity, list[Path]]:
    """The parts of the file of each entity; ``form`` (csv, jsonl, parquet) narrows the endings.

    A file is that of an entity when it is called so, in any case and with any ending. A folder
    of parts counts as a file. A path that is a file holds the interactions.

    Raises:
        LoadError: there are no interactions, or a file that the mapping names is not there.
    """
    if not path.exists():
        raise LoadError(f"{path}: no such file or folder.")
    if path.is_file() and not mapping.files:
        return {"interactions": [path]}
    folder = path if path.is_dir() else path.parent
    files: dict[Entity, list[Path]] = {}
    for entity in ENTITIES:
        if entity in mapping.files:
            declared = mapping.files[entity]
            if declared is not None:
                files[entity] = _named(folder, entity, declared.name, form)
        elif path.is_file() and entity == "interactions":
            files[entity] = [path]
        elif file := _called(folder, entity, form):
            files[entity] = file
    if "interactions" not in files and parts(path):
        files["interactions"] = parts(path)
    if "interactions" not in files:
        ending = ENDINGS.get(form, (".csv",))[0]
        there = listed(sorted(file.name for file in folder.iterdir())) or "nothing"
        raise LoadError(
            f"{path}: no interactions{ending} (there: {there}).{_others(folder)} Name the file so, "
            f"or let `feedwright map {path}` write a mapping that says which file is which."
        )
    return files


def _others(folder: Path) -> str:
    """What those files are of which no form is read, three of them at most."""
    others = []
    for file in data_files(folder)[:SHOWN]:
        with suppress(LoadError):
            if file.is_file() and (what := what_else(file)):
                others.append(f" {file.name[:60]} is {what}.")
    return "".join(others[:3])


def listed(names: list[str]) -> str:
    """The names in one line, twenty at most."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(name[:SIGNS] for name in names[:SHOWN]) + more


def stem(file: Path) -> str:
    """The name in lower case, without its endings."""
    name = file.name.lower()
    for ending in (*COMPRESSED, *(each for several in ENDINGS.values() for each in several)):
        name = name.removesuffix(ending)
    return name


def data_files(folder: Path) -> list[Path]:
    """All files and folders of parts in ``folder`` that may hold data."""
    return [file for file in _visible(folder) if file.is_file() or parts(file)]


def _named(folder: Path, entity: Entity, name: str, form: str) -> list[Path]:
    if not name:
        return _called(folder, entity, form) or _missing(folder, f"{entity}.*")
    file = folder / name
    if file.is_file():
        return [file]
    if file.is_dir():
        return parts(file) or _missing(folder, name)
    return sorted(file for file in folder.glob(name) if file.is_file()) or _missing(folder, name)


def _missing(folder: Path, name: str) -> list[Path]:
    there = listed([file.name for file in data_files(folder)]) or "nothing"
    raise LoadError(f"{folder}: no {name}, which the mapping names (there: {there}).")


def _called(folder: Path, entity: Entity, form: str) -> list[Path]:
    """The file or folder of parts that is called as the entity; CSV goes before the others."""
    file = next(_all_called(folder, entity, form), None)
    return [] if file is None else [file] if file.is_file() else parts(file)


def passed_over(folder: Path, entity: Entity, form: str = "auto") -> list[str]:
    """The files and folders that are called as the entity, but for the one that is read."""
    return list(dict.fromkeys(file.name for file in _all_called(folder, entity, form)))[1:]


def _all_called(folder: Path, entity: Entity, form: str) -> Iterator[Path]:
    for kind, endings in ENDINGS.items():
        if form not in ("auto", kind):
            continue
        for file in data_files(folder):
            if stem(file) == entity and _plain_name(file).endswith((*endings, f"/{entity}")):
                yield file


def _plain_name(file: Path) -> str:
    name = "/" + file.name.lower()
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    return name


def parts(folder: Path) -> list[Path]:
    """The parts of a file that was written as a folder, as Spark does, or as folders by the values
    of a column (``dt=2026-01-01``), as Hive does; none for other folders."""
    if not folder.is_dir():
        return []
    inner = _visible(folder)
    folders = [each for each in inner if each.is_dir()]
    if folders and all(_PARTITION.match(folder.name) for folder in folders):
        return [file for folder in folders for file in _leaves(folder)]
    files = [file for file in inner if file.is_file() and file.stat().st_size]
    is_written = (folder / "_SUCCESS").exists() or folder.suffix or stem(folder) in ENTITIES
    if is_written or (files and all(file.name.startswith("part-") for file in files)):
        return files if not folders else []
    return []


def partition(file: Path) -> dict[str, str | None]:
    """The columns that the folders of ``file`` tell: ``dt=2026-01-01/shop=7/part-0.csv``."""
    values: dict[str, str | None] = {}
    for folder in file.parents:
        if not _PARTITION.match(folder.name):
            break
        name, _, value = folder.name.partition("=")
        values[name] = None if value == "__HIVE_DEFAULT_PARTITION__" else unquote(value)
    return dict(reversed(values.items()))


def _visible(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.iterdir()) if not file.name.startswith(_MARKS)]


def _leaves(folder: Path) -> list[Path]:
    """The files in ``folder`` and in the partitions within it."""
    leaves: list[Path] = []
    for path in _visible(folder):
        if path.is_dir():
            leaves += _leaves(path) if _PARTITION.match(path.name) else []
        elif path.stat().st_size:
            leaves.append(path)
    return leaves
