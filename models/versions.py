"""A model version as the registry knows it. Light to import: knows no MLflow."""

from __future__ import annotations

from dataclasses import dataclass

CHAMPION = "champion"
CHALLENGER = "challenger"
HISTORY_TAG = "champion_history"
"""Tag of the registered model: the versions that were champion, oldest first, as JSON."""
WITHDRAWN_TAG = "withdrawn"
"""Tag of a version that nothing may put live again: why."""
FEATURES_TAG = "feature_digest"
"""Tag of a version: ``models.feature_set.FeatureSet.digest`` of what it was trained on."""
SNAPSHOT_ARTIFACT = "snapshot"
"""Folder of a run's artifacts that holds the snapshot of its version."""


class RegistryError(RuntimeError):
    """The registry cannot do what was asked; the message says why and what to do."""


class UnknownVersion(RegistryError):
    """There is no such version."""


class RegistryAway(RegistryError):
    """MLflow does not answer."""


@dataclass(frozen=True)
class ModelVersion:
    """One registered version."""

    version: str
    run_id: str
    trained_at: str | None
    metrics: dict[str, float]
    aliases: tuple[str, ...]
    tags: dict[str, str]

    @property
    def has_snapshot(self) -> bool:
        return "snapshot_artifact" in self.tags


def metric_name(name: str) -> str:
    """MLflow refuses ``@`` in names: ``ndcg@10`` is ``ndcg_at_10`` there."""
    return name.replace("@", "_at_")
