"""Writes of the same thing at the same time, over HTTP on two workers: none that was acknowledged
is lost. A transaction of the test holds the row until all of them wait for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import psycopg
import pytest

from storage.postgres.database import connect
from tests.serving.bento import Server

FIELDS: dict[str, list[dict[str, Any]]] = {
    "feed/preferences?user_id=ann": [
        {"max_distance_km": 7.5},
        {"preferred_tags": ["art"]},
        {"blocked_tags": ["golf"]},
        {"blocked_owners": ["bob"]},
    ],
    "items/chair": [{"title": "Chair"}, {"city": "Cluj"}, {"capacity": 3}, {"category": "home"}],
    "users/ann": [{"city": "Oslo"}, {"tags": ["art"]}, {"attributes": {"a": 1}},
                  {"attributes": {"b": 2}}],
    "owners/bob": [{"average_rating": 4.5}, {"completion_rate": 0.5}, {"finished_jobs": 9}],
}  # fmt: skip
"""Call -> changes of fields that have nothing to do with each other."""
ROWS = {
    "feed/preferences?user_id=ann": ("users", "ann"),
    "items/chair": ("items", "chair"),
    "users/ann": ("users", "ann"),
    "owners/bob": ("owners", "bob"),
}
Calls = list[tuple[str, str, dict[str, Any]]]


@pytest.fixture(autouse=True)
def _there(http: httpx.Client) -> None:
    for path in ("users/ann", "items/chair", "owners/bob"):
        http.delete(path)
        assert http.put(path, json={}).status_code == 201


@contextmanager
def held(two_workers: Server, table: str, id: str) -> Iterator[psycopg.Connection]:
    """A row that nobody else can lock until the block ends."""
    with connect(two_workers.database) as connection:
        connection.execute(f"SELECT FROM feed.{table} WHERE id = '{id}' FOR UPDATE")
        yield connection


def at_once(
    two_workers: Server, http: httpx.Client, calls: Calls, path: str, **headers: str
) -> list[httpx.Response]:
    """Answers of calls that all waited for the row behind ``path``."""
    with ThreadPoolExecutor(len(calls)) as pool:
        with held(two_workers, *ROWS[path]):
            answers = [
                pool.submit(http.request, method, there, json=body, headers=headers)
                for method, there, body in calls
            ]
            until_waiting(two_workers, answers)
        return [answer.result() for answer in answers]


def until_waiting(two_workers: Server, answers: list[Future[httpx.Response]]) -> None:
    """Until each call waits for a lock, or has its answer."""
    with connect(two_workers.database, autocommit=True) as connection:
        deadline = time.monotonic() + 120
        while True:
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name = 'feedwright api' AND wait_event_type = 'Lock'"
            ).fetchone()
            assert row is not None
            if row[0] + sum(answer.done() for answer in answers) >= len(answers):
                return
            assert time.monotonic() < deadline
            time.sleep(0.005)


@pytest.mark.parametrize("path", FIELDS)
def test_patches_of_different_fields_all_stay(
    two_workers: Server, http: httpx.Client, path: str
) -> None:
    calls: Calls = [("PATCH", path, change) for change in FIELDS[path]]
    answers = at_once(two_workers, http, calls, path)
    assert [answer.status_code for answer in answers] == [200] * len(calls), answers[0].text
    now = http.get(path).json()
    for change in FIELDS[path]:
        for name, value in change.items():
            kept = now[name]
            assert value.items() <= kept.items() if name == "attributes" else kept == value


@pytest.mark.parametrize(
    ("method", "path"),
    [("PATCH", path) for path in FIELDS]
    + [(method, "items/chair") for method in ("PUT", "DELETE")]
    + [("DELETE", "users/ann")],
)
def test_of_writers_with_one_etag_one_writes(
    two_workers: Server, http: httpx.Client, method: str, path: str
) -> None:
    tag = http.get(path).headers["etag"]
    calls: Calls = [(method, path, change) for change in FIELDS[path][:3]]
    answers = at_once(two_workers, http, calls, path, **{"If-Match": tag})
    done = 204 if method == "DELETE" else 200
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses[0] == done
    assert set(statuses[1:]) <= {412, 404}, statuses


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "items/chair", {"title": "A"}),
        ("POST", "/items:bulk", {"items": [{"id": "chair", "title": "A"}]}),
    ],
)
def test_a_replacement_keeps_the_created_at_that_came_meanwhile(
    two_workers: Server, http: httpx.Client, method: str, path: str, body: dict[str, Any]
) -> None:
    given = "2024-05-17T09:30:00+00:00"
    with ThreadPoolExecutor(1) as pool:
        with held(two_workers, "items", "chair") as connection:
            answer = pool.submit(http.request, method, path, json=body)
            until_waiting(two_workers, [answer])
            connection.execute("UPDATE feed.items SET created_at = %s WHERE id = 'chair'", (given,))
            connection.commit()
        assert answer.result().status_code == 200, answer.result().text
    assert http.get("items/chair").json()["created_at"] == given


def test_one_of_many_who_create_creates(http: httpx.Client) -> None:
    def call(number: int) -> int:
        only_new = {"If-None-Match": "*"}
        return http.put("items/new", json={"title": str(number)}, headers=only_new).status_code

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(call, range(4))) == [201, 412, 412, 412]


def test_changes_of_one_draft_all_stay(http: httpx.Client) -> None:
    draft = {"id": "trial", "arms": [{"name": "a"}, {"name": "b"}]}
    assert http.post("admin/experiments", json=draft).status_code == 201
    changes: list[dict[str, Any]] = [
        {"description": "why"}, {"share": 0.5}, {"primary_metric": "conversion"},
    ]  # fmt: skip

    def call(change: dict[str, Any]) -> httpx.Response:
        return http.patch("admin/experiments/trial", json=change)

    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(call, changes))
    assert [answer.status_code for answer in answers] == [200] * 3, answers[0].text
    now = http.get("admin/experiments/trial").json()
    assert all(now[name] == value for change in changes for name, value in change.items())
