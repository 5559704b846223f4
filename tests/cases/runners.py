"""How the cases are run: each function returns a document that ``case.yaml`` is compared with."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from feedwright.cli.app import app
from storage.loading.load import load
from storage.loading.log import LoadError
from storage.loading.mapping import load_mapping
from storage.loading.readers import Format, read_log
from storage.loading.values.validation import validate
from storage.postgres.database import connect
from storage.settings import Settings
from tests.serving.conftest import running_worker
from tests.serving.fake_mlflow import FakeMlflow


def dry_run(
    folder: Path,
    request: pytest.FixtureRequest,
    *,
    mapping: str = "",
    form: Format = "auto",
    tables: dict[str, list[dict[str, Any]]] | None = None,
) -> dict[str, Any]:
    """What `load --dry-run --json` prints, its ``exit`` status, and ``rows``: the good ones.

    ``tables`` are written as Parquet first, since that is nothing to read in a folder of cases.
    """
    if tables:
        folder = request.getfixturevalue("tmp_path")
        for name, rows in tables.items():
            pl.DataFrame(rows).write_parquet(folder / f"{name}.parquet")
    said = str(folder / mapping) if mapping else ""
    options = ["--format", form, *(["--mapping", said] if said else [])]
    result = CliRunner().invoke(app, ["load", str(folder), "--dry-run", "--json", *options])
    document = {"exit": result.exit_code, **json.loads(result.stdout)}
    try:
        log = read_log(folder, form, load_mapping(said) if said else None)
    except LoadError:
        return document
    return document | {
        "rows": {str(entity): _rows(validate(log, entity).good) for entity in log.entities}
    }


def proposed(folder: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    """`map`, then what `load --dry-run` says with its ``proposal`` as it is."""
    mapping = request.getfixturevalue("tmp_path") / "mapping.yaml"
    result = CliRunner().invoke(app, ["map", str(folder), "--output", str(mapping)])
    if result.exit_code:
        return {"exit": result.exit_code, "error": result.stderr}
    text = mapping.read_text(encoding="utf-8")
    return {"proposal": text, **dry_run(folder, request, mapping=str(mapping))}


def _rows(good: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows without what is empty; times as text in UTC."""
    times = [name for name, kind in good.schema.items() if kind == pl.Datetime]
    rows = good.with_columns(pl.col(times).dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
    return [
        {name: cell for name, cell in row.items() if cell is not None and name != "row_number"}
        for row in rows.iter_rows(named=True)
    ]


def loaded(
    folder: Path, request: pytest.FixtureRequest, *, before: list[str] | None = None
) -> dict[str, Any]:
    """The ``counts`` of a load after these statements, and how many rows each of the
    ``partitions`` of the interactions has then."""
    database: str = request.getfixturevalue("database")
    with connect(database) as connection:
        for statement in before or []:
            connection.execute(statement)
        connection.commit()
        report = load(connection, read_log(folder, "auto"))
        rows = connection.execute(
            "SELECT relname, (SELECT count(*) FROM feed.interactions AS i WHERE i.tableoid = c.oid)"
            " FROM pg_class AS c JOIN pg_inherits ON inhrelid = c.oid"
            " WHERE inhparent = 'feed.interactions'::regclass"
        ).fetchall()
    counts = {str(entity): asdict(one) for entity, one in report.entities.items()}
    return {"counts": counts, "partitions": dict(rows)}


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
