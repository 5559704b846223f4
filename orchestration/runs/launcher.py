"""Dagster's run launcher with an ear for signs of life.

Dagster's monitoring asks it for each run that is on its way, and marks a dead one as failed; what
then becomes of it is up to Dagster's retries. Imported by webserver and daemon, so it is light.
"""

from __future__ import annotations

from functools import cached_property

import dagster as dg

from orchestration.dagster_internals import CheckRunHealthResult, WorkerStatus
from orchestration.runs.silence import GONE_SECONDS, Life, Watch, bury
from storage.operations import heartbeats
from storage.postgres.database import connect, database_url
from storage.settings import get_settings


class HeartbeatRunLauncher(dg.DefaultRunLauncher):
    """Named in dagster.yaml."""

    @cached_property
    def _watch(self) -> Watch:
        # Not hasty: what killed a run may have killed the code server, and until that is back
        # Dagster would give up its retry.
        return Watch(get_settings().run_silence_seconds)

    @cached_property
    def _url(self) -> str:
        return database_url(get_settings())

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        if self.life(run, self._watch) is not Life.DEAD:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        message = f"no sign of life for {get_settings().run_silence_seconds:g} s: its process died"
        return CheckRunHealthResult(WorkerStatus.FAILED, message)

    def life(self, run: dg.DagsterRun, watch: Watch) -> Life:
        """Whether a run that has started still lives; what a dead one holds is freed."""
        record = self._instance.get_run_record_by_id(run.run_id)
        started_at = record.start_time if record else None
        with connect(self._url, autocommit=True) as conn:
            life = watch.look(conn, run.run_id, started_at)
            if life is Life.DEAD:
                bury(conn, self._instance, run.run_id)
        return life

    def terminate(self, run_id: str) -> bool:
        """End a run within ten seconds, by whatever process and on whatever machine it executes.

        One that beats is asked and ends itself; one that does not is dead, or will hear of its
        end when it beats again. One that still starts is ended by Dagster's own way.
        """
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        if run.status is dg.DagsterRunStatus.STARTING:
            return super().terminate(run_id)
        self._instance.report_run_canceling(run)
        with connect(self._url, autocommit=True) as conn:
            if heartbeats.ask_to_stop(conn, run_id, within=GONE_SECONDS):
                return True
            bury(conn, self._instance, run_id)
        self._instance.report_run_canceled(run, "Its process died before it was told to end.")
        return True
