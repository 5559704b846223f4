"""What all commands share: the application, its errors, the settings, the consoles."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from typer import Context, Typer, echo
from typer.core import TyperGroup

from feedwright.errors import FeedwrightError, explain, is_failure

if TYPE_CHECKING:
    import psycopg

    from storage.settings import Settings

console = Console()
errors = Console(stderr=True)


class Group(TyperGroup):
    """Turns exceptions into one line on stderr and exit status 1."""

    def invoke(self, ctx: Context) -> Any:  # type: ignore[override]
        try:
            return super().invoke(ctx)
        except BaseException as error:
            if not is_failure(error):
                raise  # usage errors and exits, which the library shows itself
            if is_debugging():
                errors.print_exception()
            problem = explain(error)
            errors.print("[bold red]error:[/]", end=" ", soft_wrap=True)
            errors.print(str(problem), markup=False, highlight=False, soft_wrap=True)
            ctx.exit(1)


def application(help_text: str) -> Typer:
    return Typer(
        cls=Group,
        help=help_text,
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def is_debugging() -> bool:
    return os.environ.get("FEEDWRIGHT_DEBUG", "").lower() not in ("", "0", "false", "no")


def settings() -> Settings:
    """The settings, with a profile that is known to be good.

    Raises:
        pydantic.ValidationError, ProfileError: a setting is wrong.
    """
    from storage.settings import get_settings

    return get_settings()


def choose_profile(name: str) -> None:
    """Check the profile and keep it for every later process of this installation.

    Raises:
        ProfileError: no such profile, or a field of it is wrong.
    """
    from feedwright.environment import remember
    from models.profile.schema import load_profile

    load_profile(name)
    file = Path(name)
    chosen = str(file.resolve()) if file.is_file() else name
    os.environ["FEEDWRIGHT_PROFILE"] = chosen  # goes before what .env says
    remember(settings(), profile=chosen)


@contextmanager
def database(*, autocommit: bool = True) -> Iterator[psycopg.Connection]:
    """A connection to the database, which is started for the command if it is down.

    Args:
        autocommit: else all is one transaction.
    """
    from feedwright.local.database import running_database
    from storage.postgres.database import connect

    with running_database(settings()) as url, connect(url, autocommit=autocommit) as connection:
        yield connection


@asynccontextmanager
async def async_database() -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """``database`` for asyncio; times are in UTC."""
    import psycopg

    from feedwright.local.database import running_database

    with running_database(settings()) as url:
        async with await psycopg.AsyncConnection[Any].connect(url, autocommit=True) as connection:
            await connection.execute("SET timezone TO 'UTC'")
            yield connection


def print_json(document: Any) -> None:
    import json

    echo(json.dumps(document, indent=2, default=str))


def examples(*lines: str) -> str:
    """Commands to paste, for the end of a help text."""
    return "\n\n".join(["[bold]Examples[/]", *(f"  [cyan]{line}[/]" for line in lines)])


def require_terminal_or_yes(yes: bool, question: str) -> bool:
    """Ask, or go by ``--yes`` where nobody can be asked.

    Raises:
        FeedwrightError: there is nobody to ask.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        raise FeedwrightError("Nobody is here to confirm.", "Add --yes.")
    from rich.prompt import Confirm

    return Confirm.ask(question, default=False, console=console)
