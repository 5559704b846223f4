"""A connection to Postgres that is safe to give up on, whatever the server does.

psycopg's own asks the server to cancel the statement and waits for it, which a server that hangs
never grants. Closing it from outside instead pulls the descriptor from under the event loop that
still polls it, and uvloop ends the process for that (SIGABRT). Here the wait itself closes the
connection, once the loop has let go of the descriptor: so a deadline is ``asyncio.timeout``
alone, and nothing else may close a connection while a call on it is awaited.
"""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

import psycopg
from psycopg import waiting
from psycopg.abc import PQGen

T = TypeVar("T")

ANSWER_SECONDS = 5.0
"""Longest wait for one answer of the server; whoever needs it sooner has a deadline of their own.
It holds for the rollback too that follows a missed deadline."""
INTERVAL_SECONDS = 0.1


class ServingConnection(psycopg.AsyncConnection[Any]):
    """Closed by any call on it that is cancelled, or not answered within ``ANSWER_SECONDS``
    (OperationalError). The server ends what it was doing by its ``statement_timeout``."""

    async def wait(
        self, gen: PQGen[T], interval: float = INTERVAL_SECONDS, timeout: float | None = None
    ) -> T:
        """See ``psycopg.AsyncConnection.wait``: every call on a connection passes through it."""
        try:
            async with asyncio.timeout(timeout or ANSWER_SECONDS):
                return await waiting.wait_async(gen, self.pgconn.socket, interval=interval)
        except asyncio.CancelledError:
            self.pgconn.finish()
            raise
        except TimeoutError as error:
            self.pgconn.finish()
            raise psycopg.OperationalError("Postgres gives no answer") from error
