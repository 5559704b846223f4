"""Commands about keys of the API and user tokens; the first keys of an installation."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from feedwright.cli.shell import application, console, database, errors, examples, print_json
from feedwright.errors import FeedwrightError

keys = application("Make, list and revoke keys of the feed's API, and user tokens.")


class KeyScope(StrEnum):
    """What a key opens."""

    track = "track"
    read = "read"
    admin = "admin"


def _limit(what: str, default: str) -> Any:
    """An option for a number; ``default`` is the setting that holds without it."""
    help = f"{what}; 0: no limit. Left out: as {default} says."
    return typer.Option(min=0, max=2**31 - 1, help=help)


@keys.command(
    epilog=examples(
        "feedwright keys make --scope read --name backend",
        "feedwright keys make --scope track --name website --needs-token",
        "feedwright keys make --scope track --name forwarder --limit 600000 --limit-per-user 0",
        "KEY=$(feedwright keys make --scope admin --name sync)",
    )
)
def make(
    scope: Annotated[
        KeyScope,
        typer.Option(help="track: send events. read: ask for feeds. admin: everything."),
    ],
    name: Annotated[str, typer.Option(help="Who uses it; it is what the audit log calls them.")],
    needs_token: Annotated[
        bool,
        typer.Option(
            "--needs-token", help="For browsers: without a user token it speaks for nobody."
        ),
    ] = False,
    limit: Annotated[
        int | None, _limit("Calls and events a minute of this key", "FEEDWRIGHT_RATE_LIMIT_PER_KEY")
    ] = None,
    limit_per_user: Annotated[
        int | None,
        _limit(
            "Events a minute of each user that come with this key, for a server that forwards them",
            "FEEDWRIGHT_RATE_LIMIT_PER_USER",
        ),
    ] = None,
) -> None:
    """Make a key. It is shown once, and kept nowhere."""
    from storage.operations.keys import make_key

    with database() as connection:
        try:
            key = make_key(
                connection,
                scope.value,
                name,
                needs_token=needs_token,
                limit_per_key=limit,
                limit_per_user=limit_per_user,
            )
        except ValueError as error:
            raise FeedwrightError(f"No key was made: {error}.") from error
    errors.print("This is the only time that the key is shown:", style="dim", highlight=False)
    typer.echo(key)


@keys.command("list", epilog=examples("feedwright keys list", "feedwright keys list --json"))
def list_keys(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """All keys that there ever were, oldest first."""
    from dataclasses import asdict

    from rich.table import Table

    from storage.operations.keys import list_keys as listed

    with database() as connection:
        rows = listed(connection)
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    if not rows:
        console.print("No key yet: [bold]feedwright keys make --scope read --name backend[/]")
        return
    table = Table("id", "scope", "name", "made", "last used", "state")
    for row in rows:
        used = f"{row.last_used_at:%Y-%m-%d %H:%M}" if row.last_used_at else "never"
        state = f"revoked {row.revoked_at:%Y-%m-%d}" if row.revoked_at else "good"
        if row.needs_token:
            state += ", needs a user token"
        for which, most in (("key", row.limit_per_key), ("user", row.limit_per_user)):
            if most is not None:
                state += f", {most:,} a minute and {which}" if most else f", no limit by {which}"
        made = f"{row.created_at:%Y-%m-%d}"
        table.add_row(row.key_id, row.scope, row.name, made, used, state)
    console.print(table, markup=False)


@keys.command(epilog=examples("feedwright keys revoke 3f9c01ab"))
def revoke(
    key_id: Annotated[str, typer.Argument(help="Its id, as in `feedwright keys list`.")],
) -> None:
    """End a key: in seconds it opens nothing any more, on any worker."""
    from storage.operations.keys import revoke_key

    with database() as connection:
        row = revoke_key(connection, key_id)
    if row is None:
        raise FeedwrightError(f"There is no key {key_id}.", "See `feedwright keys list`.")
    console.print(f"{row.scope} key {row.key_id} ({row.name}) is revoked.", markup=False)


@keys.command(
    epilog=examples(
        "feedwright keys token 405", "feedwright keys token 405 --hours 0.5 --scope track"
    )
)
def token(
    user_id: Annotated[str, typer.Argument(help="Id of the user.")],
    hours: Annotated[float, typer.Option(help="For how long, at most 24.")] = 1.0,
    scope: Annotated[
        list[str] | None,
        typer.Option(help="track, read or preferences, once for each; without it, all three."),
    ] = None,
) -> None:
    """Make a token that binds a browser to one user. Your server does this in production:
    POST /api/v1/admin/user-tokens."""
    from serving.access.caller import TOKEN_SCOPES
    from serving.access.tokens import make_token
    from storage.operations.keys import signing_secret

    with database() as connection:
        secret = signing_secret(connection)
    try:
        made, expires_at = make_token(secret, user_id, hours, scope or TOKEN_SCOPES)
    except ValueError as error:
        raise FeedwrightError(f"No token was made: {error}.") from error
    errors.print(f"Good until {expires_at:%Y-%m-%d %H:%M} UTC:", style="dim", highlight=False)
    typer.echo(made)


@keys.command(epilog=examples("feedwright keys rotate", "feedwright keys rotate --now"))
def rotate(
    now: Annotated[
        bool, typer.Option("--now", help="End all tokens that were made, too: a secret leaked.")
    ] = False,
) -> None:
    """Sign user tokens with a new secret. Tokens that were made stay good to their end."""
    from storage.operations.keys import rotate_secret

    with database() as connection:
        rotate_secret(connection, now=now)
    console.print(
        "A new secret signs; all tokens made before are void."
        if now
        else "A new secret signs; tokens made before stay good to their end."
    )
