"""MLflow's REST API, for those who must not import MLflow, which takes 2.4 s and 139 MB."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from models.versions.version import RegistryAway

PATH = "/api/2.0/mlflow/"
NO_SUCH = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}
"""What it says of a model, version or alias that is not there."""


@contextmanager
def asking() -> Iterator[None]:
    """Around questions and the reading of their answers.

    Raises:
        RegistryAway: MLflow does not answer, or not as MLflow does.
    """
    try:
        yield
    except TimeoutError as error:
        raise RegistryAway("MLflow: no answer in time") from error
    except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RegistryAway(f"MLflow: {error or type(error).__name__}") from error


def answer_of(response: httpx.Response) -> dict[str, Any] | None:
    """What it answered; None: there is no such thing.

    Raises:
        ValueError: anything else.
    """
    body = response.json()
    if response.is_success:
        return body
    if body.get("error_code") in NO_SUCH:
        return None
    raise ValueError(f"it answers {response.status_code}: {body}")


def tags_of(rows: Iterable[Mapping[str, str]] | None) -> dict[str, str]:
    """Tags as its answers have them, as a dict."""
    return {row["key"]: row["value"] for row in rows or ()}


def named_version(client: httpx.Client, model: str, alias: str) -> dict[str, Any] | None:
    """The version that the alias names, as MLflow has it; None: there is no alias, or no model.

    Args:
        client: of ``PATH`` on the server.
    """
    asked = {"name": model, "alias": alias}
    answer = answer_of(client.get("registered-models/alias", params=asked))
    return None if answer is None else answer["model_version"]


def metrics_of(run: Mapping[str, Any] | None) -> dict[str, float]:
    """The last of each metric in an answer of ``runs/get``; none of a run that is gone."""
    rows = run["run"]["data"].get("metrics") or [] if run else []
    return {row["key"]: float(row["value"]) for row in rows}
