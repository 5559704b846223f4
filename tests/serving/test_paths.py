"""An id is reachable by its encoded self in every call, whatever it looks like."""

from __future__ import annotations

import time
from collections.abc import Iterator
from urllib.parse import quote

import psycopg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.routing import Match, Route

from serving import openapi
from serving.access.rules import UNDECLARED, UNDECLARED_ADMIN, Rules
from serving.http.paths import as_meant, as_routed, path_of
from storage.settings import Settings
from tests.conftest import TEMPLATE, url_of
from tests.serving.conftest import Worker, running_worker
from tests.serving.fake_mlflow import FakeMlflow

IDS = [
    *("x/export", "export", "x%2Fexport", "%", "%25", "a/b/export/", "//", "features/pairs/u/i"),
    *("a b+c?d#e", "café/ü", "x:bulk", "x\n", "\n/export", "..;/x", "\\", "x/export/x/export"),
]
RULES = Rules(openapi.ENDPOINTS)
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@pytest.fixture(scope="module")
def worker(
    postgres_url: str, _server: psycopg.Connection, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worker]:
    _server.execute(f"CREATE DATABASE serving_paths TEMPLATE {TEMPLATE}")
    mlflow = FakeMlflow()
    settings = Settings(
        home=tmp_path_factory.mktemp("home"),
        database_url=url_of(postgres_url, "serving_paths"),
        mlflow_url=mlflow.url,
    )
    with running_worker(settings, mlflow, "1") as made:
        for id in ("x", "a/b", "a"):  # whom a wrong reading would find
            made.client.put(f"/api/v1/users/{quote(id, safe='')}", json={})
        yield made
    mlflow.close()
    _server.execute("DROP DATABASE serving_paths WITH (FORCE)")


@given(texts)
@example("%2F")
@example("%252F/%2f%")
def test_an_encoded_id_is_one_part_of_the_path_and_comes_back(id: str) -> None:
    all_escaped = "".join(f"%{byte:02x}" for byte in id.encode())
    for encoded in (quote(id, safe=""), all_escaped):
        routed = as_routed(f"/api/v1/users/{encoded}".encode())
        assert as_meant(routed.removeprefix("/api/v1/users/")) == id
        assert routed.count("/") == 4


@pytest.mark.parametrize("id", IDS)
@pytest.mark.parametrize("entity", ["users", "items", "owners"])
def test_every_call_of_the_catalogue_means_the_same(worker: Worker, entity: str, id: str) -> None:
    http, path = worker.client, f"/api/v1/{entity}/{quote(id, safe='')}"
    made = http.put(path, json={})
    assert (made.status_code, made.headers.get("location")) == (201, path), made.text
    assert path == path_of(entity, id)
    assert http.get(path).json()["id"] == id
    change = {"finished_jobs": 1} if entity == "owners" else {"city": "Oslo"}
    assert http.patch(path, json=change).json()["id"] == id
    if entity == "users":
        assert http.get(f"{path}/export").json()["user"]["id"] == id
        assert http.get(f"/api/v1/recommendations/{quote(id, safe='')}").json()["user_id"] == id
    assert http.delete(path).status_code == 204
    assert http.get(path).status_code == 404


@pytest.mark.parametrize("id", IDS)
def test_every_call_of_the_feed_means_the_same(worker: Worker, id: str) -> None:
    http, encoded = worker.client, quote(id, safe="")
    for entity in ("users", "items"):
        assert http.put(path_of(entity, id), json={"tags": ["art"]}).status_code == 201

    def answer(path: str) -> dict:
        deadline = time.monotonic() + 120  # the worker follows
        while (found := http.get(f"/api/v1/{path}")).status_code == 404:
            assert time.monotonic() < deadline, (path, found.text)
            time.sleep(0.02)
        assert found.status_code == 200, found.text
        return found.json()

    assert answer(f"features/users/{encoded}")["user_id"] == id
    assert answer(f"features/items/{encoded}")["item_id"] == id
    pair = answer(f"features/pairs/{encoded}/{encoded}")
    assert (pair["user_id"], pair["item_id"]) == (id, id)
    answer(f"feed/similar/{encoded}")
    sent = http.post(
        f"/api/v1/feed/interactions/{encoded}?user_id={encoded}", json={"type": "like"}
    )
    assert sent.json()["accepted"] == 1
    exported = http.get(f"/api/v1/users/{encoded}/export").json()["interactions"]
    assert [(one["user_id"], one["item_id"]) for one in exported] == [(id, id)]


@given(st.lists(st.sampled_from(
    ["users", "items", "x", "export", "%2F", "%2f", "features", "pairs", "api", "v1", "admin",
     "experiments", "start", "%25", "feed", "recommendations", ":bulk", "%3Abulk", "%0A", ""]
), max_size=8), st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"]))  # fmt: skip
def test_rules_and_routes_read_a_path_alike(worker: Worker, parts: list[str], method: str) -> None:
    path = as_routed(f"/api/v1/{'/'.join(parts)}".encode())
    rule, text = RULES.find(method, path)
    scope = {"type": "http", "method": method, "path": path, "root_path": ""}
    for route in worker.app.asgi.routes:
        assert isinstance(route, Route)
        match, child = route.matches(scope)
        if match is not Match.FULL:
            continue
        if route.path == "/{path:path}":
            break  # nothing is there, whatever it takes
        assert rule not in (UNDECLARED, UNDECLARED_ADMIN)
        ids = list(child["path_params"].values())
        if rule.user == "path":
            assert text == ids[0]
        assert rule.path.partition("{")[0] == route.path.partition("{")[0]
        break
