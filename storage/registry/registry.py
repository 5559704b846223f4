"""Model versions, in MLflow. The alias ``champion`` says which one is live."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import mlflow
from mlflow.entities.model_registry import ModelVersion as _ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient

from models.catalogue.snapshots.refreshed import FOLDER as REFRESHED
from models.catalogue.snapshots.refreshed import KEPT
from models.catalogue.snapshots.snapshot import MANIFEST
from models.versions.version import (
    CHALLENGER,
    CHAMPION,
    HISTORY_TAG,
    JUDGED_TAG,
    REFRESHED_TAG,
    SNAPSHOT_ARTIFACT,
    WITHDRAWN_TAG,
    ModelVersion,
    RegistryAway,
    RegistryError,
    UnknownVersion,
)

NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""What MLflow says of a version, and of an alias, that is not there."""


def _away(error: MlflowException) -> RegistryAway:
    return RegistryAway(f"MLflow does not answer: {error}")


@contextmanager
def _answering() -> Iterator[None]:
    """Turn what MLflow raises into ``RegistryAway``."""
    try:
        yield
    except MlflowException as error:
        raise _away(error) from error


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

    def experiment_id(self, suffix: str = "") -> str:
        """The experiment that training runs go to, made if it is missing; with a suffix, another
        one beside it."""
        name = self.model_name + suffix
        experiment = self.client.get_experiment_by_name(name)
        if experiment is not None:
            return experiment.experiment_id
        location = f"{self._artifacts}/{name}" if self._artifacts else None
        return self.client.create_experiment(name, artifact_location=location)

    def register(self, run_id: str, source: str, tags: Mapping[str, str]) -> ModelVersion:
        """Make a new version from a run's model. It has no alias: nothing can serve it yet."""
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
        return self.get(str(made.version))

    def add_snapshot(self, version: ModelVersion, folder: Path) -> None:
        """Keep the snapshot with the version, so that any worker can fetch it."""
        self.client.log_artifacts(version.run_id, str(folder), SNAPSHOT_ARTIFACT)
        self.client.set_model_version_tag(
            self.model_name, version.version, "snapshot_artifact", SNAPSHOT_ARTIFACT
        )

    def add_tables(self, version: ModelVersion, folder: Path) -> None:
        """Keep tables that were kept up to date with the version; workers that serve it follow.
        Older ones go, but for the newest of them.

        Args:
            folder: as ``models.catalogue.snapshots.refreshed`` writes it.
        """
        stamp = folder.name
        self.client.log_artifacts(version.run_id, str(folder), f"{REFRESHED}/{stamp}")
        self.client.set_model_version_tag(self.model_name, version.version, REFRESHED_TAG, stamp)
        there = self.client.list_artifacts(version.run_id, REFRESHED)
        stamps = sorted(PurePosixPath(one.path).name for one in there)
        store = get_artifact_repository(self.client.get_run(version.run_id).info.artifact_uri)
        for old in stamps[:-KEPT]:
            store.delete_artifacts(f"{REFRESHED}/{old}")

    def fetch_tables(self, version: ModelVersion, stamp: str, into: Path) -> Path:
        """Download the refreshed tables of that stamp below ``into``; returns their folder."""
        with _answering():
            found = mlflow.artifacts.download_artifacts(
                run_id=version.run_id, artifact_path=f"{REFRESHED}/{stamp}", dst_path=str(into)
            )
        return Path(found)

    def fetch_snapshot(self, version: ModelVersion, into: Path) -> Path:
        """Download the version's snapshot below ``into``; returns its folder.

        Raises:
            RegistryError: the version has none, or its files are gone.
        """
        self._require_files(version)
        return Path(
            mlflow.artifacts.download_artifacts(
                run_id=version.run_id, artifact_path=SNAPSHOT_ARTIFACT, dst_path=str(into)
            )
        )

    def has_files(self, version: ModelVersion) -> bool:
        """Whether the files of the version's snapshot are still there.

        Raises:
            RegistryAway: MLflow does not answer.
        """
        try:
            files = self.client.list_artifacts(version.run_id, SNAPSHOT_ARTIFACT)
        except MlflowException as error:
            if error.error_code in NOT_THERE:
                return False
            raise _away(error) from error
        return any(PurePosixPath(file.path).name == MANIFEST for file in files)

    def _require_files(self, version: ModelVersion) -> None:
        if not version.has_snapshot:
            raise RegistryError(
                f"version {version.version} has no snapshot, so nothing could serve it; "
                "materialise the asset `snapshot` or choose another version"
            )
        if not self.has_files(version):
            raise RegistryError(
                f"the files of version {version.version} are gone from MLflow, so nothing could "
                "serve it; bring them back, or choose another version (`feedwright models list`)"
            )

    def get(self, version: str) -> ModelVersion:
        """One version.

        Raises:
            UnknownVersion: there is no such version.
            RegistryAway: MLflow does not answer.
        """
        unknown = f"there is no model version {version!r}; `feedwright models list` shows all"
        if not version.isdecimal() or len(version) > 9:  # more than the database's integers hold
            raise UnknownVersion(unknown)
        try:
            stored = self.client.get_model_version(self.model_name, version)
        except MlflowException as error:
            if error.error_code in NOT_THERE:
                raise UnknownVersion(unknown) from error
            raise _away(error) from error
        return self._read(stored)

    def versions(self, most: int | None = None) -> list[ModelVersion]:
        """All versions, or so many of them, newest first. Each is asked for by itself."""
        # A search leaves aliases out.
        newest = sorted(self._numbers(), key=int, reverse=True)[:most]
        return [self.get(number) for number in newest]

    def metric_of_newest(self, metric: str, most: int) -> dict[str, float]:
        """A run's metric by version, of the newest versions, the oldest of them first; 0 where
        the run has none. Two questions, however many they are."""
        newest = self.client.search_model_versions(
            f"name = '{self.model_name}'", max_results=most, order_by=["version_number DESC"]
        )
        named = ", ".join(f"'{version.run_id}'" for version in newest)
        runs = self.client.search_runs(
            [self.experiment_id()], f"attributes.run_id IN ({named})", max_results=most
        )
        values = {run.info.run_id: run.data.metrics.get(metric, 0.0) for run in runs}
        return {str(each.version): values.get(each.run_id or "", 0.0) for each in reversed(newest)}

    def _numbers(self) -> set[str]:
        with _answering():
            versions = self.client.search_model_versions(f"name = '{self.model_name}'")
        return {str(version.version) for version in versions}

    def newest(self) -> ModelVersion | None:
        """The version registered last, live or not; None: there is none.

        Raises:
            RegistryAway: MLflow does not answer.
        """
        with _answering():
            newest = self.client.search_model_versions(
                f"name = '{self.model_name}'", max_results=1, order_by=["version_number DESC"]
            )
        return self.get(str(newest[0].version)) if newest else None

    def champion(self) -> ModelVersion | None:
        """The live version, or None."""
        return self._by_alias(CHAMPION)

    def challenger(self) -> ModelVersion | None:
        return self._by_alias(CHALLENGER)

    def servable(self, version: str) -> ModelVersion:
        """One version that a service could load.

        Raises:
            RegistryError: there is no such version, it has no snapshot to serve from, or the
                files of that are gone.
        """
        chosen = self.get(version)
        self._require_files(chosen)
        return chosen

    def activate(self, version: str) -> ModelVersion:
        """Make a version the champion. Twice is once.

        Raises:
            RegistryError: as ``servable``, or MLflow does not answer.
        """
        chosen = self.servable(version)
        with _answering():
            history = self.history()
            if not history or history[-1] != chosen.version:
                self._set_history([*history, chosen.version])
            self.client.delete_model_version_tag(self.model_name, chosen.version, WITHDRAWN_TAG)
            self._set_champion(chosen.version)
            self._free_challenger(chosen.version)
        return self.get(chosen.version)

    def put_on_trial(self, version: str) -> ModelVersion:
        """Make a version the challenger. Twice is once.

        Raises:
            RegistryError: as ``servable``, or MLflow does not answer.
        """
        chosen = self.servable(version)
        with _answering():
            self.client.set_registered_model_alias(self.model_name, CHALLENGER, chosen.version)
        return self.get(chosen.version)

    def judged_good(self, version: str) -> None:
        """Note that a version is good on the data of now: from here on its age counts."""
        now = datetime.now(UTC).isoformat()
        self.client.set_model_version_tag(self.model_name, version, JUDGED_TAG, now)

    def refuse(self, version: ModelVersion, reason: str) -> None:
        """Note why a version did not go live."""
        self.client.set_model_version_tag(self.model_name, version.version, "refused", reason)

    def earlier(self, live: str | None, passed_over: Collection[str] = ()) -> list[str]:
        """Champions before ``live`` that could be it again, oldest first.

        Versions that were deleted since are passed over, and the latest whose files are gone.
        """
        there = self._numbers() - set(passed_over)
        history = self.history()
        # What stands after the live version is of a change that broke off half way.
        while live in history and history[-1] != live:
            history.pop()
        could = [version for version in history if version in there and version != live]
        while could and not self.has_files(self.get(could[-1])):
            could.pop()
        return could

    def withdraw(
        self, version: str, reason: str, passed_over: Collection[str] = ()
    ) -> ModelVersion | None:
        """Take both aliases from a version, mark it, and return what is champion then.

        If it was champion, that is the one before it; with none before it there is none. Twice
        is once, and a try that broke off is finished by the next.

        Args:
            passed_over: versions that were withdrawn before.

        Raises:
            RegistryAway: MLflow does not answer.
        """
        with _answering():
            live, before = self.champion(), self.history()
            history = [earlier for earlier in before if earlier != version]
            if live is not None and live.version == version:
                history = self.earlier(version, passed_over)
                self._set_champion(history[-1] if history else None)
            if history != before:
                self._set_history(history)
            self._free_challenger(version)
            if version in self._numbers():
                tags = {WITHDRAWN_TAG: reason, "withdrawn_at": datetime.now(UTC).isoformat()}
                for name, text in tags.items():
                    self.client.set_model_version_tag(self.model_name, version, name, text)
        return self.champion()

    def _set_champion(self, version: str | None) -> None:
        if version is None:
            self.client.delete_registered_model_alias(self.model_name, CHAMPION)
        else:
            self.judged_good(version)
            self.client.set_registered_model_alias(self.model_name, CHAMPION, version)

    def _free_challenger(self, version: str) -> None:
        """Take the alias ``challenger`` from a version, if it has it."""
        challenger = self.challenger()
        if challenger is not None and challenger.version == version:
            self.client.delete_registered_model_alias(self.model_name, CHALLENGER)

    def history(self) -> list[str]:
        """Versions that were champion, oldest first; the last one is live. Without those that
        were withdrawn."""
        try:
            model = self.client.get_registered_model(self.model_name)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return []
            raise _away(error) from error
        return json.loads(model.tags.get(HISTORY_TAG, "[]"))

    def _set_history(self, versions: list[str]) -> None:
        self.client.set_registered_model_tag(self.model_name, HISTORY_TAG, json.dumps(versions))

    def _by_alias(self, alias: str) -> ModelVersion | None:
        try:
            return self._read(self.client.get_model_version_by_alias(self.model_name, alias))
        except MlflowException as error:
            if error.error_code in NOT_THERE:
                return None
            raise _away(error) from error

    def _read(self, version: _ModelVersion) -> ModelVersion:
        metrics = self._metrics(version.run_id) if version.run_id else {}
        return ModelVersion(
            version=str(version.version),
            run_id=version.run_id or "",
            trained_at=version.tags.get("trained_at"),
            metrics=dict(metrics),
            aliases=tuple(version.aliases),
            tags=dict(version.tags),
        )

    def _metrics(self, run_id: str) -> dict[str, float]:
        """A run's metrics; none when somebody deleted the run for good."""
        try:
            return self.client.get_run(run_id).data.metrics
        except MlflowException as error:
            if error.error_code in NOT_THERE:
                return {}
            raise _away(error) from error
