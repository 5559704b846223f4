"""Removing the state of an installation, and nothing else."""

from __future__ import annotations

import shutil

from rich.console import Console

from storage.postgres.embedded import EmbeddedPostgres
from storage.settings import Settings

FOLDERS = (
    "artifacts",
    "bentoml",
    "dagster",
    "data_docs",
    "downloads",
    "lake",
    "logs",
    "pipeline",
    "run",
    "serving",
    "snapshots",
)
FILES = ("settings.env", "supervisor.json", "supervisor.lock", "timings.json")


def remove_state(settings: Settings, console: Console) -> None:
    """Remove what Feedwright made below the home folder; what else lies there stays."""
    home = settings.home
    if not home.exists():
        console.print(f"Nothing to remove: there is no {home}.", highlight=False)
        return
    EmbeddedPostgres(settings.postgres_dir).remove()
    for name in FOLDERS:
        if (home / name).exists():
            shutil.rmtree(home / name)
    for name in FILES:
        (home / name).unlink(missing_ok=True)
    left = sorted(path.name for path in home.iterdir())
    if left:
        console.print(f"Kept in {home}, since it is not ours: {', '.join(left)}", highlight=False)
    else:
        home.rmdir()
    console.print("All state is removed.")
    elsewhere = {
        "FEEDWRIGHT_DATABASE_URL": settings.database_url,
        "FEEDWRIGHT_LAKE_URL": settings.lake_url,
        "FEEDWRIGHT_ARTIFACTS_URL": settings.artifacts_url,
    }
    named = [name for name, value in elsewhere.items() if value]
    if named:
        console.print(f"Left alone, since it is elsewhere: {', '.join(named)}", highlight=False)
