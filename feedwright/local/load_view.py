"""What a load found and did, for people and as a JSON document."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from feedwright.errors import explain, is_failure

if TYPE_CHECKING:
    from models.profile.interaction_types import InteractionTypes
    from storage.loading.log import Log
    from storage.loading.readers import Format
    from storage.loading.values.columns import Entity

LONGEST = 980  # characters of a message
CELL = 40  # characters of a cell in the preview


def check(log: Log) -> list[Entity]:
    """Check all rows of ``log``; its summary then has the counts.

    Returns:
        The entities of which no row would be kept.
    """
    for entity in log.entities:
        _check(log, entity)
    return [entity for entity, summary in log.summary.entities.items() if not summary.good]


def _check(log: Log, entity: Entity) -> None:
    from storage.loading.values.validation import checked

    for _ in checked(log, entity):
        pass


def peek(log: Log) -> None:
    """Check the first rows of each file; the log's summary then has them."""
    from storage.loading.values.validation import checked

    for entity in log.entities:
        next(checked(log, entity), None)


def show_check(log: Log, console: Console) -> None:
    """Say what a load of a checked log would do."""
    counts = Table("", "rows", "good", "duplicate", "refused", title="Dry run: nothing is loaded")
    for entity, summary in log.summary.entities.items():
        numbers = (
            summary.good + summary.duplicates + summary.refused,
            summary.good,
            summary.duplicates,
            summary.refused,
        )
        counts.add_row(str(entity), *(f"{number:,}" for number in numbers))
    console.print(counts)
    show_preview(log, console)
    say_findings(log, console)
    if any(entity.refused for entity in log.summary.entities.values()):
        console.print("  Without --dry-run these are kept with their reasons.", highlight=False)


def show_preview(log: Log, console: Console) -> None:
    """The first rows of each file, as they would be loaded."""
    for entity, summary in log.summary.entities.items():
        if summary.preview is None or summary.preview.is_empty():
            continue
        form = ", ".join(_form(log.rows[entity].document()))
        title = f"{entity}, from {escape(log.source(entity))}{f' ({form})' if form else ''}"
        rows = summary.preview.drop("row_number")
        shown = Table(*rows.columns, title=title, title_justify="left")
        for row in rows.iter_rows():
            shown.add_row(*(escape(_cell(cell)) for cell in row))
        console.print(shown)


def say_findings(log: Log, console: Console) -> None:
    """Why rows were refused, and what was left out or looks wrong."""
    refused, warned = [], []
    for entity in log.summary.entities:
        refused += [
            f"  {counted['count']:,} × {entity}: {counted['reason']} "
            f"(line {counted['line']}: {counted['example']})"
            for counted in log.summary.reasons(entity)
        ]
        warned += [f"  {entity}: {line}" for line in log.summary.warnings(entity)]
    for title, lines in (("Told", warned), ("Refused", refused)):
        if lines:
            console.print(f"[yellow]{title}[/]")
            console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def table(counted: Mapping[Entity, tuple[int, ...]]) -> Table:
    """Rows read, new, updated, known and refused, by entity."""
    shown = Table("", "read", "new", "updated", "known already", "refused")
    for name, numbers in counted.items():
        shown.add_row(str(name), *(f"{number:,}" for number in numbers))
    return shown


def document(log: Log) -> dict[str, Any]:
    """The counts, forms, warnings and reasons of a checked log, by file."""
    return {
        "files": {
            str(entity): {
                "good": summary.good,
                "refused": summary.refused,
                "form": log.rows[entity].document(),
                "warnings": [*_notices(log, entity), *log.summary.warnings(entity)],
                "reasons": log.summary.reasons(entity),
            }
            for entity, summary in log.summary.entities.items()
        }
    }


def failed_document(
    path: Path | None,
    form: Format,
    mapping: str,
    types: Callable[[], InteractionTypes],
    error: BaseException,
) -> dict[str, Any]:
    """The same of a log that cannot be loaded as it is: what can be read, and why the rest not."""
    try:
        files = {} if path is None else _files_one_by_one(path, form, mapping, types())
    except Exception as second:  # which files there are is not known: the first error says so
        if not is_failure(second):
            raise
        files = {}
    return {"files": files, "error": _why(error)}


def _files_one_by_one(
    path: Path, form: Format, mapping: str, types: InteractionTypes
) -> dict[str, Any]:
    """By file its counts, or the reason why it has none."""
    from storage.loading.mapping import load_mapping
    from storage.loading.readers import readable

    loaded = load_mapping(mapping or "default", types)
    log, failed = readable(path, "auto" if form == "movielens" else form, loaded, types)
    for entity in log.entities:
        try:
            _check(log, entity)
        except BaseException as error:
            if not is_failure(error):
                raise
            failed[entity] = log.rows[entity].document(), error
    files: dict[str, Any] = document(log)["files"]
    for entity, (shape, why) in failed.items():
        files[entity] = {
            "good": 0,
            "refused": 0,
            "form": shape,
            "warnings": [],
            "reasons": [{"reason": _why(why), "count": 1, "example": "", "line": None}],
        }
    return files


def _why(error: BaseException) -> str:
    return str(explain(error))[:LONGEST]


def _notices(log: Log, entity: Entity) -> list[str]:
    own = f"{log.source(entity)}: "
    return [line[:LONGEST] for line in log.notice.splitlines() if line.startswith(own)]


def _form(form: dict[str, str | bool | None]) -> list[str]:
    names = {"\t": "tabs", ",": "commas", ";": "semicolons", " ": "spaces"}
    parts = [str(form["encoding"])] if form["encoding"] else []
    if delimiter := form["delimiter"]:
        parts.append(f"parted by {names.get(str(delimiter), delimiter)}")
    if form["header"] is False:
        parts.append("no header")
    return parts


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = value.strftime("%Y-%m-%d %H:%M:%S") if isinstance(value, datetime) else str(value)
    text = ", ".join(value) if isinstance(value, list) else text
    text = " ".join(text.split())
    return text if len(text) <= CELL else text[: CELL - 1] + "…"
