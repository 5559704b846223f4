"""Logs by the words of the command line, and their loading with a progress bar."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import psycopg
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from feedwright.errors import FeedwrightError
from feedwright.local import load_view
from models.profile.interaction_types import InteractionTypes
from storage.loading.log import Log
from storage.loading.values.columns import Entity

_SHIFT_IT = (
    " A log that is to end now is loaded with --shift-clock, into a database without its rows."
)

Form = Literal["auto", "movielens", "csv", "jsonl", "parquet"]
Domain = Literal["marketplace", "social", "events"]


def file_log(
    path: Path,
    form: Form,
    mapping: str | None,
    types: InteractionTypes,
    *,
    up_to_damage: bool = False,
) -> Log:
    """The log at ``path``, with interactions of these types.

    Raises:
        LoadError: it cannot be read as that, or the mapping is wrong.
    """
    from storage.loading.mapping import load_mapping
    from storage.loading.readers import read_log

    loaded = load_mapping(mapping, types) if mapping else None
    return read_log(path, form, loaded, types, up_to_damage=up_to_damage)


def proposed(folder: Path, types: InteractionTypes) -> tuple[str, Log]:
    """A mapping for the files of ``folder``, as YAML, and the log that it makes of them.

    Raises:
        LoadError: no file has users and items.
    """
    from storage.loading.mapping import read_mapping
    from storage.loading.proposal.proposal import propose
    from storage.loading.proposal.written import written
    from storage.loading.readers import read_log

    if not folder.exists():
        raise FeedwrightError(f"{folder}: no such file or folder.", "Check the path.")
    text = written(propose(folder, types))
    return text, read_log(folder, mapping=read_mapping(text, "the proposal", types), types=types)


def sample_log() -> Log:
    """MovieLens 100K, with its own times.

    Raises:
        LoadError: it is not installed.
    """
    from storage.loading.readers import read_log
    from storage.loading.samples.movielens import sample_path

    return read_log(sample_path(), "movielens")


def synthetic_log(size: str, domain: Domain = "marketplace") -> Log:
    """A made-up log of USERSxITEMSxINTERACTIONS, for the profile of that name."""
    from storage.loading.samples import events, marketplace, social

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

    from storage.loading.log import shift_to

    return shift_to(log, datetime.now(UTC))


def load_into(connection: psycopg.Connection, log: Log, console: Console) -> list[Entity]:
    """Load ``log`` with a progress bar, and say what became of its rows.

    Returns:
        The entities that had rows of which none was kept.
    """
    from storage.loading.load import load

    if log.ends_at is not None:
        console.print(
            f"Its clock is shifted by {log.clock_shift.days:,} days, so that it ends now "
            "(--no-shift-clock leaves it).",
            highlight=False,
            soft_wrap=True,
        )
    columns = (TextColumn("  {task.description:<14}"), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn())  # fmt: skip
    with Progress(*columns, console=console) as bars:
        tasks = {str(name): bars.add_task(str(name), total=None) for name in log.entities}

        def progress(entity: str, done: int, total: int) -> None:
            bars.update(tasks[entity], completed=done, total=total or None)

        report = load(connection, log, progress=progress)
    counted = {
        name: (
            counts.read,
            counts.inserted + counts.implied,
            counts.updated,
            counts.duplicate,
            counts.rejected,
        )
        for name, counts in report.entities.items()
    }
    console.print(load_view.table(counted))
    for name, counts in report.entities.items():
        if counts.implied:
            made = f"{counts.implied:,} {name if counts.implied > 1 else name.removesuffix('s')}"
            console.print(f"{made} made from interactions alone", highlight=False)
    load_view.say_findings(log, console)
    for name, counts in report.entities.items():
        reasons = log.summary.entities[name].reasons if name in log.summary.entities else {}
        for reason in counts.reasons.keys() - reasons.keys():  # those that the tables tell
            console.print(f"  {counts.reasons[reason]:,} × {name}: {reason}", highlight=False)
    if report.rejected:
        console.print("  Kept in feed.interactions_rejected: feedwright rejected", highlight=False)
    return report.lost


def warn_of_retention(
    connection: psycopg.Connection, log: Log, profile: str, console: Console
) -> None:
    """Say so when the retention will delete interactions that were just loaded."""
    from models.profile.schema import load_profile

    days = load_profile(profile).privacy.retention_days
    row = connection.execute(
        "SELECT count(*) FROM feed.interactions"
        " WHERE occurred_at < now() - make_interval(days => %s)",
        (days,),
    ).fetchone()
    if row and row[0]:
        hint = "" if log.ends_at else _SHIFT_IT
        console.print(
            f"{row[0]:,} interactions are older than {days:,} days, and the next night's "
            f"retention deletes them. To keep them: privacy.retention_days in the profile.{hint}",
            style="yellow",
            highlight=False,
            soft_wrap=True,
        )
