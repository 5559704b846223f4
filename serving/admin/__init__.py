"""What operators see and do: calls below ``/api/v1/admin``.

One module a group: its routes, and ``PATHS`` and ``SHAPES`` that describe them.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.routing import Route

from serving.admin import experiments, flags, metrics, models, records, status, train
from serving.admin.dagster import Dagster
from serving.admin.registry import VersionList
from serving.http.answers import Api
from serving.postgres.database import Database
from serving.versions.live_model import LiveModel
from storage.operations.experiments import Polled
from storage.settings import Settings

GROUPS = (status, metrics, models, train, records, experiments, flags)


def routes(
    settings: Settings, database: Database, live: LiveModel, polled: Callable[[], Polled]
) -> list[Route]:
    """All of it.

    Args:
        polled: what this worker knows of experiments and flags.
    """
    api = Api(database, lambda: None, lambda user_id, item_ids: [False] * len(item_ids))
    versions = VersionList(settings.mlflow_address, settings.model_name)
    dagster = Dagster(settings.dagster_address, settings.dagster_public_address)
    return [
        *status.routes(
            api, status.StatusCalls(settings, database, versions, dagster, lambda: live.state)
        ),
        *metrics.routes(api, metrics.MetricsCalls(settings, lambda: live.state)),
        *models.routes(api, models.ModelCalls(settings, database, versions)),
        *train.routes(api, train.TrainCalls(dagster)),
        *records.routes(api, records.RecordCalls(settings, database, lambda: live.state)),
        *experiments.routes(
            api,
            experiments.ExperimentCalls(settings, versions, lambda: live.state),
            experiments.UserCalls(polled),
        ),
        *flags.routes(api, flags.FlagCalls(settings)),
    ]
