"""Which version an alias names: asked of MLflow's REST API."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from models.versions.version import FEATURES_TAG, JUDGED_TAG, REFRESHED_TAG
from storage.registry import rest

SNAPSHOT_TAG = "snapshot_artifact"
TIMEOUT_SECONDS = 1.0
FOLDER_NAME = re.compile(r"\w[\w.-]*")


@dataclass(frozen=True)
class NamedVersion:
    """A model version, and the run's artifact folder that holds its snapshot.

    Attributes:
        refreshed: stamp of the tables that were kept up to date last; None: those of the training.
    """

    version: str
    run_id: str | None
    artifact: str | None
    features: str | None = None  # digest of what it was trained on
    judged_at: str | None = None
    refreshed: str | None = None


class Registry:
    """The registered model ``name`` of the MLflow server at ``address``. Used from any thread."""

    def __init__(self, address: str, name: str) -> None:
        self._name = name
        self._client = httpx.Client(base_url=address + rest.PATH, timeout=TIMEOUT_SECONDS)

    def version(self, alias: str) -> NamedVersion | None:
        """The version that the alias names now; None when there is no alias or no model.

        An alias a question: the one that tells all aliases at once reads every version that there
        ever was.

        Raises:
            RegistryAway: no answer within ``TIMEOUT_SECONDS``, or not MLflow's.
        """
        with rest.asking():
            version = rest.named_version(self._client, self._name, alias)
            return None if version is None else _named(version)

    def close(self) -> None:
        self._client.close()


def _named(model_version: dict) -> NamedVersion:
    version = str(model_version["version"])
    if not FOLDER_NAME.fullmatch(version):
        raise ValueError(f"odd version {version!r}")
    tags = rest.tags_of(model_version.get("tags"))
    refreshed = tags.get(REFRESHED_TAG)
    if refreshed is not None and not FOLDER_NAME.fullmatch(refreshed):
        raise ValueError(f"odd tag {REFRESHED_TAG}: {refreshed!r}")
    return NamedVersion(
        version,
        model_version.get("run_id") or None,
        tags.get(SNAPSHOT_TAG),
        tags.get(FEATURES_TAG),
        tags.get(JUDGED_TAG),
        refreshed,
    )


def read_pointer(file: Path) -> NamedVersion | None:
    """The version noted by ``write_pointer``; None when there is no whole note."""
    try:
        return NamedVersion(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_pointer(file: Path, version: NamedVersion | None) -> None:
    """Note the version for a start without MLflow; several workers may write at once."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if version is None:
        file.unlink(missing_ok=True)
        return
    draft = file.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(asdict(version)), encoding="utf-8")
    draft.replace(file)
