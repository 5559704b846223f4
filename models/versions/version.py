"""A model version as the registry knows it. Light to import: knows no MLflow."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

CHAMPION = "champion"
CHALLENGER = "challenger"
HISTORY_TAG = "champion_history"
"""Tag of the registered model: the versions that were champion, oldest first, as JSON."""
WITHDRAWN_TAG = "withdrawn"
"""Tag of a version that nothing may put live again: why."""
FEATURES_TAG = "feature_digest"
"""Tag of a version: ``models.data.feature_set.FeatureSet.digest`` of what it was trained on."""
JUDGED_TAG = "judged_at"
"""Tag of a version: when it was last made champion, or kept as such beside a newcomer that had
learnt from newer data. RFC 3339."""
REFRESHED_TAG = "refreshed_tables"
"""Tag of a version: the stamp of its tables that were kept up to date last."""
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

    @property
    def refreshed(self) -> str | None:
        """Stamp of its tables that were kept up to date last; None: those of its training."""
        return self.tags.get(REFRESHED_TAG)

    @property
    def good_since(self) -> datetime | None:
        """What the age of a champion counts from, for serving and for the next training."""
        return good_since(self.trained_at, self.tags.get(JUDGED_TAG))


def good_since(trained_at: str | None, judged_at: str | None) -> datetime | None:
    """The later of a training and of the last judgement on newer data; both are RFC 3339."""
    times = [datetime.fromisoformat(text) for text in (trained_at, judged_at) if text]
    return max((time if time.tzinfo else time.replace(tzinfo=UTC) for time in times), default=None)


def metric_name(name: str) -> str:
    """MLflow refuses ``@`` in names: ``ndcg@10`` is ``ndcg_at_10`` there."""
    return name.replace("@", "_at_")
