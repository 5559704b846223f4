"""The read calls beside the feed: short lists, ranking, features, settings."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from pydantic import BaseModel
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance

from models.catalogue.changes import Changes, ItemRow, UserRow
from models.data.scorers import haversine_km
from models.feed.reasons import ENGLISH
from models.feed.scoring import scores
from serving import openapi
from serving.http.problems import Problem
from serving.routes import reads
from serving.routes.reads import nearby, ranking
from serving.routes.reads.shapes import (
    ItemFeatures,
    NearbyItems,
    PairFeatures,
    Profiles,
    RankedItems,
    ReasonTexts,
    RecommendedItems,
    SimilarItems,
    TrendingItems,
    UserFeatures,
)
from tests.serving.conftest import Worker

DOCUMENT = openapi.document(endpoint for group in reads.GROUPS for endpoint in group)
PATHS = DOCUMENT["paths"]
NEW = ItemRow(
    id="new/one", owner_id=None, tags=["art", "games"], category="thing", city="Oslo",
    lat=39.5, lon=-8.5, price_min=None, price_max=None, status="published", capacity=None,
    created_at=time.time(), publish_at=None, starts_at=None, title="Newest",
)  # fmt: skip
WISHES = UserRow(
    id="wishful", lat=39.2, lon=-8.6, city=None, tags=["art"], max_distance_km=None,
    price_min=None, price_max=None, preferred_tags=[], blocked_tags=["sport"],
    blocked_owners=["u0001"], personalization_enabled=True,
)  # fmt: skip


@pytest.fixture(scope="module")
def worker(steady_worker: Worker) -> Worker:
    """With an item and a user that the model does not know; nothing else changes."""
    live = catalogue(steady_worker).live
    shy = WISHES._replace(id="u0010", personalization_enabled=False)
    change(steady_worker, items=[NEW], users=[WISHES, shy])
    windows = {
        hours: (np.array(rows, np.int32), np.array([1, 0.5, 0.25], np.float32))
        for hours, rows in {24: [3, 4, 5], 168: [6, 7, 8]}.items()
    }
    in_loop(steady_worker, live.set_trending, windows)
    return steady_worker


def catalogue(worker: Worker) -> Any:
    return worker.app.live.state.catalogue


def in_loop(worker: Worker, call: Any, *arguments: Any) -> None:
    assert worker.client.portal is not None
    worker.client.portal.call(call, *arguments)


def change(worker: Worker, **parts: Any) -> None:
    live = catalogue(worker).live
    in_loop(worker, live.apply, Changes(live.position or "3:3:", **parts))


def get(worker: Worker, shape: type[BaseModel], path: str, **query: Any) -> Any:
    answer = worker.client.get(f"/api/v1/{path}", params=query)
    assert answer.status_code == 200, answer.text
    return shape.model_validate_json(answer.content, strict=True)


def post(worker: Worker, shape: type[BaseModel], path: str, body: dict[str, Any]) -> Any:
    answer = worker.client.post(f"/api/v1/{path}", json=body)
    assert answer.status_code == 200, answer.text
    return shape.model_validate_json(answer.content, strict=True)


def problem_of(answer: httpx.Response, status: int) -> Problem:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return Problem.model_validate_json(answer.content)


def ids(page: Any) -> list[str]:
    return [item.item_id for item in page.items]


@pytest.mark.parametrize(
    ("hours", "used", "first"), [(1, 24, "i0003"), (25, 168, "i0006"), (720, 168, "i0006")]
)
def test_trending_is_of_the_window_asked_for(
    worker: Worker, hours: int, used: int, first: str
) -> None:
    page = get(worker, TrendingItems, "feed/trending", hours=hours, limit=2)
    assert (page.hours, len(page.items), ids(page)[0]) == (used, 2, first)
    assert [item.trending_score for item in page.items] == [1, 0.5]
    assert page.items[0].reason == "Popular this week"


def test_trending_before_any_window_is_what_the_snapshot_knew(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue(worker).live, "trending", {})
    assert get(worker, TrendingItems, "feed/trending").hours is None


def test_nearby_is_nearest_first_within_the_radius(worker: Worker) -> None:
    live = catalogue(worker).live
    page = post(worker, NearbyItems, "feed/nearby", {"lat": 39.5, "lon": -8.5, "radius_km": 60})
    km = [item.distance_km for item in page.items]
    assert (km, ids(page)[0], km[0]) == (sorted(km), "new/one", 0)
    shown = np.flatnonzero(live.items.published[: live.size])
    distance = haversine_km(39.5, -8.5, live.items.lat[shown], live.items.lon[shown])
    expected = [live.item_id(int(row)) for row in shown[np.argsort(distance)]]
    assert ids(page) == expected[: len(page.items)]
    assert len(page.items) == min(20, np.count_nonzero(distance <= 60))
    assert page.items[0].reason == "Near you: Oslo"


@pytest.mark.parametrize("most", [0, nearby.MOST])
def test_nearby_looks_on_where_rules_leave_few(
    worker: Worker, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearby, "FIRST", 1)
    monkeypatch.setattr(nearby, "MOST", most)
    body = {"lat": 39.5, "lon": -8.5, "radius_km": 20_000, "limit": 1}
    everybody = post(worker, NearbyItems, "feed/nearby", {**body, "limit": 100})
    of_user = post(worker, NearbyItems, "feed/nearby", {**body, "limit": 100, "user_id": "wishful"})
    live = catalogue(worker).live
    left = [
        item.item_id
        for item in everybody.items
        if "sport" not in (features := item_features(worker, item.item_id)).tags
        and features.owner_id != "u0001"
    ]
    assert 0 < len(left) < len(everybody.items) == np.count_nonzero(live.items.published)
    assert ids(of_user) == left
    assert ids(post(worker, NearbyItems, "feed/nearby", {**body, "user_id": "wishful"})) == left[:1]


def test_nearby_of_one_category(worker: Worker) -> None:
    place = {"lat": 39.5, "lon": -8.5}
    assert ids(post(worker, NearbyItems, "feed/nearby", {**place, "category": "thing"}))
    assert not ids(post(worker, NearbyItems, "feed/nearby", {**place, "category": "none such"}))


def test_similar_are_those_people_liked_then_those_alike(worker: Worker) -> None:
    page = get(worker, SimilarItems, "feed/similar/i0007", limit=30)
    by = [item.by for item in page.items]
    assert by == sorted(by, reverse=True)
    assert set(by) == {"people", "content"}
    for kind in set(by):
        scores = [item.similarity for item in page.items if item.by == kind]
        assert scores == sorted(scores, reverse=True)
    assert len(set(ids(page))) == len(page.items)
    assert "i0007" not in ids(page)
    assert page.items[0].reason == "Similar to Item 7"


def test_a_new_item_has_similar_ones_too(worker: Worker) -> None:
    page = get(worker, SimilarItems, "feed/similar/new%2Fone")
    assert {item.by for item in page.items} == {"content"}
    tags = item_features(worker, page.items[0].item_id).tags
    assert set(tags) & {"art", "games"}
    problem_of(worker.client.get("/api/v1/feed/similar/none"), 404)


def test_ranking_sorts_some_and_says_why_not_the_others(worker: Worker) -> None:
    asked = ["i0001", "none", "i0009", "i0003", "new/one", "i0002"]
    body = {"user_id": "u0001", "item_ids": asked}
    page = post(worker, RankedItems, "rank", body)
    scores = [item.recommendation_score for item in page.items]
    assert scores == sorted(scores, reverse=True)
    assert [item.rank for item in page.items] == [1, 2, 3]
    assert sorted(ids(page)) == ["i0002", "i0003", "new/one"]
    assert [(one.item_id, one.rule) for one in page.excluded] == [
        ("i0001", "own"), ("none", "unknown_item"), ("i0009", "not_published"),
    ]  # fmt: skip
    assert (page.variant, page.model_version, page.fallback_reason) == ("champion", "1", None)
    assert all("model" in item.components for item in page.items)


@pytest.mark.parametrize(
    ("extra", "variant", "fallback"),
    [
        ({"user_id": "u0007"}, "champion", None),
        ({"user_id": "u0007", "variant": "heuristic"}, "heuristic", None),
        ({"variant": "time"}, "time", None),
        ({}, "heuristic", "anonymous"),
        ({"user_id": "nobody", "lat": 39, "lon": -9}, "heuristic", "unknown_user"),
        ({"user_id": "wishful"}, "heuristic", "unknown_user"),
        ({"user_id": "u0010"}, "heuristic", "personalization_off"),
    ],
    ids=str,
)
def test_ranking_agrees_with_the_feed(
    worker: Worker, extra: dict[str, Any], variant: str, fallback: str | None
) -> None:
    page = post(worker, RankedItems, "rank", {"item_ids": [f"i{n:04}" for n in range(60)], **extra})
    feed = worker.feed(**extra, limit=100, exclude_seen=False, exclude_applied=False)
    told = ("variant", "fallback_reason", "model_version")
    assert [getattr(page, name) for name in told] == [feed[name] for name in told]
    assert (page.variant, page.fallback_reason) == (variant, fallback)
    assert set(ids(page)) == {item["item_id"] for item in feed["items"]} - {"new/one"}
    scores = {item["item_id"]: item["recommendation_score"] for item in feed["items"]}
    for item in page.items:
        assert item.recommendation_score == pytest.approx(scores[item.item_id], abs=1e-3)


def test_ranking_goes_on_without_the_model(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "model_scores", None)
    page = post(worker, RankedItems, "rank", {"user_id": "u0007", "item_ids": ["i0001", "i0002"]})
    assert (page.variant, page.fallback_reason, len(page.items)) == ("heuristic", "model_error", 2)


def test_many_users_get_their_own_feeds(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"user_ids": ["u0007", "nobody", "u0008"], "limit": 5}
    page = post(worker, RecommendedItems, "recommend", body)
    assert [user.user_id for user in page.users] == body["user_ids"]
    assert [user.fallback_reason for user in page.users] == [None, "unknown_user", None]
    assert page.model_version == "1"
    live = catalogue(worker).live
    touched = {live.item_id(row) for row in live.viewer("u0007").seen.tolist()}
    assert touched.isdisjoint(item.item_id for item in page.users[0].items)
    unlike = [{item.item_id for item in user.items} for user in page.users]
    assert unlike[0] != unlike[2]
    monkeypatch.setattr(ranking, "RECOMMEND_SECONDS", -1)
    page = post(worker, RecommendedItems, "recommend", body)
    assert {user.fallback_reason for user in page.users} == {"time_budget_exceeded"}
    assert {len(user.items) for user in page.users} == {5}


def item_features(worker: Worker, item_id: str) -> ItemFeatures:
    return get(worker, ItemFeatures, f"features/items/{item_id.replace('/', '%2F')}")


def test_features_tell_what_ranking_sees(worker: Worker) -> None:
    user = get(worker, UserFeatures, "features/users/u0007")
    assert user.in_model
    assert user.has_vector
    assert user.counts.seen > 0
    assert user.taste.tags[0].weight >= user.taste.tags[-1].weight > 0
    assert len(user.similar_users) == 10
    newcomer = get(worker, UserFeatures, "features/users/wishful")
    assert (newcomer.in_model, newcomer.tags, newcomer.similar_users) == (False, ["art"], [])
    assert newcomer.wishes.blocked_owners == ["u0001"]
    item = item_features(worker, "new/one")
    assert (item.in_model, item.changed, item.city) == (False, True, "Oslo")
    assert (item.tags, item.published) == (["art", "games"], True)
    assert item_features(worker, "i0007").similar_items
    for path in ("users/none", "items/none", "pairs/none/i0001", "pairs/u0001/none"):
        problem_of(worker.client.get(f"/api/v1/features/{path}"), 404)


def test_features_of_a_pair_are_those_of_the_feed(worker: Worker) -> None:
    shown = worker.feed(user_id="u0007")["items"][0]
    pair = get(worker, PairFeatures, f"features/pairs/u0007/{shown['item_id']}")
    for name, value in shown["components"].items():
        told = pair.model.unit if name == "model" and pair.model else pair.components.get(name)
        assert told == (None if value is None else pytest.approx(value, abs=1e-3)), name
    assert pair.rules_broken == []
    assert set(shown["sources"]) <= set(pair.sources)
    assert pair.reason_code == shown["reason_code"]
    other = get(worker, PairFeatures, "features/pairs/wishful/new%2Fone")
    assert (other.model, other.components["tags"]) == (None, 0.5)
    assert get(worker, PairFeatures, "features/pairs/u0001/i0001").rules_broken == ["own"]
    shy = get(worker, PairFeatures, "features/pairs/u0010/i0001")
    assert (shy.model, shy.components["collaborative"], shy.components["tags"]) == (None,) * 3


def test_profiles_and_reasons_are_told(worker: Worker) -> None:
    found = get(worker, Profiles, "profiles")
    assert found.active == "marketplace"
    assert {"marketplace", "social", "events"} <= set(found.profiles)
    assert found.profiles["marketplace"].names.item == "listing"
    texts = get(worker, ReasonTexts, "reasons").reasons
    assert set(texts) > {*ENGLISH, "because_you_applied"}
    assert texts["near_city"].parameters == ["city"]


@pytest.mark.parametrize("path", ["profiles", "reasons", "features/users/u0007"])
def test_what_is_known_already_is_not_sent_again(worker: Worker, path: str) -> None:
    first = worker.client.get(f"/api/v1/{path}")
    again = worker.client.get(
        f"/api/v1/{path}", headers={"If-None-Match": first.headers["etag"], "X-Request-Id": "mine"}
    )
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["x-request-id"] == "mine"


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("GET", "feed/trending?hours=721", None, "hours"),
        ("GET", "feed/trending?limit=0", None, "limit"),
        ("GET", "feed/similar/i0001?limit=x", None, "limit"),
        ("POST", "feed/nearby", {"lat": 91, "lon": 0}, "lat"),
        ("POST", "feed/nearby", {"lat": 1}, "lon"),
        ("POST", "feed/nearby", {"lat": 1, "lon": 1, "radius_km": 0}, "radius_km"),
        ("POST", "rank", {"item_ids": []}, "item_ids"),
        ("POST", "rank", {"item_ids": ["a", "b", "a"]}, "item_ids"),
        ("POST", "rank", {"item_ids": [str(n) for n in range(1001)]}, "item_ids"),
        ("POST", "rank", {"item_ids": [1]}, "item_ids.0"),
        ("POST", "rank", {"item_ids": ["a"], "lat": 1}, "lon"),
        ("POST", "rank", {"item_ids": ["a"], "variant": "best"}, "variant"),
        ("POST", "rank", {"item_ids": ["a"], "user": "b"}, "user"),
        ("POST", "recommend", {"user_ids": ["a", "a"]}, "user_ids"),
        ("POST", "recommend", {"user_ids": ["a"], "exclude_seen": "yes"}, "exclude_seen"),
    ],
)
def test_what_is_wrong_is_named(
    worker: Worker, method: str, path: str, body: Any, field: str
) -> None:
    found = problem_of(worker.client.request(method, f"/api/v1/{path}", json=body), 422)
    assert [error.field for error in found.errors] == [field]


def test_without_a_catalogue_they_answer_too(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = type(worker.app.live.state)(worker.app.live.state.profile)
    monkeypatch.setattr(type(worker.app.live), "publish", lambda _, **__: None)
    monkeypatch.setattr(worker.app.live, "state", nothing)
    assert get(worker, TrendingItems, "feed/trending").items == []
    assert post(worker, NearbyItems, "feed/nearby", {"lat": 1, "lon": 1}).items == []
    page = post(worker, RankedItems, "rank", {"item_ids": ["i0001"]})
    assert (page.fallback_reason, page.excluded[0].rule) == ("no_catalogue", "unknown_item")
    page = post(worker, RecommendedItems, "recommend", {"user_ids": ["u0001"]})
    assert page.users[0].fallback_reason == "no_catalogue"
    for path in ("feed/similar/i0001", "features/users/u0001", "features/items/i0001"):
        problem_of(worker.client.get(f"/api/v1/{path}"), 404)


@contextmanager
def served(worker: Worker) -> Iterator[str]:
    """Address of the worker's application behind a real HTTP server."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(worker.app.asgi, log_level="warning", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def test_the_calls_keep_to_their_description(worker: Worker) -> None:
    schema = schemathesis.openapi.from_dict(DOCUMENT)
    schema.validate()
    with served(worker) as address:
        for result in schema.get_all_operations():
            assert isinstance(result, Ok)
            operation = result.ok()

            @hypothesis_settings(
                max_examples=6, database=None,
                suppress_health_check=list(HealthCheck),
            )  # fmt: skip
            @given(case=operation.as_strategy())
            def every_case(case: schemathesis.Case) -> None:
                # What goes together is more than a schema can say.
                case.call_and_validate(base_url=address, excluded_checks=[positive_data_acceptance])

            every_case()


def test_examples_of_the_description_fit_its_shapes(worker: Worker) -> None:
    for path in ("feed/nearby", "rank", "recommend"):
        body = PATHS[f"/api/v1/{path}"]["post"]["requestBody"]["content"]
        example = body["application/json"]["example"]
        assert worker.client.post(f"/api/v1/{path}", json=example).status_code == 200
    for shape, path in (
        (TrendingItems, "feed/trending"), (NearbyItems, "feed/nearby"),
        (SimilarItems, "feed/similar/{item_id}"), (RankedItems, "rank"),
        (RecommendedItems, "recommend"), (ReasonTexts, "reasons"),
    ):  # fmt: skip
        [described] = PATHS[f"/api/v1/{path}"].keys() & {"get", "post"}
        answer = PATHS[f"/api/v1/{path}"][described]["responses"]["200"]
        shape.model_validate(answer["content"]["application/json"]["example"], strict=True)
