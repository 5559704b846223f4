"""The calls that write and read the catalogue, users and what is kept for them."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args
from urllib.parse import quote

import httpx
import psycopg
import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from pydantic import BaseModel
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from serving import openapi
from serving.http.fields import ItemStatus
from serving.http.inputs import MAX_BODY_BYTES
from serving.http.paths import AsRouted
from serving.http.problems import EXCEPTION_HANDLERS, Problem
from serving.postgres import database as serving_database
from serving.postgres.database import Database
from serving.routes.catalogue import GROUPS, catalogue_routes
from serving.routes.catalogue.shapes import (
    BulkOutcome,
    FoundItems,
    FoundUsers,
    Item,
    ItemFields,
    Owner,
    OwnerFields,
    Preferences,
    Recommendations,
    User,
    UserExport,
    UserFields,
)
from storage.loading.values.columns import COLUMNS, STATUSES, Entity
from tests.conftest import TEMPLATE, url_of

ITEM: dict[str, Any] = {
    "owner_id": "ana",
    "title": "Chair",
    "text": 'Of "oak", 3\u202f€ \\ each\n',
    "tags": ["wood", "a,b", 'q"{}'],
    "category": "home",
    "city": "Cluj",
    "lat": 46.77,
    "lon": 23.59,
    "price_min": 0.1,
    "price_max": 1e15,
    "status": "draft",
    "capacity": 4,
    "created_at": "2026-01-02T03:04:05.678901+00:00",
    "publish_at": "2027-01-01T00:00:00+00:00",
    "starts_at": "2027-01-02T00:00:00+00:00",
    "attributes": {"size": {"w": 1.5, "h": [1, None]}, "new": True},
}


def application(url: str) -> tuple[Starlette, Database]:
    database = Database(lambda: url)
    app = Starlette(
        routes=catalogue_routes(database, written=lambda: None, may_show=may_show),
        middleware=[Middleware(AsRouted)],
        exception_handlers=EXCEPTION_HANDLERS,
    )
    return app, database


HIDDEN = "r1"
"""An item that no rule lets through."""


def may_show(user_id: str, item_ids: list[str]) -> list[bool]:
    return [item_id != HIDDEN for item_id in item_ids]


@contextmanager
def api_on(url: str) -> Iterator[TestClient]:
    app, _ = application(url)
    with TestClient(app, base_url="http://feed/api/v1", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def url(postgres_url: str, _server: psycopg.Connection) -> Iterator[str]:
    """A database that the tests of this file share; each uses ids of its own."""
    _server.execute(f"CREATE DATABASE catalogue_api TEMPLATE {TEMPLATE}")
    yield url_of(postgres_url, "catalogue_api")
    _server.execute("DROP DATABASE catalogue_api WITH (FORCE)")


@pytest.fixture(scope="module")
def api(url: str) -> Iterator[TestClient]:
    with api_on(url) as client:
        yield client


@pytest.fixture
def conn(url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def problem_of(answer: httpx.Response, status: int) -> Problem:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return Problem.model_validate_json(answer.content)


def fields(answer: httpx.Response) -> list[str]:
    return [error.field for error in problem_of(answer, 422).errors]


def test_an_item_is_made_read_replaced_and_deleted(api: TestClient) -> None:
    made = api.put("items/chair", json=ITEM)
    assert (made.status_code, made.headers["location"]) == (201, "/api/v1/items/chair")
    row = made.json()
    assert {name: row[name] for name in ITEM} == ITEM
    assert api.get("items/chair").json() == row

    again = api.put("items/chair", json={"title": "Stool", "updated_at": row["updated_at"]})
    assert again.status_code == 200
    replaced = again.json()
    assert replaced["updated_at"] > row["updated_at"]
    # not new because it was written again
    assert replaced["created_at"] == row["created_at"]
    assert (replaced["tags"], replaced["lat"], replaced["status"]) == ([], None, "published")

    assert api.delete("items/chair").status_code == 204
    assert problem_of(api.get("items/chair"), 404).detail == "There is no item 'chair'."
    problem_of(api.delete("items/chair"), 404)
    problem_of(api.patch("items/chair", json={"title": "x"}), 404)


def test_a_patch_changes_what_it_names(api: TestClient) -> None:
    row = api.put("items/lamp", json=ITEM).json()
    patched = api.patch(
        "items/lamp",
        json={"title": None, "tags": None, "price_max": 2, "attributes": {"size": {"w": None}}},
        headers={"Content-Type": "application/merge-patch+json"},
    )
    assert patched.status_code == 200
    expected = row | {
        "title": None,
        "tags": [],
        "price_max": 2,
        "attributes": {"size": {"h": [1, None]}, "new": True},
        "updated_at": patched.json()["updated_at"],
    }
    assert patched.json() == expected
    assert api.patch("items/lamp", json={}).json() == expected  # nothing to do
    # against what is stored
    assert fields(api.patch("items/lamp", json={"lat": None})) == ["lat"]
    assert fields(api.patch("items/lamp", json={"price_min": 3})) == ["price_min", "price_max"]
    assert api.get("items/lamp").json() == expected


def test_a_patch_can_mend_or_ignore_what_a_product_wrote_badly(
    api: TestClient, conn: psycopg.Connection
) -> None:
    conn.execute(
        "INSERT INTO feed.items (id, lat, price_min, price_max, status, starts_at, attributes)"
        " VALUES ('odd', 1, 'NaN', 5, 'gone', '20026-01-01Z', '[]')"
    )
    assert api.get("items/odd").status_code == 200
    assert api.patch("items/odd", json={"title": "x", "price_max": 4}).status_code == 200
    assert api.patch("items/odd", json={"lon": 2, "attributes": {"a": 1}}).json()["lon"] == 2


def test_versions_guard_reads_and_writes(api: TestClient) -> None:
    tag = api.put("items/vase", json={}).headers["etag"]
    assert not tag.startswith("W/")
    same = api.get("items/vase", headers={"If-None-Match": f'"x", W/{tag}'})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    for method in ("PUT", "PATCH", "DELETE"):
        for stale in ('"old"', f"W/{tag}"):
            answer = api.request(
                method, "items/vase", json={"city": "x"}, headers={"If-Match": stale}
            )
            problem_of(answer, 412)
    newer = api.patch("items/vase", json={"city": "x"}, headers={"If-Match": tag}).headers["etag"]
    assert newer != tag
    assert api.get("items/vase", headers={"If-None-Match": tag}).status_code == 200
    problem_of(api.put("items/vase", json={}, headers={"If-None-Match": "*"}), 412)
    problem_of(api.put("items/none", json={}, headers={"If-Match": "*"}), 412)
    assert api.put("items/none", json={}, headers={"If-None-Match": "*"}).status_code == 201
    assert api.delete("items/vase", headers={"If-Match": newer}).status_code == 204


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"lat": 91, "lon": 0}, ["lat"]),
        ({"lat": 1}, ["lon"]),
        ({"lat": "1", "lon": True}, ["lat", "lon"]),
        ({"price_min": 2, "price_max": 1}, ["price_min", "price_max"]),
        ({"price_min": -1}, ["price_min"]),
        ({"status": "gone"}, ["status"]),
        ({"capacity": -1}, ["capacity"]),
        ({"capacity": 2**31}, ["capacity"]),
        ({"capacity": 1.5}, ["capacity"]),
        ({"tags": ["a", ""]}, ["tags.1"]),
        ({"tags": ["a" * 101]}, ["tags.0"]),
        ({"tags": ["a"] * 33}, ["tags"]),
        ({"tags": "a"}, ["tags"]),
        ({"title": "a\0"}, ["title"]),
        ({"text": "é" * 40_000}, ["text"]),
        ({"attributes": []}, ["attributes"]),
        ({"attributes": {"a\0": 1}}, ["attributes"]),
        ({"attributes": {"a": "x" * 70_000}}, ["attributes"]),
        ({"created_at": "2026-01-01T00:00:00"}, ["created_at"]),
        ({"created_at": 5}, ["created_at"]),
        ({"created_at": "2999-01-01T00:00:00Z"}, ["created_at"]),
        ({"publish_at": "1969-12-31T23:59:59Z"}, ["publish_at"]),
        ({"publish_at": "9999-12-31T23:59:59-10:00"}, ["publish_at"]),
        ({"publish_at": "2026-02-30T00:00:00Z"}, ["publish_at"]),
        ({"owner_id": ""}, ["owner_id"]),
        ({"id": "other"}, ["id"]),
        ({"titel": "x"}, ["titel"]),
        ([], ["body"]),
    ],
    ids=lambda value: json.dumps(value)[:40],
)
def test_a_wrong_field_is_named(api: TestClient, body: Any, named: list[str]) -> None:
    assert fields(api.put("items/wrong", json=body)) == named
    problem_of(api.get("items/wrong"), 404)
    api.put("items/right", json={})
    assert fields(api.patch("items/right", json=body)) == named


def test_a_body_that_cannot_be_read_is_refused(api: TestClient) -> None:
    as_json = {"Content-Type": "application/json"}
    problem_of(api.put("items/x", content=b"{", headers=as_json), 400)
    problem_of(api.put("items/x", content=b"", headers=as_json), 400)
    problem_of(api.put("items/x", content=b"[" * 5_000, headers=as_json), 400)
    deep = b'{"attributes":' + b'{"a":' * 300 + b"1" + b"}" * 301
    problem_of(api.patch("items/x", content=deep, headers=as_json), 400)
    problem_of(api.put("items/x", content=b"{}", headers={"Content-Type": "text/plain"}), 415)
    problem_of(api.put("items/x", content=b"{}"), 415)
    zipped = as_json | {"Content-Encoding": "gzip"}
    problem_of(api.put("items/x", content=gzip.compress(b"{}"), headers=zipped), 415)
    big = b" " * (MAX_BODY_BYTES + 1)
    problem_of(api.put("items/x", content=big, headers=as_json), 413)
    problem_of(api.put("items/x", content=iter([big]), headers=as_json), 413)  # no length told


@pytest.mark.parametrize("id", ["a/b", "O'Brien\"; DROP", "🦊 ü", "%", "x:bulk", "a?b#c", "\n"])
def test_any_text_may_be_an_id(api: TestClient, id: str) -> None:
    path = f"users/{quote(id, safe='')}"
    assert api.put(path, json={}).json()["id"] == id
    assert api.get(path).json()["id"] == id
    assert api.get(f"{path}/export").json()["user"]["id"] == id
    assert api.delete(path).status_code == 204


@pytest.mark.parametrize("id", ["", "%00", "%C3%A9" * 128])
def test_what_can_be_no_id_is_named(api: TestClient, id: str) -> None:
    assert fields(api.get(f"owners/{id}")) == ["id"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-1e999", '"\\ud800"', '{"\\udc00": 1}'])
@pytest.mark.parametrize(
    ("method", "path", "content", "field"),
    [
        ("PUT", "items/n1", '{"lat": 7.25, "lon": 1}', "lat"),
        ("PATCH", "items/n0", '{"attributes": {"a": [null, 7.25]}}', "attributes.a.1"),
        ("PUT", "users/n1", '{"attributes": {"a": {"b": 7.25}}}', "attributes.a.b"),
        ("PATCH", "users/n0", '{"lat": 1, "lon": 7.25}', "lon"),
        ("PUT", "owners/n1", '{"average_rating": 7.25}', "average_rating"),
        ("PATCH", "feed/preferences?user_id=n0", '{"max_distance_km": 7.25}', "max_distance_km"),
    ],
)
def test_what_no_json_may_hold_is_named(
    api: TestClient, method: str, path: str, content: str, field: str, number: str
) -> None:
    for made in ("items/n0", "users/n0"):
        api.put(made, json={})
    body, headers = content.replace("7.25", number), {"Content-Type": "application/json"}
    (named,) = fields(api.request(method, path, content=body, headers=headers))
    assert named.removesuffix(".?") == field
    if method == "PUT":
        problem_of(api.get(path), 404)


def test_half_a_surrogate_pair_spoils_its_own_entry_alone(
    api: TestClient, conn: psycopg.Connection
) -> None:
    half = [
        {"id": "half \ud800"},
        {"id": "h1", "title": "\udc00"},
        {"id": "h2", "attributes": {"a": [{"\ud800": 1}]}},
        {"id": "h3", "\ud800": 1},
        {"id": "h4", "tags": ["a", "b\ud800"]},
    ]
    body = json.dumps({"items": [*half, {"id": "whole", "title": "é😀"}]})
    headers = {"Content-Type": "application/json"}
    told = api.post("/items:bulk", content=body, headers=headers).json()
    assert (told["created"], told["rejected"]) == (1, len(half)), told
    assert [[error["field"] for error in one["errors"]] for one in told["outcomes"]] == [
        ["items.0.id"], ["items.1.title"], ["items.2.attributes.a.0.?"], ["items.3.?"],
        ["items.4.tags.1"], [],
    ]  # fmt: skip
    assert told["outcomes"][0]["id"] == "half ?"
    assert api.get("items/whole").json()["title"] == "é😀"
    kept = conn.execute(
        "SELECT raw FROM feed.interactions_rejected WHERE reason LIKE '%surrogate%'"
    ).fetchall()
    assert [json.loads(raw) for (raw,) in kept] == half
    unknown = json.dumps({"items": half, "\ud800": 1})
    assert "?" in fields(api.post("/items:bulk", content=unknown, headers=headers))


def test_many_at_once_one_bad_entry_harms_no_other(
    api: TestClient, conn: psycopg.Connection
) -> None:
    api.put("items/b2", json={})
    answer = api.post(
        "/items:bulk",
        json={
            "items": [
                {"id": "b1", **ITEM},
                {"id": "b2", "title": "Two"},
                {"id": "b3", "lat": 91, "lon": 0, "no\0such": 1},
                {"id": "b1", "title": "again"},
                {"title": "no id"},
                "b4",
                {"id": "b5", "price_min": 2, "price_max": 1, "created_at": "2026-05-17T09:30:00Z"},
            ]
        },
    )
    assert answer.status_code == 200
    body = answer.json()
    told = [
        (one["id"], one["outcome"], [error["field"] for error in one["errors"]])
        for one in body["outcomes"]
    ]
    assert told == [
        ("b1", "created", []),
        ("b2", "updated", []),
        ("b3", "rejected", ["items.2.lat", "items.2.no\0such"]),
        ("b1", "rejected", ["items.3.id"]),
        (None, "rejected", ["items.4.id"]),
        (None, "rejected", ["items.5"]),
        ("b5", "rejected", ["items.6.price_min", "items.6.price_max"]),
    ]
    assert (body["created"], body["updated"], body["rejected"]) == (1, 1, 5)
    assert {name: api.get("items/b1").json()[name] for name in ITEM} == ITEM
    assert api.get("items/b2").json()["title"] == "Two"
    kept = conn.execute(
        "SELECT row_number, reason, raw FROM feed.interactions_rejected"
        " WHERE entity = 'items' AND source = 'api' AND reason NOT LIKE '%surrogate%'"
        " ORDER BY row_number"
    ).fetchall()
    assert [number for number, _, _ in kept] == [3, 4, 5, 6, 7]
    assert kept[0][1].startswith("lat: Input should be less than or equal to 90; no\\0such: ")
    assert json.loads(kept[4][2]) == {  # as it was sent
        "id": "b5", "price_min": 2, "price_max": 1, "created_at": "2026-05-17T09:30:00Z"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "users"),
        ({"users": []}, "users"),
        ({"users": {}}, "users"),
        ({"users": [{}] * 1001}, "users"),
        ({"users": [{"id": "1"}], "x": 1}, "x"),
    ],
    ids=["none", "empty", "object", "many", "unknown"],
)
def test_a_bulk_request_that_is_none_is_refused(api: TestClient, body: Any, named: str) -> None:
    assert fields(api.post("/users:bulk", json=body)) == [named]


def test_a_thousand_items_go_in_at_once(api: TestClient) -> None:
    items = [{"id": f"k{number}", **ITEM} for number in range(1_000)]
    assert api.post("/items:bulk", json={"items": items}).json()["created"] == 1_000
    again = api.post("/items:bulk", json={"items": items[::-1]})
    assert again.json()["updated"] == 1_000
    assert again.headers["content-encoding"] == "gzip"


def test_several_items_come_in_the_order_asked_for(api: TestClient) -> None:
    for id in ("m1", "m2", "m3"):
        api.put(f"items/{id}", json={})
    found = api.get("items", params={"ids": "m3,nope,m1,m3"}).json()
    assert [item["id"] for item in found["items"]] == ["m3", "m1"]
    assert found["missing"] == ["nope"]
    assert found["request_id"]
    assert fields(api.get("items")) == ["ids"]
    assert fields(api.get("items", params={"ids": ",".join(map(str, range(101)))})) == ["ids"]
    assert fields(api.get("items", params={"ids": "a,,b"})) == ["id"]


def test_users_are_paged_by_id(api: TestClient) -> None:
    ids = sorted(f"page {number}&é" for number in range(7))
    api.post("/users:bulk", json={"users": [{"id": id} for id in [*ids, "pagf", "pag"]]})
    path: str | None = "/api/v1/users?q=page&limit=3"
    pages = []
    while path is not None:
        answer = api.get(f"http://feed{path}").json()
        pages.append([user["id"] for user in answer["users"]])
        path = answer["next"]
    assert pages == [ids[:3], ids[3:6], ids[6:]]
    assert fields(api.get("users?limit=101")) == ["limit"]
    assert fields(api.get("users?limit=1&limit=2")) == ["limit"]


def test_owners_have_limits_too(api: TestClient) -> None:
    owner = {"average_rating": 5, "completion_rate": 0.5, "finished_jobs": 3.0}
    assert api.put("owners/ana", json=owner).json()["finished_jobs"] == 3
    assert fields(api.patch("owners/ana", json={"average_rating": 5.1})) == ["average_rating"]
    assert fields(api.patch("owners/ana", json={"attributes": {}})) == ["attributes"]


@pytest.mark.parametrize(
    ("entity", "shape"), [("items", ItemFields), ("users", UserFields), ("owners", OwnerFields)]
)
def test_limits_are_those_of_the_columns(entity: Entity, shape: Any) -> None:
    schema = shape.model_json_schema()["properties"]
    assert set(schema) == {column.name for column in COLUMNS[entity]} - {"id"} | {"updated_at"}
    for column in COLUMNS[entity]:
        if column.kind == "number":
            limits = schema[column.name]["anyOf"][0]
            assert (limits["minimum"], limits["maximum"]) == (column.low, column.high)
    assert get_args(ItemStatus) == STATUSES


def test_preferences_have_defaults_and_merge(api: TestClient) -> None:
    path = "feed/preferences?user_id=pref"
    problem_of(api.get(path), 404)
    problem_of(api.patch(path, json={}), 404)
    api.put("users/pref", json={})
    defaults: dict[str, Any] = {
        "user_id": "pref",
        "max_distance_km": None,
        "preferred_price_min": None,
        "preferred_price_max": None,
        "preferred_tags": [],
        "blocked_tags": [],
        "blocked_owners": [],
        "personalization_enabled": True,
        "updated_at": None,
    }
    assert api.get(path).json() == defaults
    wanted = {"max_distance_km": 5.0, "blocked_tags": ["x"], "personalization_enabled": False}
    patched = api.patch(path, json=wanted | {"preferred_price_min": 3})
    assert api.patch(path, json={"preferred_price_min": None}).status_code == 200
    stored = api.get(path)
    assert stored.json() == defaults | wanted | {"updated_at": stored.json()["updated_at"]}
    problem_of(api.patch(path, json={}, headers={"If-Match": patched.headers["etag"]}), 412)
    assert api.get(path, headers={"If-None-Match": stored.headers["etag"]}).status_code == 304

    both = fields(api.patch(path, json={"preferred_tags": ["y", "x"]}))
    assert both == ["preferred_tags", "blocked_tags"]
    assert fields(api.patch(path, json={"max_distance_km": 0})) == ["max_distance_km"]
    assert fields(api.patch(path, json={"blocked_owners": ["a"] * 201})) == ["blocked_owners"]
    api.patch(path, json={"preferred_price_max": 2})
    assert fields(api.patch(path, json={"preferred_price_min": 3})) == [
        "preferred_price_min",
        "preferred_price_max",
    ]
    assert fields(api.get("feed/preferences")) == ["user_id"]


def test_recommendations_are_the_ready_list(api: TestClient, conn: psycopg.Connection) -> None:
    problem_of(api.get("recommendations/rec"), 404)
    api.put("users/rec", json={})
    empty = api.get("recommendations/rec").json()
    assert (empty["items"], empty["model_version"], empty["generated_at"]) == ([], None, None)
    for number in range(4):
        conn.execute(
            "INSERT INTO feed.recommendations VALUES ('rec', %s, %s, 0.5, %s, '7', now())",
            (f"r{number}", number + 1, '{"code": "new", "parameters": {}, "text": "New"}'),
        )
    answer = api.get("recommendations/rec?limit=2").json()
    assert answer["model_version"] == "7"
    assert [(item["item_id"], item["rank"]) for item in answer["items"]] == [("r0", 1), ("r2", 2)]
    assert answer["items"][0]["reason"] == "New"
    assert answer["generated_at"].endswith("+00:00")


def test_an_export_has_everything_however_much_it_is(
    api: TestClient, conn: psycopg.Connection
) -> None:
    problem_of(api.get("users/exp/export"), 404)
    conn.execute(
        "INSERT INTO feed.interactions (event_id, user_id, item_id, type, occurred_at)"
        " SELECT gen_random_uuid(), 'exp', 'i' || n, 'view', '2026-01-01Z'::timestamptz"
        " + (n / 3) * interval '1 h' FROM generate_series(1, 2500) AS n"
    )
    whole = api.get("users/exp/export").json()
    assert whole["user"] is None
    assert {row["item_id"] for row in whole["interactions"]} == {f"i{n}" for n in range(1, 2501)}
    assert len(whole["interactions"]) == 2500
    assert whole["rejected"] == whole["implicit_interests"] == []


def test_only_what_was_written_is_told(url: str) -> None:
    told: list[str] = []
    database = Database(lambda: url)
    routes = catalogue_routes(database, written=lambda: told.append(method), may_show=may_show)
    app = Starlette(routes=routes)
    with TestClient(app, base_url="http://feed/api/v1") as api:
        for method, path, body in (
            ("PUT", "items/told", {}),
            ("GET", "items/told", None),
            ("PATCH", "items/told", {"city": "x"}),
            ("PATCH", "items/nothing", {"city": "x"}),
            ("POST", "/items:bulk", {"items": [{"id": "told"}]}),
            ("DELETE", "items/told", None),
            ("DELETE", "items/told", None),
        ):
            api.request(method, path, json=body)
    assert told == ["PUT", "PATCH", "POST", "DELETE"]


def test_without_postgres_it_says_so(api: TestClient) -> None:
    with api_on("postgresql://127.0.0.1:1/none") as away:
        for method, path, body in (
            ("GET", "items/a", None),
            ("GET", "users", None),
            ("GET", "users/a/export", None),
            ("PUT", "items/a", {}),
            ("POST", "/owners:bulk", {"owners": [{"id": "1"}]}),
            ("GET", "recommendations/a", None),
        ):
            answer = away.request(method, path, json=body)
            problem_of(answer, 503)
            assert answer.headers["retry-after"] == "2"


def test_connections_that_broke_are_replaced(api: TestClient, conn: psycopg.Connection) -> None:
    api.put("items/alive", json={})
    conn.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'feedwright api' AND datname = current_database()"
    )
    assert api.get("items/alive").status_code == 200


def test_a_statement_that_takes_too_long_gives_up(
    api: TestClient, conn: psycopg.Connection
) -> None:
    api.put("items/locked", json={})
    with conn.transaction():
        conn.execute("SELECT FROM feed.items WHERE id = 'locked' FOR UPDATE")
        started = time.monotonic()
        found = problem_of(api.patch("items/locked", json={"title": "x"}), 503)
        assert time.monotonic() - started < 30
        assert "statement timeout" in found.detail
    assert api.patch("items/locked", json={"title": "x"}).status_code == 200


def test_a_server_that_hangs_takes_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving_database, "CALL_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        port = deaf.getsockname()[1]
        with api_on(f"postgresql://127.0.0.1:{port}/none") as api:
            for _ in range(serving_database.MAX_CALLS + 1):
                started = time.monotonic()
                problem_of(api.get("items/a"), 503)
                assert time.monotonic() - started < 30


@pytest.fixture(scope="module")
def served(url: str) -> Iterator[str]:
    """The routes behind a real HTTP server."""
    app, _ = application(url)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()


def test_the_api_keeps_to_its_description(served: str, url: str) -> None:
    with httpx.Client(base_url=f"{served}/api/v1") as client:
        client.put("/users/known", json={})
    mine = [endpoint for group in GROUPS for endpoint in group]
    schema = schemathesis.openapi.from_dict(openapi.document(mine))
    schema.validate()
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()

        @hypothesis_settings(max_examples=5, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def every_case(case: schemathesis.Case) -> None:
            # What goes together is more than a schema can say.
            case.call_and_validate(base_url=served, excluded_checks=[positive_data_acceptance])

        every_case()


def test_examples_are_accepted_and_answers_have_their_shapes(
    api: TestClient, conn: psycopg.Connection
) -> None:
    conn.execute(
        "INSERT INTO feed.recommendations VALUES ('shape', 'shape', 1, 0.5, %s, '7')",
        ('{"code": "new", "parameters": {}, "text": "New"}',),
    )
    paths = openapi.document()["paths"]
    calls: list[tuple[str, str, str, type[BaseModel]]] = [
        ("post", "/items:bulk", "/items:bulk", BulkOutcome),
        ("patch", "/items/{id}", "/items/listing-7", Item),
        ("put", "/items/{id}", "/items/shape", Item),
        ("get", "/items", "/items?ids=shape,no", FoundItems),
        ("put", "/users/{id}", "/users/shape", User),
        ("patch", "/users/{id}", "/users/shape", User),
        ("get", "/users", "/users?q=shape", FoundUsers),
        ("patch", "/feed/preferences", "/feed/preferences?user_id=shape", Preferences),
        ("put", "/owners/{id}", "/owners/shape", Owner),
        ("patch", "/owners/{id}", "/owners/shape", Owner),
        ("get", "/recommendations/{user_id}", "/recommendations/shape", Recommendations),
        ("get", "/users/{id}/export", "/users/shape/export", UserExport),
    ]
    for method, path, target, shape in calls:
        content = paths[f"/api/v1{path}"][method].get("requestBody", {}).get("content", {})
        answer = api.request(
            method, target, json=content.get("application/json", {}).get("example")
        )
        assert answer.is_success, answer.text
        shape.model_validate_json(answer.content)
        assert set(answer.json()) == set(shape.model_fields)
