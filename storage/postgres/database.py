"""The one Postgres of an installation: its address, connections, and schema."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from storage.postgres.binaries import OLDEST_MAJOR
from storage.postgres.embedded import EmbeddedPostgres
from storage.settings import Settings, with_driver

SCHEMAS = ("feed", "dagster", "mlflow")
MIGRATION_LOCK = 0x66_65_65_64  # key of the advisory lock; "feed" in ASCII
CONNECT_SECONDS = 5

# What libpq or the server says, and what to do about it.
_FIXES = {
    "password authentication failed": "The user or the password is wrong.",
    "no password supplied": "The server wants a password: add it as postgresql://user:password@…",
    "no pg_hba.conf entry": "The server's pg_hba.conf does not let this user in from here.",
    "too many clients": "All connections are taken: raise max_connections, or stop a client.",
    "remaining connection slots": "All connections are taken: raise max_connections, "
    "or stop a client.",
    "could not translate host name": "No such host: check the spelling.",
    "failed to resolve host": "No such host: check the spelling.",
    "Connection refused": "Nothing listens there: is the server started, and the port right?",
    "No such file or directory": "No server has its socket there: is it started?",
    "timeout": "The server does not answer: check the host, the port and the firewall.",
    "does not exist": "Create it, or correct the name.",
}


class DatabaseError(RuntimeError):
    """The database cannot be used as it is; the message says how to mend it."""


def database_url(settings: Settings) -> str:
    """Address, for libpq, of the database of ``settings``.

    Without one in the settings that is the embedded server, which is started if it is down.

    Raises:
        EmbeddedPostgresError: the embedded server does not start.
    """
    if settings.database_url is not None:
        return with_driver(settings.database_url)
    return EmbeddedPostgres(settings.postgres_dir).start()


def connect(url: str, **options: Any) -> psycopg.Connection:
    """Open a connection; ``options`` go to ``psycopg.connect``.

    Raises:
        DatabaseError: not reachable, refused, or older than Postgres ``OLDEST_MAJOR``.
    """
    where = _where(url)
    try:
        connection = psycopg.connect(with_driver(url), **_defaults(url) | options)
    except psycopg.OperationalError as error:
        message = " ".join(str(error).split())
        fix = next((fix for part, fix in _FIXES.items() if part in message), "")
        raise DatabaseError(
            f"Cannot connect to the database {where}. {fix or 'Check FEEDWRIGHT_DATABASE_URL.'} "
            f"(Postgres says: {message})"
        ) from error
    if connection.info.server_version < OLDEST_MAJOR * 10_000:
        version = connection.info.parameter_status("server_version")
        connection.close()
        raise DatabaseError(
            f"The database {where} is Postgres {version}; Feedwright needs {OLDEST_MAJOR} "
            "or newer. Upgrade it, or name another in FEEDWRIGHT_DATABASE_URL."
        )
    return connection


def migrate(url: str) -> None:
    """Create the schemas that are missing and bring ``feed`` to this release's revision.

    All or nothing, in one transaction; an advisory lock keeps others waiting meanwhile.

    Raises:
        DatabaseError: as ``connect``; or the role may not create a schema; or the database
            was migrated by a newer release.
    """
    # Here, since Alembic takes a quarter of a second to import, and a worker never migrates.
    from sqlalchemy import NullPool, create_engine, text
    from sqlalchemy.exc import DBAPIError

    from storage import migrations

    with connect(url, autocommit=True) as connection:
        try:
            if _is_current(connection, url):
                return
        except psycopg.errors.InsufficientPrivilege as error:
            raise _no_right(error, url) from error
    engine = create_engine(
        with_driver(url, "psycopg"), poolclass=NullPool, connect_args=_defaults(url)
    )
    try:
        with engine.begin() as transaction:
            transaction.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
            present = transaction.scalars(text("SELECT nspname FROM pg_namespace")).all()
            # IF NOT EXISTS would ask for the right to create even when there is nothing to do
            for schema in SCHEMAS:
                if schema not in present:
                    transaction.execute(text(f"CREATE SCHEMA {schema}"))
            migrations.upgrade(transaction)
    except DBAPIError as error:
        if isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
            raise _no_right(error.orig, url) from error
        raise DatabaseError(f"The migration of {_where(url)} failed: {error.orig}") from error


def _no_right(error: psycopg.Error, url: str) -> DatabaseError:
    return DatabaseError(
        f"The role may not create the schemas {', '.join(SCHEMAS)} and their tables in "
        f"{_where(url)} ({error.diag.message_primary}). Grant it: "
        "GRANT CREATE ON DATABASE name TO role; or create the three schemas with that role as "
        "their owner."
    )


def _is_current(connection: psycopg.Connection, url: str) -> bool:
    from storage import migrations

    schemas = connection.execute(
        "SELECT count(*) FROM pg_namespace WHERE nspname = ANY(%s)", [list(SCHEMAS)]
    ).fetchone()
    table = connection.execute("SELECT to_regclass('feed.alembic_version')").fetchone()
    if schemas != (len(SCHEMAS),) or table == (None,):
        return False
    revisions = {r for (r,) in connection.execute("SELECT version_num FROM feed.alembic_version")}
    unknown = revisions - migrations.revisions()
    if unknown:
        raise DatabaseError(
            f"The database {_where(url)} has revision {', '.join(sorted(unknown))}, which this "
            f"release (up to {migrations.head()}) does not know: a newer Feedwright migrated it. "
            "Upgrade Feedwright; schemas do not go back."
        )
    return revisions == {migrations.head()}


def _defaults(url: str) -> dict[str, Any]:
    """Options of every connection, where the address itself does not set them."""
    # A run of the pipeline names its connections by PGAPPNAME, which goes first.
    wanted = {"fallback_application_name": "feedwright", "connect_timeout": CONNECT_SECONDS}
    named = _parts(url)
    return {name: value for name, value in wanted.items() if name not in named}


def _where(url: str) -> str:
    """Host and name for messages, without user and password."""
    parts = _parts(url)
    return f"{parts.get('dbname', '')!r} at {parts.get('host', 'localhost')!r}"


def _parts(url: str) -> dict[str, Any]:
    try:
        parts = conninfo_to_dict(with_driver(url))
    except psycopg.ProgrammingError:
        parts = {}
    # a bare @ in the password makes the rest of it look like the host
    if not parts or "@" in str(parts.get("host", "")).removeprefix("@"):
        raise DatabaseError(
            "FEEDWRIGHT_DATABASE_URL cannot be read: write postgresql://user:password@host/name, "
            "with special characters in the password percent-encoded (@ is %40)."
        )
    return parts
