"""Logs by the words of the command line, and their loading with a progress bar."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast

import psycopg
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from feedwright.errors import FeedwrightError
from storage.columns import Entity
from storage.log import Log

Form = Literal["movielens", "csv", "jsonl", "parquet"]
Domain = Literal["marketplace", "social", "events"]


def detect(path: Path) -> Form:
    """The format of the file or folder at ``path``, told by names.

    Raises:
        FeedwrightError: no such path, or no name tells it.
    """
    from storage.readers import ENDINGS

    if not path.exists():
        raise FeedwrightError(f"{path}: no such file or folder.", "Check the path.")
    if path.is_dir():
        if (path / "movies.csv").exists() or any(path.glob("*.inter")):
            return "movielens"
        names = [file.name for file in path.glob("interactions.*")]
    else:
        names = [path.name]
    for form, endings in ENDINGS.items():
        if any(name.endswith(endings) for name in names):
            return cast(Form, form)
    raise FeedwrightError(
        f"{path}: no name in it tells the format.",
        "A folder holds interactions.csv, .jsonl or .parquet; or name one with --format.",
    )


def file_log(path: Path, form: Form, mapping: str | None) -> Log:
    """The log at ``path``.

    Raises:
        LoadError: it cannot be read as that, or the mapping is wrong.
    """
    from storage.mapping import load_mapping
    from storage.readers import read_log

    return read_log(path, form, load_mapping(mapping) if mapping else None)


def sample_log() -> Log:
    """MovieLens 100K, with its own times.

    Raises:
        LoadError: it is not installed.
    """
    from storage.readers import read_log
    from storage.samples.movielens import sample_path

    return read_log(sample_path(), "movielens")


def synthetic_log(size: str, domain: Domain = "marketplace") -> Log:
    """A made-up log of USERSxITEMSxINTERACTIONS, for the profile of that name."""
    from storage.samples import events, marketplace, social

    makers = {"marketplace": marketplace, "social": social, "events": events}
    try:
        users, items, interactions = (int(part.replace("_", "")) for part in size.split("x"))
        return makers[domain].generate(users, items, interactions)
    except ValueError as error:
        raise FeedwrightError(
            f"--synthetic {size}: not a size.",
            "Write users x items x interactions, each above 0: --synthetic 1000x2000x50000",
        ) from error


def shifted(log: Log) -> Log:
    """The log with its whole clock shifted so that its newest interaction is now."""
    from datetime import UTC, datetime

    from storage.log import shift_to

    return shift_to(log, datetime.now(UTC))


def load_into(connection: psycopg.Connection, log: Log, console: Console) -> list[Entity]:
    """Load ``log`` with a progress bar, and say what became of its rows.

    Returns:
        The entities that had rows of which none was kept.
    """
    from storage.loading import load

    if log.clock_shift:
        console.print(
            f"Its clock is shifted by {log.clock_shift.days:,} days, so that it ends now "
            "(--no-shift-clock leaves it).",
            highlight=False,
            soft_wrap=True,
        )
    columns = (TextColumn("  {task.description:<14}"), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn())  # fmt: skip
    with Progress(*columns, console=console) as bars:
        tasks = {
            str(name): bars.add_task(str(name), total=len(frame))
            for name, frame in log.frames().items()
        }

        def progress(entity: str, done: int, total: int) -> None:
            bars.update(tasks[entity], completed=done, total=total)

        report = load(connection, log, progress=progress)
    counted = {
        name: (one.read, one.inserted + one.implied, one.updated, one.duplicate, one.rejected)
        for name, one in report.entities.items()
    }
    reasons = {name: one.reasons for name, one in report.entities.items()}
    console.print(_table(counted))
    for name, one in report.entities.items():
        if one.implied:
            made = f"{one.implied:,} {name if one.implied > 1 else name.removesuffix('s')}"
            console.print(f"{made} made from interactions alone", highlight=False)
    _say_reasons(reasons, console, kept="Kept in feed.interactions_rejected: feedwright rejected")
    return report.lost


def warn_of_retention(connection: psycopg.Connection, profile: str, console: Console) -> None:
    """Say so when the retention will delete interactions that were just loaded."""
    from models.profile import load_profile

    days = load_profile(profile).privacy.retention_days
    row = connection.execute(
        "SELECT count(*) FROM feed.interactions"
        " WHERE occurred_at < now() - make_interval(days => %s)",
        (days,),
    ).fetchone()
    if row and row[0]:
        console.print(
            f"{row[0]:,} interactions are older than {days:,} days, and the next night's "
            "retention deletes them. To keep them: privacy.retention_days in the profile, or "
            "load with --shift-clock.",
            style="yellow",
            highlight=False,
            soft_wrap=True,
        )


def check_only(log: Log, console: Console) -> list[Entity]:
    """Check ``log`` and say what a load would do, with no database.

    Returns:
        The entities that have rows of which none would be kept.
    """
    from storage.validation import validate

    table = Table("", "rows", "good", "duplicate", "refused", title="Dry run: nothing is loaded")
    reasons: dict[str, dict[str, int]] = {}
    lost: list[Entity] = []
    for name, frame in log.frames().items():
        checked = validate(log, name)
        numbers = (len(frame), len(checked.good), checked.duplicates, len(checked.rejected))
        table.add_row(str(name), *(f"{number:,}" for number in numbers))
        kinds = checked.rejected["kind"].value_counts(sort=True)
        reasons[str(name)] = dict(kinds.iter_rows())
        if len(frame) and len(frame) == len(checked.rejected):
            lost.append(name)
    console.print(table)
    _say_reasons(reasons, console, kept="Without --dry-run these are kept with their reasons.")
    return lost


def _table(counted: dict[str, tuple[int, ...]] | dict) -> Table:
    table = Table("", "read", "new", "updated", "known already", "refused")
    for name, numbers in counted.items():
        table.add_row(str(name), *(f"{number:,}" for number in numbers))
    return table


def _say_reasons(reasons: dict[str, dict[str, int]] | dict, console: Console, *, kept: str) -> None:
    lines = [
        f"  {count:,} × {entity}: {reason}"
        for entity, counts in reasons.items()
        for reason, count in counts.items()
    ]
    if lines:
        console.print("\n".join(["[yellow]Refused[/]", *lines, f"  {kept}"]), highlight=False)
