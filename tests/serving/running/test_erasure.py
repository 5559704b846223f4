"""A user who is erased is nobody in every worker, over HTTP on two of them."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest

from storage.postgres.database import connect
from tests.serving.bento import Server

ASKED = 12
"""Calls, each with a connection of its own, so that both workers answer some."""


def event(user_id: str, item_id: str, **given: Any) -> dict[str, Any]:
    occurred_at = datetime.now(UTC).isoformat()
    return {"event_id": str(uuid4()), "user_id": user_id, "item_id": item_id, "type": "like",
            "occurred_at": occurred_at, **given}  # fmt: skip


def send(http: httpx.Client, *events: dict[str, Any]) -> None:
    answer = http.post("interactions", json={"interactions": list(events)})
    assert answer.json()["accepted"] == len(events), answer.text


def feeds(http: httpx.Client, user_id: str, count: int = ASKED) -> list[dict[str, Any]]:
    return [http.get("feed", params={"user_id": user_id, "limit": 5}).json() for _ in range(count)]


def reasons(http: httpx.Client, user_id: str) -> set[str | None]:
    return {page["fallback_reason"] for page in feeds(http, user_id)} - {"time_budget_exceeded"}


def wait_until(expected: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not expected():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def erase(http: httpx.Client, user_id: str) -> None:
    assert http.delete(f"users/{user_id}").status_code == 204


@pytest.mark.parametrize("user_id", ["u0007", "new-one", "in-no-table"])
def test_nobody_knows_an_erased_user(two_workers: Server, http: httpx.Client, user_id: str) -> None:
    """One of the snapshot; one whom only their events make known, with a row and without."""
    if user_id != "in-no-table":
        http.put(f"users/{user_id}", json={"tags": ["art"]})
    send(http, *(event(user_id, f"i{number:04}") for number in range(1, 6)))
    wait_until(lambda: reasons(http, user_id) == {None})
    pages = [page["next"] for page in feeds(http, user_id)]
    erase(http, user_id)
    wait_until(lambda: reasons(http, user_id) == {"unknown_user"})
    assert reasons(http, user_id) == {"unknown_user"}  # and it stays so

    def begun() -> set[str | None]:
        return {http.get(two_workers.url + page).json()["fallback_reason"] for page in pages}

    wait_until(lambda: begun() == {"unknown_user"}, 10)  # feeds of before, by either worker
    assert http.get(f"recommendations/{user_id}").status_code == 404
    features = http.get(f"features/users/{user_id}")
    assert features.status_code == 404 or features.json()["history"] is None, features.text
    assert http.get(f"users/{user_id}/export").status_code == 404


def test_the_next_one_with_the_id_inherits_nothing(http: httpx.Client) -> None:
    """Erased and registered anew before any worker has looked."""
    http.put("users/u0011", json={})
    wait_until(lambda: reasons(http, "u0011") == {None})
    erase(http, "u0011")
    assert http.put("users/u0011", json={"tags": ["art"]}).status_code == 201
    wait_until(lambda: reasons(http, "u0011") == {"unknown_user"})
    send(http, *(event("u0011", f"i{number:04}") for number in range(1, 6)))
    wait_until(lambda: reasons(http, "u0011") == {None})  # by what they did themselves
    assert len(http.get("users/u0011/export").json()["interactions"]) == 5


def test_a_worker_that_was_stopped_meanwhile_learns_of_it(
    two_workers: Server, http: httpx.Client
) -> None:
    send(http, *(event("u0012", f"i{number:04}") for number in range(1, 6)))
    wait_until(lambda: reasons(http, "u0012") == {None})
    stopped = two_workers.workers()[0]
    stopped.send_signal(signal.SIGSTOP)
    try:
        with connect(two_workers.database, autocommit=True) as connection:
            # as `feedwright erase` does it, in another process
            connection.execute("DELETE FROM feed.interactions WHERE user_id = 'u0012'")
            connection.execute(
                "WITH noted AS (INSERT INTO feed.erasures (id_sha256, erased_id)"
                " VALUES (sha256('u0012'), 'u0012') RETURNING requested_at)"
                " INSERT INTO feed.changes (entity, ids, changed_at)"
                " SELECT 'erased', '{u0012}', requested_at FROM noted"
            )
    finally:
        stopped.send_signal(signal.SIGCONT)
    wait_until(lambda: reasons(http, "u0012") == {"unknown_user"})
    assert reasons(http, "u0012") == {"unknown_user"}


def test_a_worker_that_is_started_later_serves_no_list_of_before(
    two_workers: Server, http: httpx.Client
) -> None:
    http.put("users/u0013", json={})
    wait_until(lambda: reasons(http, "u0013") == {None})
    page = feeds(http, "u0013", 1)[0]["next"]
    erase(http, "u0013")
    before = {one.pid for one in two_workers.workers()}
    for worker in two_workers.workers():
        worker.kill()

    def replaced() -> bool:
        try:
            return http.get("status").json()["worker"] not in before
        except httpx.TransportError:
            return False

    def begun() -> str | None:
        return http.get(two_workers.url + page).json()["fallback_reason"]

    wait_until(replaced)
    wait_until(lambda: begun() == "unknown_user")


def test_late_events_are_neither_kept_nor_exported(http: httpx.Client) -> None:
    before = event("late", "i0001")
    send(http, before)
    offline = event("late", "i0002")
    erase(http, "late")
    old = (datetime.now(UTC) - timedelta(days=2)).isoformat()
    send(http, before, offline, event("late", "i0003", occurred_at=old),
         event("late", "i0004", occurred_at=None))  # fmt: skip
    http.post("interactions", json={"interactions": [event("late", "i0001", type="no type")]})
    assert http.get("users/late/export").status_code == 404
    assert http.put("users/late", json={}).status_code == 201
    send(http, event("late", "i0005"))
    exported = http.get("users/late/export").json()
    assert [one["item_id"] for one in exported["interactions"]] == ["i0005"]
    assert exported["rejected"] == []


NAMES = ["plain", "José", "emoji😀", 'quote"\\', "tab\tline\nx", "196", "x/export"]


def refused_of(user_id: str) -> list[dict[str, Any]]:
    """Entries that are refused, and name the user in one way or another."""
    bad = {"event_id": str(uuid4()), "item_id": "i0001", "type": "like"}
    return [
        {**bad, "user_id": user_id, "metadata": {"n": float("nan")}},
        {**bad, "user_id": user_id, "metadata": {"n": float("inf")}},
        {**bad, "user_id": user_id, "metadata": {"half": "\ud800"}},
        {"metadata": {"user_id": "somebody else"}, "user_id": user_id, "type": "bad"},
        {**bad, "userId": user_id},
        {**bad, "user": {"id": user_id}},
        {"metadata": {"long": "x" * 70_000}, "user_id": user_id, "type": "bad"},
    ]


def refuse_all(http: httpx.Client, user_id: str) -> int:
    """Send them all; how many were refused."""
    sent = refused_of(user_id)
    answer = http.post("interactions", content=json.dumps(sent),
                       headers={"Content-Type": "application/json"}).json()  # fmt: skip
    assert answer["rejected"] == len(sent), answer
    users = [{"id": user_id, "lat": float("nan"), "lon": 0}, {"id": user_id, "lat": 91, "lon": 0}]
    bulk = http.post(f"{http.base_url}users:bulk", content=json.dumps({"users": users}),
                     headers={"Content-Type": "application/json"}).json()  # fmt: skip
    assert bulk["rejected"] == len(users), bulk
    return len(sent) + len(users)


@pytest.mark.parametrize("user_id", NAMES)
def test_what_was_refused_of_a_user_is_exported_and_goes_with_them(
    two_workers: Server, http: httpx.Client, user_id: str
) -> None:
    path = f"users/{quote(user_id, safe='')}"
    assert http.put(path, json={}).status_code == 201

    def kept() -> int:
        with connect(two_workers.database) as connection:
            found = connection.execute(
                "SELECT count(*) FROM feed.interactions_rejected WHERE user_ids @> ARRAY[%s]",
                (user_id,),
            ).fetchone()
            assert found is not None
            return found[0]

    count = refuse_all(http, user_id)
    assert len(http.get(f"{path}/export").json()["rejected"]) == count == kept()
    assert http.delete(path).status_code == 204
    assert kept() == 0
    refuse_all(http, user_id)  # late
    assert kept() == 0
    assert http.get(f"{path}/export").status_code == 404
