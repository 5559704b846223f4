"""Opens the registry, which imports MLflow, once it is seen that its server answers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import httpx

from models.versions.version import RegistryAway
from storage.settings import Settings, mlflow_tracking_uri

if TYPE_CHECKING:
    from storage.registry.registry import Registry

PROBE_SECONDS = 2.0
"""How long MLflow may take to answer at all. Its own client would try for minutes."""


def open_registry(settings: Settings, url: str) -> Registry:
    """The registry of these settings; ``url`` is the database's.

    Raises:
        RegistryAway: the MLflow server does not answer.
    """
    if settings.mlflow_url is not None:
        try:
            if httpx.get(settings.mlflow_address, timeout=PROBE_SECONDS).is_server_error:
                raise RegistryAway(f"MLflow at {settings.mlflow_address} has an error of its own")
        except httpx.HTTPError as error:
            raise RegistryAway(
                f"MLflow at {settings.mlflow_address} does not answer: {error}"
            ) from error
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    from storage.registry.registry import Registry

    uri = mlflow_tracking_uri(settings, url)
    return Registry(uri, settings.model_name, settings.artifacts)
