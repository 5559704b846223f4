"""The calls about experiments and flags, on a real Postgres, MLflow faked."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance
from starlette.applications import Starlette
from starlette.testclient import TestClient

from models.profile.schema import load_profile
from serving import openapi
from serving.admin import experiments, flags
from serving.admin.registry import VersionList
from serving.http.problems import EXCEPTION_HANDLERS, Problem
from serving.routes import experiments as user_experiments
from storage.operations.experiments import TRAFFIC, Polled, traffic_of
from storage.postgres.database import connect
from storage.settings import Settings
from tests.serving.fake_registry import FakeRegistry

PATH = "/api/v1/admin/experiments"
FLAGS = "/api/v1/admin/flags"
DRAFT: dict[str, Any] = {
    "id": "may",
    "ramp": [{"share": 0.1, "hours": 1}, {"share": 1}],
    "arms": [{"name": "as-now"}, {"name": "new", "ranked_by": "challenger"}],
}


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    fake = FakeRegistry()
    fake.add("7", {})
    yield fake
    fake.close()


@pytest.fixture
def sql(database: str) -> Iterator[psycopg.Connection]:
    with connect(database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def app(settings: Settings, registry: FakeRegistry, sql: psycopg.Connection) -> Starlette:
    def polled() -> Polled:
        return traffic_of(sql.execute(TRAFFIC, {"environment": "default"}).fetchone() or ())

    state = SimpleNamespace(profile=load_profile("marketplace"))
    versions = VersionList(registry.url, "feedwright")
    return Starlette(
        routes=[
            *experiments.endpoints.routes(
                experiments.ExperimentCalls(settings, versions, lambda: state),  # type: ignore[arg-type, return-value]
            ),
            *user_experiments.endpoints.routes(user_experiments.UserExperimentCalls(polled)),
            *flags.endpoints.routes(flags.FlagCalls(settings)),
        ],
        exception_handlers=EXCEPTION_HANDLERS,
    )


@pytest.fixture
def client(app: Starlette) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def test_a_life_by_calls(client: TestClient, registry: FakeRegistry) -> None:
    def post(call: str, status: int = 200, **body: Any) -> dict[str, Any]:
        answer = client.post(f"{PATH}/may/{call}", json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    made = client.post(PATH, json=DRAFT)
    assert made.status_code == 201
    assert (made.json()["status"], made.json()["share"]) == ("draft", 0.1)
    assert client.post(PATH, json=DRAFT).status_code == 409
    patched = client.patch(f"{PATH}/may", json={"description": "of May"})
    assert (patched.status_code, patched.json()["description"]) == (200, "of May")

    assert "there is none" in post("start", 409)["detail"]
    registry.broken = True
    assert "MLflow" in post("start", 503)["detail"]
    registry.broken = False
    registry.aliases["challenger"] = "7"
    started = post("start")
    assert (started["status"], started["challenger_version"]) == ("running", "7")
    assert started["next_step"]["share"] == 1.0
    assert client.patch(f"{PATH}/may", json={"share": 1}).status_code == 409

    assert post("ramp", share=0)["share"] == 0
    assert client.get("/api/v1/experiments?user_id=u").json()["experiments"] == {}
    post("assign", user_id="u", arm="new")
    told = client.get("/api/v1/experiments?user_id=u").json()
    assert told["experiments"] == {"may": "new"}
    [definition] = told["definitions"]
    assert definition["arms"][0] == {"name": "as-now", "weight": 1.0}
    assert definition["salt"] == started["salt"]
    assert client.get("/api/v1/experiments").json()["experiments"] == {}
    detail = client.get(f"{PATH}/may").json()
    assert (detail["assigned"], detail["sample_ratio_p"]) == ({"u": "new"}, 1.0)
    assert detail["shown"]["new"] == {"users": 0, "impressions": 0, "fallbacks": 0}

    assert post("ramp")["share"] == 0.1
    assert post("pause", reason="sale")["held_because"] == "sale"
    assert post("resume")["status"] == "running"
    assert post("end", winner="new")["winner"] == "new"
    [listed] = client.get(PATH).json()["experiments"]
    assert listed["status"] == "ended"
    assert client.get(PATH, params={"status": "running"}).json()["experiments"] == []
    assert client.get(PATH, params={"status": "odd"}).status_code == 422


def test_flags(client: TestClient) -> None:
    put = client.put(f"{FLAGS}/new_cards", json={"enabled": True, "share": 1})
    assert (put.status_code, put.json()["environment"]) == (200, "default")
    client.put(f"{FLAGS}/ml_recommendations", json={"enabled": False})
    on = client.get("/api/v1/experiments?user_id=u").json()["flags"]
    assert on == {"engagement_ranking": True, "ml_recommendations": False, "new_cards": True,
                  "personalized_feed": True}  # fmt: skip
    names = [flag["name"] for flag in client.get(FLAGS).json()["flags"]]
    assert "new_cards" in names
    assert client.delete(f"{FLAGS}/new_cards?environment=staging").status_code == 404
    assert client.delete(f"{FLAGS}/new_cards").status_code == 204
    assert client.put(f"{FLAGS}/new_cards", json={"enabled": "yes"}).status_code == 422


@pytest.mark.parametrize("id", ["a\0b", "x" * 300, "nothing", "a/b", "ü", " "])
def test_odd_ids_are_refused(client: TestClient, id: str) -> None:
    path = quote(id, safe="")
    for answer in (
        client.get(f"{PATH}/{path}"),
        client.patch(f"{PATH}/{path}", json={}),
        client.post(f"{PATH}/{path}/start"),
        client.post(f"{PATH}/{path}/ramp", json={"share": 0.5}),
        client.delete(f"{FLAGS}/{path}"),
    ):
        assert answer.status_code in (404, 422), answer.text
        Problem.model_validate(answer.json())


def test_the_database_is_away(client: TestClient, settings: Settings) -> None:
    away = settings.model_copy(update={"database_url": "postgresql://nobody@127.0.0.1:9/none"})
    routes = flags.endpoints.routes(flags.FlagCalls(away))
    app = Starlette(routes=routes, exception_handlers=EXCEPTION_HANDLERS)
    with TestClient(app) as client:
        assert client.get(FLAGS).status_code == 503


def test_the_calls_keep_to_their_description(app: Starlette, sql: psycopg.Connection) -> None:
    groups = (experiments, user_experiments, flags)
    declared = [endpoint for group in groups for endpoint in group.endpoints]
    schema = schemathesis.openapi.from_dict(openapi.document(declared))
    schema.validate()
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    try:
        for result in schema.get_all_operations():
            assert isinstance(result, Ok)
            operation = result.ok()

            @hypothesis_settings(
                max_examples=5, database=None,
                suppress_health_check=list(HealthCheck),
            )  # fmt: skip
            @given(case=operation.as_strategy())
            def every_case(case: schemathesis.Case) -> None:
                # What goes together is more than a schema can say.
                case.call_and_validate(base_url=address, excluded_checks=[positive_data_acceptance])

            every_case()
    finally:
        server.should_exit = True
        thread.join()
