"""Logging as JSON lines on standard output, one object a line."""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime

import orjson
from starlette.requests import Request
from starlette.types import Scope

from serving.http.request_ids import request_id_of

request: ContextVar[Scope | None] = ContextVar("request", default=None)
"""The request that is being answered: its id is on every line that is logged meanwhile."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """time, level, logger, message, what was given as ``extra``, the request's id if there is a
    request, and the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
            **{key: value for key, value in vars(record).items() if key not in _STANDARD},
        }
        scope = request.get()
        if scope is not None:
            line["request_id"] = request_id_of(Request(scope))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


def handler() -> logging.Handler:
    to_output = logging.StreamHandler(sys.stdout)
    to_output.setFormatter(JsonLines())
    return to_output


def configure(level: str = "info") -> None:
    """Send what ``feedwright`` logs to standard output, from ``level`` on. Safe to call again."""
    logger = logging.getLogger("feedwright")
    logger.handlers = [handler()]
    logger.setLevel(level.upper())
    logger.propagate = False
