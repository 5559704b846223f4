"""``feedwright rejected``: rows that were refused, to be read, mended and taken in again."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feedwright.cli.shell import (
    async_database,
    console,
    database,
    examples,
    print_json,
    settings,
)
from feedwright.errors import FeedwrightError

if TYPE_CHECKING:
    from serving.ingest.replay import Replay

group = typer.Typer(rich_markup_mode="rich")

AT_ONCE = 1_000


@group.callback(
    invoke_without_command=True,
    epilog=examples("feedwright rejected --limit 100", "feedwright rejected --json"),
)
def rejected(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="Newest rows to show.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """List rows that were refused, with the reason; replay or fix them.

    fix and replay are for interactions: a user, item or owner is mended where it came from.
    """
    if context.invoked_subcommand is not None:
        return
    from rich.table import Table

    columns = ("id", "rejected_at", "entity", "source", "row_number", "reason", "raw")
    with database() as connection:
        rows = connection.execute(
            "SELECT id, rejected_at, entity, source, row_number, reason, left(raw, 500) "
            "FROM feed.interactions_rejected ORDER BY id DESC LIMIT %s",
            [limit],
        ).fetchall()
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
        return
    if not rows:
        console.print("No row was refused.")
        return
    table = Table("id", "when", "what", "source", "row", "reason", "the row")
    for id, at, entity, source, number, reason, raw in rows:
        where = "" if number is None else f"{number:,}"
        table.add_row(str(id), f"{at:%Y-%m-%d %H:%M}", entity, source, where, reason, raw[:80])
    console.print(table, markup=False)


@group.command(epilog=examples("feedwright rejected replay --reason occurred_at"))
def replay(
    id: Annotated[
        list[int] | None, typer.Option("--id", min=1, help="A refused row; may be repeated.")
    ] = None,
    all_of_them: Annotated[bool, typer.Option("--all", help="All interactions.")] = False,
    reason: Annotated[
        str, typer.Option(help="Those with this text in their reason.", metavar="TEXT")
    ] = "",
) -> None:
    """Take refused interactions in again, as they are: after a release that knows more."""
    if sum((bool(id), all_of_them, bool(reason))) != 1:
        raise FeedwrightError("Which rows is not clear.", "Give --id ID, --reason TEXT or --all.")
    if id:
        _tell(_replay(dict.fromkeys(id)))
        return
    _tell(_replay_all(reason))


@group.command(
    epilog=examples(
        "feedwright rejected fix 7 --set type=click",
        "feedwright rejected fix --from corrected.jsonl",
    )
)
def fix(
    id: Annotated[int | None, typer.Argument(min=1, help="The refused row.")] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="What the field should be: JSON, or else text; nothing takes the field away.",
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--from", help='JSON Lines of corrected events: {"id": 7, "event": {…}}.', exists=True
        ),
    ] = None,
) -> None:
    """Correct refused interactions and take them in."""
    if (id is None) == (file is None) or (id is not None and not changes):
        raise FeedwrightError(
            "What to correct is not clear.", "Give ID --set FIELD=VALUE, or --from FILE."
        )
    if file is not None:
        _tell(_replay(_read(file)))
        return
    assert id is not None
    corrected = _changed(id, changes or [])
    _tell(_replay({id: corrected}))


def _changed(id: int, changes: Sequence[str]) -> dict[str, Any]:
    """The event of a refused row with fields set."""
    import orjson

    with database() as connection:
        row = connection.execute(
            "SELECT raw FROM feed.interactions_rejected WHERE id = %s", [id]
        ).fetchone()
    if row is None:
        raise FeedwrightError(f"There is no refused row {id}.", "See: feedwright rejected.")
    try:
        event = orjson.loads(row[0])
    except orjson.JSONDecodeError:
        event = None
    if not isinstance(event, dict):
        raise FeedwrightError(
            f"What was kept of row {id} is not a JSON object.",
            "Write it anew in a file, and give it as --from FILE.",
        )
    for change in changes:
        name, equals, value = change.partition("=")
        if not name or not equals:
            raise FeedwrightError(f"--set {change} sets nothing.", "Write --set FIELD=VALUE.")
        if value == "":
            event.pop(name, None)
            continue
        try:
            event[name] = orjson.loads(value)
        except orjson.JSONDecodeError:
            event[name] = value
        if name.endswith("_id") and not isinstance(event[name], str):
            event[name] = value  # ids are text, also those of digits
    return event


def _read(file: Path) -> dict[int, Any]:
    """Id -> event of a file of corrections."""
    import orjson

    events: dict[int, Any] = {}
    for number, line in enumerate(file.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            entry = orjson.loads(line)
            events[int(entry["id"])] = entry["event"]
        except (ValueError, TypeError, KeyError) as error:
            raise FeedwrightError(
                f"{file}, line {number}: no correction.", 'Write {"id": 7, "event": {…}}.'
            ) from error
    return events


def _replay(corrected: dict[int, Any]) -> list[Replay]:
    """Take in rows by id; None: as it was kept."""
    from serving.ingest.replay import replay
    from storage.events import rejections

    async def work(connection: Any, clock: Any, types: Any) -> list[Replay]:
        ids = list(corrected)
        results: list[Replay] = []
        for start in range(0, len(ids), AT_ONCE):
            async with connection.transaction():
                rows = await rejections.lock(connection, ids[start : start + AT_ONCE])
                results += await replay(connection, rows, clock, types, corrected)
        missing = sorted(set(ids) - {result.id for result in results})
        if missing:
            listed = ", ".join(map(str, missing[:10]))
            console.print(f"No refused row has the id {listed}.", style="yellow")
        return results

    return asyncio.run(_connected(work))


def _replay_all(reason: str) -> list[Replay]:
    from serving.ingest.replay import replay
    from storage.events import rejections

    async def work(connection: Any, clock: Any, types: Any) -> list[Replay]:
        results: list[Replay] = []
        after = 0
        while True:
            async with connection.transaction():
                rows = await rejections.lock_next(connection, AT_ONCE, after, reason)
                if not rows:
                    return results
                results += await replay(connection, rows, clock, types)
            after = rows[-1].id

    return asyncio.run(_connected(work))


async def _connected(work: Any) -> list[Replay]:
    from datetime import UTC, datetime

    from models.profile.schema import load_profile
    from serving.ingest.checking import Clock
    from serving.ingest.service import RETENTION

    clock = Clock.at(datetime.now(UTC), RETENTION)
    types = load_profile(settings().profile).interaction_types
    async with async_database() as connection:
        results: list[Replay] = await work(connection, clock, types)
        return results


def _tell(results: Sequence[Replay]) -> None:
    counts = Counter(result.outcome for result in results)
    console.print(
        f"{counts['accepted']:,} taken in, {counts['duplicate']:,} there already, "
        f"{counts['rejected']:,} refused again."
    )
    for result in results[:1_000]:
        if result.outcome == "rejected":
            console.print(f"  {result.id}: {result.reason}", markup=False, highlight=False)
    if results and counts["rejected"] == len(results):
        raise FeedwrightError(
            "Not one of them could be taken in.",
            "Correct it: feedwright rejected fix ID --set FIELD=VALUE.",
        )
