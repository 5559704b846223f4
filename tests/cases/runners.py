"""How the cases are run: each function returns a document that ``case.yaml`` is compared with."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, cast

import pytest

from feedwright.loading import Form, detect
from storage.log import LoadError
from storage.mapping import load_mapping
from storage.readers import read_log
from storage.settings import Settings
from storage.validation import validate
from tests.serving.conftest import running_worker
from tests.serving.fake_mlflow import FakeMlflow


def dry_run(
    folder: Path, request: pytest.FixtureRequest, *, mapping: str = "", form: str = ""
) -> dict[str, Any]:
    """``rows``: good rows by entity, typed; ``refused``: reasons; ``error``: a sentence."""
    try:
        kind = cast(Form, form) if form else detect(folder)
        log = read_log(folder, kind, load_mapping(folder / mapping) if mapping else None)
    except LoadError as error:
        return {"error": str(error)}
    checked = {str(entity): validate(log, entity) for entity in log.frames()}
    return {
        "rows": {
            entity: [
                {name: _plain(cell) for name, cell in row.items()} for row in one.good.to_dicts()
            ]
            for entity, one in checked.items()
        },
        "refused": {entity: one.rejected["reason"].to_list() for entity, one in checked.items()},
    }


def calls(
    folder: Path, request: pytest.FixtureRequest, *, calls: list[dict[str, Any]], **given: Any
) -> dict[str, Any]:
    """Calls of the API, one after the other: ``status``, ``headers`` and ``body`` by their place.

    Args:
        given: settings of the service.
    """
    settings: Settings = request.getfixturevalue("settings")
    mlflow = FakeMlflow()
    settings = settings.model_copy(update={"mlflow_url": mlflow.url, **given})
    answers: dict[str, Any] = {}
    with running_worker(settings, mlflow, "1") as worker:
        for number, call in enumerate(calls, 1):
            sent = worker.client.build_request(**call)
            if call.get("headers", {}).get("Content-Type") == "":
                del sent.headers["Content-Type"]
            answer = worker.client.send(sent)
            is_json = answer.headers.get("content-type", "").endswith("json")
            answers[str(number)] = {
                "status": answer.status_code,
                "headers": dict(answer.headers),
                "body": answer.json() if is_json else answer.text,
            }
    mlflow.close()
    return answers


def _plain(cell: Any) -> Any:
    return cell.isoformat() if isinstance(cell, datetime) else cell
