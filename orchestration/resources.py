"""What an asset reaches outside of itself, and where it leaves what the next one takes."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

import dagster as dg
import psycopg

from models.profile.schema import Profile, load_profile
from orchestration.runs.connections import hold_connections
from storage.events.lake import Lake
from storage.postgres.database import connect, database_url
from storage.settings import Settings, get_settings, mlflow_tracking_uri

if TYPE_CHECKING:
    from storage.registry.registry import Registry


class Platform(dg.ConfigurableResource):
    """Postgres, the lake, MLflow and the profile, as ``FEEDWRIGHT_…`` settings name them."""

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Before a run, and before what a sensor or schedule asks."""
        if context.instance is not None and context.run is not None:
            hold_connections(context.instance)

    @cached_property
    def settings(self) -> Settings:
        return get_settings()

    @cached_property
    def profile(self) -> Profile:
        return load_profile(self.settings.profile)

    @cached_property
    def url(self) -> str:
        """Database address for libpq."""
        return database_url(self.settings)

    @cached_property
    def lake(self) -> Lake:
        return Lake(self.settings.lake)

    @cached_property
    def registry(self) -> Registry:
        """Raises DatabaseError when MLflow's tables cannot be reached.

        Left to itself, MLflow tries for minutes, and a sensor that waits so long is cut off
        without a word of the cause.
        """
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
        if self.settings.mlflow_url is None:
            self.connect().close()
        from storage.registry.registry import Registry  # MLflow takes seconds to import

        return Registry(
            mlflow_tracking_uri(self.settings, self.url),
            self.settings.model_name,
            self.settings.artifacts,
        )

    def connect(self) -> psycopg.Connection:
        return connect(self.url)


class HandedOn(dg.ConfigurableIOManagerFactory):
    """What assets hand to each other: in memory within a run, and as pickled files of the
    installation for what runs later: a retry, a search, one asset made anew.

    The installation is known when a run begins, not when this code is imported.
    """

    def create_io_manager(self, context: dg.InitResourceContext) -> dg.IOManager:
        folder = str(get_settings().home / "pipeline")
        files = dg.FilesystemIOManager(base_dir=folder).create_io_manager(context)
        return InMemoryToo(files)


class InMemoryToo(dg.IOManager):
    """Values of this run are handed on as they are; others are read from ``files``."""

    def __init__(self, files: dg.IOManager) -> None:
        self._files = files
        self._values: dict[dg.AssetKey, Any] = {}

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        self._files.handle_output(context, obj)
        if context.has_asset_key and obj is not None:
            self._values[context.asset_key] = obj

    def load_input(self, context: dg.InputContext) -> Any:
        if context.has_asset_key and context.asset_key in self._values:
            return self._values[context.asset_key]
        return self._files.load_input(context)
