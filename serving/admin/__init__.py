"""What operators see and do: calls below ``/api/v1/admin``.

One module a group; each call is declared beside its handler.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.routing import Route

from gateway.dagster_client import DagsterClient
from serving.admin import experiments, flags, metrics, models, records, stages, status, train
from serving.admin.dagster import Dagster
from serving.admin.registry import VersionList
from serving.feed.engine import FeedEngine
from serving.postgres.database import Database
from serving.versions.live_model import LiveModel
from serving.versions.live_state import LiveState
from storage.settings import Settings

GROUPS = tuple(
    group.endpoints
    for group in (status, metrics, models, train, records, experiments, flags, stages)
)


def admin_routes(
    settings: Settings,
    database: Database,
    live: LiveModel,
    engine: Callable[[], FeedEngine],
    spool_age: Callable[[], float],
) -> list[Route]:
    """The routes of all groups; see ``StatusCalls`` for ``spool_age``, ``StagesCalls`` for
    ``engine``."""
    versions = VersionList(settings.mlflow_address, settings.model_name)
    dagster = Dagster(DagsterClient(settings.dagster_address), settings.dagster_public_address)

    def state() -> LiveState:
        return live.state

    return [
        *status.endpoints.routes(
            status.StatusCalls(settings, database, versions, dagster, state, spool_age)
        ),
        *metrics.endpoints.routes(metrics.MetricsCalls(settings, state)),
        *models.endpoints.routes(models.ModelCalls(settings, database, versions)),
        *train.endpoints.routes(train.TrainCalls(dagster)),
        *records.endpoints.routes(records.RecordCalls(settings, database, state)),
        *experiments.endpoints.routes(experiments.ExperimentCalls(settings, versions, state)),
        *flags.endpoints.routes(flags.FlagCalls(settings)),
        *stages.endpoints.routes(stages.StagesCalls(engine)),
    ]
