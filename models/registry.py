"""Model versions, in MLflow. The alias ``champion`` says which one is live."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import mlflow
from mlflow.entities.model_registry import ModelVersion as _ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from models.versions import (
    CHALLENGER,
    CHAMPION,
    HISTORY_TAG,
    SNAPSHOT_ARTIFACT,
    ModelVersion,
    RegistryError,
)

NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""What MLflow says of a version, and of an alias, that is not there."""


class Registry:
    """The registered model of one installation.

    Args:
        tracking_uri: MLflow's address: its server, or its database directly.
        model_name: name of the registered model.
        artifacts: where artifacts go when the tracking URI is a database; a server has
            its own place.
    """

    def __init__(self, tracking_uri: str, model_name: str, artifacts: str | None = None) -> None:
        self.model_name = model_name
        self._artifacts = artifacts if not tracking_uri.startswith("http") else None
        mlflow.set_tracking_uri(tracking_uri)
        mlflow.set_registry_uri(tracking_uri)
        self.client = MlflowClient(tracking_uri, registry_uri=tracking_uri)

    def experiment_id(self) -> str:
        """The experiment that training runs go to, made if it is missing."""
        experiment = self.client.get_experiment_by_name(self.model_name)
        if experiment is not None:
            return experiment.experiment_id
        location = f"{self._artifacts}/{self.model_name}" if self._artifacts else None
        return self.client.create_experiment(self.model_name, artifact_location=location)

    def register(self, run_id: str, source: str, tags: Mapping[str, str]) -> ModelVersion:
        """Make a new version from a run's model and give it the alias ``challenger``."""
        try:
            self.client.create_registered_model(
                self.model_name, description="Versions of the recommender behind the feed."
            )
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        made = self.client.create_model_version(
            self.model_name,
            source,
            run_id=run_id,
            tags=dict(tags),
            # A server refuses a source of the form models:/… without it.
            model_id=tags.get("model_id") or None,
        )
        self.client.set_registered_model_alias(self.model_name, CHALLENGER, made.version)
        return self.get(str(made.version))

    def add_snapshot(self, version: ModelVersion, folder: Path) -> None:
        """Keep the snapshot with the version, so that any worker can fetch it."""
        self.client.log_artifacts(version.run_id, str(folder), SNAPSHOT_ARTIFACT)
        self.client.set_model_version_tag(
            self.model_name, version.version, "snapshot_artifact", SNAPSHOT_ARTIFACT
        )

    def fetch_snapshot(self, version: ModelVersion, into: Path) -> Path:
        """Download the version's snapshot below ``into``; returns its folder.

        Raises:
            RegistryError: the version has none.
        """
        if not version.has_snapshot:
            raise RegistryError(f"version {version.version} has no snapshot")
        return Path(
            mlflow.artifacts.download_artifacts(
                run_id=version.run_id, artifact_path=SNAPSHOT_ARTIFACT, dst_path=str(into)
            )
        )

    def get(self, version: str) -> ModelVersion:
        """One version.

        Raises:
            RegistryError: there is no such version, or MLflow does not answer.
        """
        unknown = f"there is no model version {version!r}; `feedwright models list` shows all"
        if not version.isdecimal() or len(version) > 9:  # more than the database's integers hold
            raise RegistryError(unknown)
        try:
            found = self.client.get_model_version(self.model_name, version)
        except MlflowException as error:
            if error.error_code in NOT_THERE:
                raise RegistryError(unknown) from error
            raise RegistryError(f"MLflow does not answer: {error}") from error
        return self._read(found)

    def versions(self) -> list[ModelVersion]:
        """All versions, newest first."""
        # A search leaves aliases out.
        return [self.get(number) for number in sorted(self._numbers(), key=int, reverse=True)]

    def _numbers(self) -> set[str]:
        found = self.client.search_model_versions(f"name = '{self.model_name}'")
        return {str(version.version) for version in found}

    def champion(self) -> ModelVersion | None:
        """The live version, or None."""
        return self._by_alias(CHAMPION)

    def challenger(self) -> ModelVersion | None:
        return self._by_alias(CHALLENGER)

    def activate(self, version: str) -> ModelVersion:
        """Make a version the champion.

        Raises:
            RegistryError: there is no such version, or it has no snapshot to serve from.
        """
        chosen = self.get(version)
        if not chosen.has_snapshot:
            raise RegistryError(
                f"version {version} has no snapshot, so nothing could serve it; "
                "materialise the asset `snapshot` or choose another version"
            )
        history = self.history()
        if not history or history[-1] != chosen.version:
            self._set_history([*history, chosen.version])
        self.client.set_registered_model_alias(self.model_name, CHAMPION, chosen.version)
        challenger = self.challenger()
        if challenger is not None and challenger.version == chosen.version:
            self.client.delete_registered_model_alias(self.model_name, CHALLENGER)
        return self.get(chosen.version)

    def refuse(self, version: ModelVersion, reason: str) -> None:
        """Note why a version did not go live."""
        self.client.set_model_version_tag(self.model_name, version.version, "refused", reason)

    def rollback(self) -> ModelVersion:
        """Make the previous champion the champion again, and mark the one that goes.

        Versions that were deleted since are passed over.

        Raises:
            RegistryError: no version was champion before.
        """
        live, there = self.champion(), self._numbers()
        current = live.version if live else None
        earlier = [version for version in self.history() if version in there]
        # What stands after the live version is of a change that broke off half way.
        while current in earlier and earlier[-1] != current:
            earlier.pop()
        while earlier and earlier[-1] == current:
            earlier.pop()
        if not earlier:
            raise RegistryError("there is no earlier champion to roll back to")
        self.client.set_registered_model_alias(self.model_name, CHAMPION, earlier[-1])
        self._set_history(earlier)
        if current is not None:
            self.client.set_model_version_tag(
                self.model_name, current, "rolled_back_at", datetime.now(UTC).isoformat()
            )
        return self.get(earlier[-1])

    def history(self) -> list[str]:
        """Versions that were champion, oldest first; the last one is live."""
        try:
            model = self.client.get_registered_model(self.model_name)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return []
            raise
        return json.loads(model.tags.get(HISTORY_TAG, "[]"))

    def _set_history(self, versions: list[str]) -> None:
        self.client.set_registered_model_tag(self.model_name, HISTORY_TAG, json.dumps(versions))

    def _by_alias(self, alias: str) -> ModelVersion | None:
        try:
            return self._read(self.client.get_model_version_by_alias(self.model_name, alias))
        except MlflowException as error:
            if error.error_code in NOT_THERE:
                return None
            raise RegistryError(f"MLflow does not answer: {error}") from error

    def _read(self, found: _ModelVersion) -> ModelVersion:
        metrics = self.client.get_run(found.run_id).data.metrics if found.run_id else {}
        return ModelVersion(
            version=str(found.version),
            run_id=found.run_id or "",
            trained_at=found.tags.get("trained_at"),
            metrics=dict(metrics),
            aliases=tuple(found.aliases),
            tags=dict(found.tags),
        )
