"""What no call may fail on: NUL in any text, numbers without end, in any field of every call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from serving import openapi
from storage.settings import Settings
from tests.conftest import TEMPLATE, url_of
from tests.serving.conftest import Worker, running_worker
from tests.serving.fake_mlflow import FakeMlflow

DIGITS = "9" * 5_000
DOCUMENT = openapi.document()
CALLS = [
    (method, path)
    for path, operations in DOCUMENT["paths"].items()
    for method in operations
    if method != "parameters" and path.startswith("/api/v1/")
]


@pytest.fixture(scope="module")
def worker(
    postgres_url: str, _server: psycopg.Connection, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worker]:
    _server.execute(f"CREATE DATABASE every_call TEMPLATE {TEMPLATE}")
    mlflow = FakeMlflow()
    settings = Settings(
        home=tmp_path_factory.mktemp("home"),
        database_url=url_of(postgres_url, "every_call"),
        mlflow_url=mlflow.url,
    )
    with running_worker(settings, mlflow, "1") as made:
        yield made
    mlflow.close()
    _server.execute("DROP DATABASE every_call WITH (FORCE)")


def filled(path: str, text: str) -> str:
    before, brace, after = path.partition("{")
    return before + text + filled(after.partition("}")[2], text) if brace else path


def spoiled(value: Any, text: str) -> Iterator[Any]:
    """``value`` with one of its texts made another, each in turn."""
    if isinstance(value, str):
        yield text
    elif isinstance(value, dict):
        for name, one in value.items():
            yield from ({**value, name: bad} for bad in spoiled(one, text))
    elif isinstance(value, list):
        for at, one in enumerate(value):
            yield from ([*value[:at], bad, *value[at + 1 :]] for bad in spoiled(one, text))


def bodies(operation: dict[str, Any], text: str) -> Iterator[Any]:
    """The example of an operation with a text spoiled, and with each field that it may have."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        yield None
        return
    example, schema = content["example"], content["schema"]
    named = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    yield from spoiled(example, text)
    for name in named.get("properties", {}):
        yield from ({**example, name: bad} for bad in (text, [text], {text: text}))


@pytest.mark.parametrize("text", ["a\0b", DIGITS], ids=["nul", "digits"])
@pytest.mark.parametrize(("method", "path"), CALLS)
def test_no_text_makes_a_call_fail(worker: Worker, method: str, path: str, text: str) -> None:
    operation = DOCUMENT["paths"][path][method]
    names = [one["name"] for one in operation.get("parameters", []) if one["in"] == "query"]
    queries = [{}, *({name: text} for name in names)]
    paths = [filled(path, "1"), filled(path, text.replace("\0", "%00"))]
    for body in bodies(operation, text):
        for address in dict.fromkeys(paths):
            for query in queries:
                answer = worker.client.request(
                    method, address, params=query, **({} if body is None else {"json": body})
                )
                # MLflow and Dagster are away
                assert answer.status_code < 500 or answer.status_code == 503, (address, body)
                if answer.status_code >= 400:
                    assert answer.json()["status"] == answer.status_code
                    assert len(answer.json()["detail"]) < 1_000, answer.text
