"""What the admin calls share: who did it and why, and work that takes its time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import psycopg
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from serving.access.caller import caller_of
from serving.access.middleware import AUDIT_DETAIL
from serving.http.inputs import parse, read_object
from serving.postgres.database import DatabaseAway, database_address
from storage.postgres.database import DatabaseError, connect
from storage.postgres.embedded import EmbeddedPostgresError
from storage.settings import Settings

log = logging.getLogger("feedwright.serving")
T = TypeVar("T")

ANSWER_SECONDS = 4.0
"""BentoML ends a request after 5 s. All that an answer waits for must fit."""
DATABASE_SECONDS = 3.0
"""Leaves time for a question to MLflow before."""

_THREADS = ThreadPoolExecutor(4, thread_name_prefix="admin")
"""Of their own: a server that hangs keeps its thread, and events need theirs for the spool."""

Reason = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\x00]*$")]


class Asked(BaseModel):
    """A body in which everything may be left out."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason = "by hand"


Body = TypeVar("Body", bound=Asked)


async def asked(shape: type[Body], request: Request) -> Body:
    """The body, if there is one; its reason is put into the audit log."""
    given = parse(shape, await read_object(request) if await request.body() else {})
    request.scope.get(AUDIT_DETAIL, {})["reason"] = given.reason
    return given


def actor_of(request: Request) -> str:
    """Who calls, for the audit log."""
    return caller_of(request).actor


async def with_connection(settings: Settings, work: Callable[[psycopg.Connection], T]) -> T:
    """What ``work`` gives in one transaction, in a thread.

    Raises:
        DatabaseAway: Postgres fails, or all of it takes longer than ``DATABASE_SECONDS``.
    """

    def call() -> T:
        try:
            with connect(database_address(settings), connect_timeout=2) as connection:
                connection.execute(
                    "SELECT set_config('statement_timeout', %s, false),"
                    " set_config('TimeZone', 'UTC', false)",
                    (f"{DATABASE_SECONDS * 1000:.0f}",),
                )
                return work(connection)
        except (DatabaseError, EmbeddedPostgresError, psycopg.OperationalError) as error:
            raise DatabaseAway(" ".join(str(error).split())) from error

    try:
        async with asyncio.timeout(DATABASE_SECONDS):
            return await asyncio.get_running_loop().run_in_executor(_THREADS, call)
    except TimeoutError as error:
        raise DatabaseAway(f"not done within {DATABASE_SECONDS:g} s") from error


@dataclass(frozen=True)
class Unfinished:
    """It takes longer than a request may, and goes on."""


async def in_time(work: Awaitable[T], running: set[asyncio.Future[Any]]) -> T | Unfinished:
    """What ``work`` gives, or ``Unfinished`` after ``ANSWER_SECONDS``; it then goes on.

    Args:
        running: keeps it alive meanwhile: the event loop itself does not.
    """
    task = asyncio.ensure_future(work)
    running.add(task)
    task.add_done_callback(running.discard)
    done, _ = await asyncio.wait({task}, timeout=ANSWER_SECONDS)
    if done:
        return task.result()
    task.add_done_callback(_log_failure)
    return Unfinished()


def _log_failure(task: asyncio.Future[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("an admin call failed after its answer", exc_info=error)
