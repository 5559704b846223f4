"""What only the first start does: load the sample, and see whether there is a model."""

from __future__ import annotations

import json

import psycopg
from rich.console import Console

from feedwright.environment import remember
from storage.settings import Settings

SAMPLE_PROFILE = "social"


def has_interactions(connection: psycopg.Connection) -> bool:
    row = connection.execute("SELECT EXISTS (SELECT FROM feed.interactions)").fetchone()
    return row == (True,)


def champion_version(connection: psycopg.Connection, settings: Settings) -> str | None:
    """Version of the live model. Our own MLflow tables are read directly, since importing
    MLflow takes seconds; a configured server is asked."""
    if settings.mlflow_url is not None:
        from storage.registry.registry import Registry

        champion = Registry(settings.mlflow_address, settings.model_name).champion()
        return champion.version if champion else None
    table = connection.execute("SELECT to_regclass('mlflow.registered_model_aliases')").fetchone()
    if table == (None,):
        return None
    row = connection.execute(
        "SELECT version FROM mlflow.registered_model_aliases "
        "WHERE name = %s AND alias = 'champion'",
        [settings.model_name],
    ).fetchone()
    return str(row[0]) if row else None


def is_outdated(settings: Settings, version: str) -> bool:
    """Whether this machine's copy of a model was written by a release that lays it out
    differently: the feed cannot serve it."""
    from models.catalogue.snapshots.snapshot import FORMAT, MANIFEST

    file = settings.snapshots / version / MANIFEST
    return file.is_file() and json.loads(file.read_text()).get("format") != FORMAT


def load_sample(connection: psycopg.Connection, settings: Settings, console: Console) -> Settings:
    """Load MovieLens 100K, and choose the profile that fits it unless one was chosen."""
    from feedwright.local.loading import load_into, sample_log, shifted

    log = shifted(sample_log())
    console.print(f"[dim]{log.notice}[/]", highlight=False, soft_wrap=True)
    load_into(connection, log, console)
    if "profile" in settings.model_fields_set:
        return settings
    console.print(
        f"Profile [bold]{SAMPLE_PROFILE}[/]: it fits films and ratings, which have no places and "
        "no prices. Remembered; FEEDWRIGHT_PROFILE=… chooses another.",
        highlight=False,
        soft_wrap=True,
    )
    return remember(settings, profile=SAMPLE_PROFILE)


def greet_with_first_keys(url: str, console: Console) -> None:
    """Make and show a key of each scope where there never was one.

    On a terminal alone: elsewhere what is shown ends in a log, so there it only says how.
    """
    from storage.operations.keys import has_keys, make_first_keys
    from storage.postgres.database import connect

    with connect(url, autocommit=True) as connection:
        if not console.is_terminal:
            if not has_keys(connection):
                console.print("No keys yet: feedwright keys make --scope read --name backend")
            return
        made = make_first_keys(connection)
    if not made:
        return
    console.print("Keys for other machines and browsers; this is the only time they are shown:")
    for scope, key in made.items():
        console.print(f"  {scope:<5}  {key}", highlight=False, markup=False, soft_wrap=True)
    console.print(
        "[dim]Programs on this machine need none. More: feedwright keys make.[/]", highlight=False
    )
