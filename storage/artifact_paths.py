"""MLflow keeps absolute paths of artifacts; those of a home that was moved are corrected here.

Without it a home that was moved finds none of its models, and a copy reads and writes those of
the original.
"""

from __future__ import annotations

import logging
from pathlib import Path

import psycopg

from storage.postgres.database import DatabaseError, connect
from storage.settings import Settings

log = logging.getLogger(__name__)

COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Tables and columns of MLflow's schema that hold them."""

_ROOTS = """
    SELECT DISTINCT left(artifact_location, -1 - length(name)) FROM mlflow.experiments
    WHERE artifact_location LIKE '/%%' AND right(artifact_location, 1 + length(name)) = '/' || name
      AND left(artifact_location, -1 - length(name)) <> %s
"""
"""Where artifacts of our experiments are, and should not be."""
_MOVE = """
    UPDATE mlflow.{table} SET {column} = %(new)s || substr({column}, 1 + length(%(old)s))
    WHERE starts_with({column}, %(old)s || '/')
"""


def follow_home(settings: Settings, url: str) -> None:
    """Have MLflow's tables in the database at ``url`` name the artifacts below the home of
    ``settings``, all or nothing.

    Raises:
        DatabaseError: the home's path is too long for them.
    """
    if settings.artifacts_url is not None or settings.mlflow_url is not None:
        return
    new = Path(settings.artifacts)
    with connect(url) as conn:
        if conn.execute("SELECT to_regclass('mlflow.model_versions')").fetchone() == (None,):
            return
        for (root,) in conn.execute(_ROOTS, [str(new)]).fetchall():
            if _is_ours(Path(root), new, settings):
                _move(conn, root, str(new))
                log.warning("MLflow's paths led to %s: they lead to %s now", root, new)


def _is_ours(old: Path, new: Path, settings: Settings) -> bool:
    """Whether ``old`` held the artifacts of this home when it was elsewhere, or was copied; not
    those of a FEEDWRIGHT_ARTIFACTS_URL that is no longer set, nor of another home on the same
    database."""
    if settings.database_url is not None:
        return new.exists() and not old.exists()
    was_home = (old.parent / settings.postgres_dir.name).exists()
    return new.exists() or was_home or not old.exists()


def _move(conn: psycopg.Connection, old: str, new: str) -> None:
    for table, column in COLUMNS:
        try:
            conn.execute(_MOVE.format(table=table, column=column), {"old": old, "new": new})
        except psycopg.errors.StringDataRightTruncation as error:
            raise DatabaseError(
                f"The path {new} is too long for MLflow's tables: move FEEDWRIGHT_HOME to a folder "
                "with a shorter one."
            ) from error
