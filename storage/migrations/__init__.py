"""The schema's history, forwards only: one file a step in ``versions/``.

To change the schema add a file with the next number; never edit one that was released.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from threading import Lock

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

_one_at_a_time = Lock()  # alembic keeps its context in globals


@cache
def _config() -> Config:
    config = Config()
    here = str(Path(__file__).parent).replace("%", "%%")
    config.set_main_option("script_location", here)
    return config


@cache
def revisions() -> frozenset[str]:
    """Every revision that this release knows."""
    return frozenset(script.revision for script in _scripts().walk_revisions())


@cache
def head() -> str:
    """The newest revision that this release knows."""
    newest = _scripts().get_current_head()
    assert newest is not None, "storage/migrations/versions is empty"
    return newest


def upgrade(connection: Connection) -> None:
    """Bring the schema to ``head()``, in the transaction that ``connection`` is in."""
    with _one_at_a_time:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())
