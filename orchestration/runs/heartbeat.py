"""The signs of life that a run gives while it executes, and its end when it is asked to end.

A run whose process was killed, or whose machine is gone, cannot say so. So it renews its row in
``feed.run_heartbeats``, and one that is silent is dead (see ``orchestration/runs/silence.py``).

A run that is asked to end, by a signal or by ``launcher.py``, does so within ``END_SECONDS``,
whatever it waits for. Python looks at a signal only between two of its own instructions, and a
statement in Postgres may take hours: so another thread cancels it.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from types import TracebackType
from typing import Self

import dagster as dg
import psycopg

from orchestration.dagster_internals import (
    ExecutionPlan,
    InProcessExecutor,
    PlanOrchestrationContext,
    RetryMode,
    check_captured_interrupt,
)
from storage.operations import heartbeats
from storage.postgres.database import DatabaseError, connect, database_url
from storage.settings import get_settings

log = logging.getLogger(__name__)

END_SECONDS = 8.0
"""A run that was asked to end and has not by then is ended hard."""
LOOK_SECONDS = 0.5
"""Between two looks at a run that is ending."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)
DONE = 0
"""The byte that ends the thread which waits for signals; no signal has that number."""


class Heartbeat:
    """Beats while the body runs, which must be in the main thread of the run's process."""

    def __init__(self, instance: dg.DagsterInstance, run_id: str) -> None:
        self._instance, self._run_id = instance, run_id
        self._url = database_url(get_settings())
        self._main = threading.main_thread().ident or 0
        self._reading = threading.Lock()
        self._stopping = threading.Event()
        self._done = threading.Event()
        self._declared_dead = False
        self._threads = [
            threading.Thread(target=target, name=f"heartbeat {target.__name__}", daemon=True)
            for target in (self._beat, self._watch)
        ]
        if check_captured_interrupt():
            self._stopping.set()

    def __enter__(self) -> Self:
        # Connections of every driver carry the name, since all are of libpq; Dagster's own have
        # one in their address.
        os.environ["PGAPPNAME"] = heartbeats.application_name(self._run_id)
        self._conn = connect(self._url, autocommit=True)
        heartbeats.begin(self._conn, self._run_id, socket.gethostname(), os.getpid())
        self._reader, self._writer = os.pipe()
        for end in (self._reader, self._writer):
            os.set_blocking(end, False)
        # From here on each signal is a byte in the pipe, at once and whatever Python does.
        self._former = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        signal.set_wakeup_fd(self._former)
        stopping = self.asked_to_stop()
        self._done.set()
        os.write(self._writer, bytes([DONE]))
        for thread in self._threads:
            thread.join(heartbeats.BEAT_SECONDS)
        if stopping:  # a statement goes on in Postgres after psycopg was interrupted
            with connect(self._url, autocommit=True) as conn:
                heartbeats.cancel_statements(conn, self._run_id, heartbeats.now(conn))
        os.close(self._writer)
        os.close(self._reader)
        os.environ.pop("PGAPPNAME", None)
        run = self._instance.get_run_by_id(self._run_id)
        if stopping and run is not None and run.status is dg.DagsterRunStatus.STARTED:
            # Else Dagster takes an interrupted run for a failed one.
            self._instance.report_run_canceling(run, "The run was told to end.")

    def asked_to_stop(self) -> bool:
        """Whether a signal came."""
        with self._reading:
            if select.select([self._reader], [], [], 0)[0]:
                came = os.read(self._reader, 512)
                if any(number in came for number in SIGNALS):
                    self._stopping.set()
        return self._stopping.is_set()

    def _beat(self) -> None:
        """Renew the row until the body is done."""
        while not self._done.wait(heartbeats.BEAT_SECONDS):
            try:
                if self._conn.closed:
                    self._conn = connect(self._url, autocommit=True)
                order = heartbeats.beat(self._conn, self._run_id)
            except (DatabaseError, psycopg.Error) as problem:
                log.warning("no sign of life: %s", problem)
                continue
            if order != "go on" and not self._stopping.is_set():
                self._declared_dead = order == "over"
                signal.pthread_kill(self._main, signal.SIGINT)
        if not self._conn.closed:
            with self._conn as conn:
                heartbeats.end(conn, self._run_id)

    def _watch(self) -> None:
        """Wait for a signal, and then see to it that the body ends."""
        while not self.asked_to_stop():
            select.select([self._reader], [], [], None)
            if self._done.is_set():
                return
        # Postgres may hang too, so that nothing below it comes to its end.
        last = threading.Timer(END_SECONDS + 1, os._exit, (1,))
        last.daemon = True
        last.start()
        self._cancel_statements(time.monotonic() + END_SECONDS)
        if not self._done.is_set():
            self._end_hard()
        last.cancel()

    def _cancel_statements(self, deadline: float) -> None:
        """Cancel what the body waits for in Postgres; not what it asks as it cleans up."""
        try:
            with connect(self._url, autocommit=True) as conn:
                told_at = heartbeats.now(conn)
                while not self._done.is_set() and time.monotonic() < deadline:
                    heartbeats.cancel_statements(conn, self._run_id, told_at)
                    self._done.wait(LOOK_SECONDS)
        except (DatabaseError, psycopg.Error) as problem:
            log.warning("statements are not cancelled: %s", problem)
            self._done.wait(max(deadline - time.monotonic(), 0))

    def _end_hard(self) -> None:
        run = self._instance.get_run_by_id(self._run_id)
        if run is not None and not run.is_finished and not self._declared_dead:
            message = f"It was told to end and did not within {END_SECONDS:.0f} s."
            self._instance.report_run_canceled(run, message)
        with connect(self._url, autocommit=True) as conn:
            heartbeats.end(conn, self._run_id)
        os._exit(1)


class BeatingExecutor(InProcessExecutor):
    """Executes all steps in the process of the run, whose heart beats meanwhile."""

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        with (
            Heartbeat(plan_context.instance, plan_context.run_id) as heart,
            closing(super().execute(plan_context, execution_plan)) as events,  # type: ignore[type-var]
        ):
            for event in events:
                yield event
                # Dagster retries a step with a retry policy even when it was interrupted.
                if heart.asked_to_stop():
                    raise dg.DagsterExecutionInterruptedError


@dg.executor(name="in_process")
def beating_executor(context: dg.InitExecutorContext) -> BeatingExecutor:
    return BeatingExecutor(RetryMode.ENABLED)
