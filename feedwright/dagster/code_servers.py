"""The processes with the pipeline's code, watched for Dagster's pages: one that died is started
anew. Dagster does so only for those that somebody else starts, as in Compose."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from feedwright.dagster.internals import (
    CodeLocationEntry,
    DagsterUserCodeUnreachableError,
    GrpcServerCodeLocation,
    ManagedGrpcPythonEnvCodeLocationOrigin,
    WorkspaceProcessContext,
)

log = logging.getLogger("feedwright")

LOOK_SECONDS = 1.0
PATIENCE_SECONDS = 20
"""For an answer: on a busy machine one may take long. A server that is dead refuses at once."""
LONGEST_PAUSE = 60.0
"""Between two starts of code that does not load."""


@dataclass
class _Retry:
    at: float = 0.0
    pause: float = LOOK_SECONDS


class CodeServers:
    """Watches the code servers of a web server until ``stop``."""

    def __init__(self, workspace: WorkspaceProcessContext) -> None:
        self._workspace = workspace
        self._away: tuple[str, ...] = ()
        self._retries: dict[str, _Retry] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="code servers", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def page(self, request: Request) -> Response:
        """The answer at ``DAGSTER_READY``."""
        return JSONResponse({"away": self._away}, 503 if self._away else 200)

    def _watch(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            try:
                self._look()
            except Exception:  # nobody would start this thread again
                log.exception("the code servers were not looked at")

    def _look(self) -> None:
        entries = self._workspace.get_current_workspace().code_location_entries
        away = {name: entry for name, entry in entries.items() if not _answers(entry)}
        self._away = tuple(away)
        self._retries = {name: of for name, of in self._retries.items() if name in away}
        for name, entry in away.items():
            if isinstance(entry.origin, ManagedGrpcPythonEnvCodeLocationOrigin):
                self._start(name)

    def _start(self, name: str) -> None:
        retry = self._retries.setdefault(name, _Retry())
        if time.monotonic() < retry.at:
            return
        log.warning("the code server of %s is gone: it starts again", name)
        self._workspace.reload_code_location(name)
        retry.at = time.monotonic() + retry.pause
        retry.pause = min(2 * retry.pause, LONGEST_PAUSE)


def _answers(entry: CodeLocationEntry) -> bool:
    location = entry.code_location
    if not isinstance(location, GrpcServerCodeLocation):
        return False  # its code did not load
    try:
        location.client.get_server_id(timeout=PATIENCE_SECONDS)
    except DagsterUserCodeUnreachableError:
        return False
    return True
