"""Which version is champion: asked of MLflow's REST API.

Importing ``mlflow`` costs a worker 2.4 s and 139 MB, so it stays out.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

ALIAS = "champion"
SNAPSHOT_TAG = "snapshot_artifact"
NO_SUCH = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}
TIMEOUT_SECONDS = 1.0


class RegistryUnavailable(RuntimeError):
    """MLflow does not answer, or not as MLflow does."""


@dataclass(frozen=True)
class Champion:
    """A model version, and the run's artifact folder that holds its snapshot."""

    version: str
    run_id: str | None
    artifact: str | None


class Registry:
    """The registered model ``name`` of the MLflow server at ``address``."""

    def __init__(self, address: str, name: str) -> None:
        self._name = name
        self._client = httpx.Client(base_url=address, timeout=TIMEOUT_SECONDS)

    def champion(self) -> Champion | None:
        """The version that the alias names now; None when there is no alias or no model.

        Raises:
            RegistryUnavailable: no answer within ``TIMEOUT_SECONDS``, or not MLflow's.
        """
        try:
            response = self._client.get(
                "/api/2.0/mlflow/registered-models/alias",
                params={"name": self._name, "alias": ALIAS},
            )
            body = response.json()
            if response.is_success:
                return _champion(body["model_version"])
            if body.get("error_code") in NO_SUCH:
                return None
        except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RegistryUnavailable(f"MLflow: {error or type(error).__name__}") from error
        raise RegistryUnavailable(f"MLflow answers {response.status_code}: {body}")

    def close(self) -> None:
        self._client.close()


def _champion(model_version: dict) -> Champion:
    version = str(model_version["version"])
    if not re.fullmatch(r"\w[\w.-]*", version):  # it names a folder
        raise ValueError(f"odd version {version!r}")
    tags = {tag["key"]: tag["value"] for tag in model_version.get("tags") or []}
    return Champion(version, model_version.get("run_id") or None, tags.get(SNAPSHOT_TAG))


def read_pointer(file: Path) -> Champion | None:
    """The champion noted by ``write_pointer``; None when there is no whole note."""
    try:
        return Champion(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_pointer(file: Path, champion: Champion | None) -> None:
    """Note the champion for a start without MLflow; several workers may write at once."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if champion is None:
        file.unlink(missing_ok=True)
        return
    draft = file.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(asdict(champion)), encoding="utf-8")
    draft.replace(file)
