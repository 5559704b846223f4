"""Dagster's pages on a Unix socket, which its own command cannot: the gateway stands before it."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path
from typing import Any

import uvicorn
from dagster import DagsterInstance
from dagster import __version__ as dagster_version
from dagster_webserver.app import create_app_from_workspace_process_context
from dagster_webserver.cli import (
    DEFAULT_DB_STATEMENT_TIMEOUT,
    DEFAULT_POOL_MAX_OVERFLOW,
    DEFAULT_POOL_RECYCLE,
)
from sqlalchemy.event import listens_for
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import Pool
from starlette.routing import Route

from feedwright.dagster.code_servers import CodeServers
from feedwright.dagster.internals import (
    ModuleTarget,
    WorkspaceFileTarget,
    WorkspaceLoadTarget,
    WorkspaceProcessContext,
    configure_loggers,
)
from gateway.consoles import DAGSTER_READY

GRACE_SECONDS = 2
"""Pages hold WebSockets open for ever: nobody waits for them to end."""


def main() -> None:
    arguments = _arguments()
    configure_loggers()
    with DagsterInstance.get() as instance:
        instance.optimize_for_webserver(
            DEFAULT_DB_STATEMENT_TIMEOUT, DEFAULT_POOL_RECYCLE, DEFAULT_POOL_MAX_OVERFLOW
        )
        with WorkspaceProcessContext(instance, _code(arguments), dagster_version) as context:
            code = CodeServers(context)
            app = create_app_from_workspace_process_context(context)
            app.router.routes.insert(0, Route(DAGSTER_READY, code.page))
            code.start()
            uvicorn.run(
                app,
                uds=str(arguments.socket),
                log_level="warning",
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
            code.stop()


@listens_for(Pool, "checkout")
def _is_open(connection: Any, *_: object) -> None:
    """Another connection is taken from the pool for one that Postgres closed, as at its restart."""
    try:
        with closing(connection.cursor()) as cursor:
            cursor.execute("SELECT 1")
    except connection.Error as error:
        raise DisconnectionError from error


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m feedwright.dagster.webserver")
    parser.add_argument("--socket", type=Path, required=True)
    code = parser.add_mutually_exclusive_group(required=True)
    code.add_argument("-w", "--workspace", type=Path)
    code.add_argument("-m", "--module-name")
    return parser.parse_args()


def _code(arguments: argparse.Namespace) -> WorkspaceLoadTarget:
    if arguments.workspace is not None:
        return WorkspaceFileTarget([str(arguments.workspace)])
    return ModuleTarget(
        arguments.module_name, attribute=None, working_directory=None, location_name=None
    )


if __name__ == "__main__":
    main()
