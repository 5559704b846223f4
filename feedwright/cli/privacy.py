"""Commands about what is stored of one user."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from feedwright.cli.shell import async_database, console, examples, require_terminal_or_yes
from feedwright.errors import FeedwrightError

commands = typer.Typer(rich_markup_mode="rich")

ROWS = 1_000


@commands.command(epilog=examples("feedwright export 196", "feedwright export 196 -o 196.json"))
def export(
    user: Annotated[str, typer.Argument(help="Id of the user.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write; default: the screen.")
    ] = None,
) -> None:
    """Write all that is stored of a user, as one JSON document."""
    import asyncio
    import json

    document = asyncio.run(_everything(user))
    if not any(document.values()):
        raise FeedwrightError(f"Nothing is stored of user {user!r}.", "Check the id.")
    text = json.dumps(document, indent=2, ensure_ascii=False)
    if output is None:
        typer.echo(text)
        return
    output.write_text(text, encoding="utf-8")
    output.chmod(0o600)
    rows = sum(len(rows) for rows in document.values())
    console.print(f"{rows} rows in [bold]{output}[/].", highlight=False)


@commands.command(epilog=examples("feedwright erase 196", "feedwright erase 196 --yes"))
def erase(
    user: Annotated[str, typer.Argument(help="Id of the user.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Erase all that is stored of a user: from the database now, from the lake with the next run.

    Workers forget the user within seconds; models and snapshots with the next training.
    """
    import asyncio

    if not require_terminal_or_yes(yes, f"Erase all that is stored of user {user!r}, for good?"):
        return
    outcome = (
        "Erased from the database."
        if asyncio.run(_erase(user))
        else "The database has nothing of this user."
    )
    console.print(f"{outcome} The next run of the pipeline looks for them in the lake.")


async def _erase(user: str) -> bool:
    from storage.privacy import people

    async with async_database() as connection, connection.transaction():
        return await people.erase(connection, user, actor="cli")


async def _everything(user: str) -> dict[str, list[dict[str, Any]]]:
    """The rows of each part of an export."""
    import json

    from storage.privacy import people

    document: dict[str, list[dict[str, Any]]] = {}
    async with async_database() as connection, connection.transaction():
        for part in people.PARTS:
            rows: list[str] = []
            after: list[str] | None = None
            while True:
                page = await people.page(connection, part, user, after, ROWS)
                rows += page.rows
                after = page.after
                if after is None:
                    break
            document[part] = [json.loads(row) for row in rows]
    return document
