"""What one request gets: pages, parameters, errors, documents."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from serving.feed.shapes import FeedPage, Status
from serving.http.problems import Problem
from tests.serving.conftest import Worker


@pytest.fixture
def worker(steady_worker: Worker) -> Worker:
    return steady_worker


def problem_of(client: TestClient, path: str, method: str = "GET", **options: Any) -> Problem:
    answer = client.request(method, path, **options)
    assert answer.headers["content-type"] == "application/problem+json"
    found = Problem.model_validate(answer.json())
    assert found.status == answer.status_code
    return found


def test_a_page_has_the_promised_shape(worker: Worker) -> None:
    answer = worker.client.get("/api/v1/feed", params={"user_id": "u0007", "limit": 5})
    page = FeedPage.model_validate_json(answer.content, strict=True)
    assert set(answer.json()) == {
        "items", "total", "has_more", "next", "feed_id", "model_version", "variant",
        "fallback_reason", "experiments", "request_id",
    }  # fmt: skip
    assert (page.variant, page.model_version, page.fallback_reason) == ("champion", "1", None)
    assert [item.rank for item in page.items] == [1, 2, 3, 4, 5]
    assert all(item.reason for item in page.items)
    assert page.has_more
    assert page.total > 5


def test_users_get_different_feeds(worker: Worker) -> None:
    first, second = (
        [item["item_id"] for item in worker.feed(user_id=user)["items"]]
        for user in ("u0007", "u0008")
    )
    assert first != second


@pytest.mark.parametrize(
    "who",
    [
        {"user_id": "u0007"},
        {"user_id": "u0003", "exclude_seen": True, "exclude_applied": True},
        {"user_id": "u0007", "sort": "time"},
        {"user_id": "nobody"},
        {"lat": 38.9, "lon": -9.0},
        {},
    ],
    ids=str,
)
def test_pages_follow_on_without_repeats(worker: Worker, who: dict[str, Any]) -> None:
    pages, offset = [], 0
    while True:
        page = worker.feed(**who, limit=7, offset=offset)
        pages += page["items"]
        if not page["has_more"]:
            break
        offset += 7
    ids = [item["item_id"] for item in pages]
    assert len(set(ids)) == len(ids) == page["total"]
    assert [item["rank"] for item in pages] == list(range(1, len(ids) + 1))


def test_what_was_seen_or_applied_to_is_left_out(worker: Worker) -> None:
    catalogue = worker.app.live.state.catalogue
    assert catalogue is not None
    viewer = catalogue.live.viewer("u0007")
    both = {"exclude_seen": False, "exclude_applied": False}
    for option, column in (("exclude_seen", "seen"), ("exclude_applied", "applied")):
        left_out = {catalogue.live.item_id(row) for row in getattr(viewer, column).tolist()}
        for sort in ("recommended", "time"):
            for asked in ({}, {option: True}):  # by default, and where it is asked for
                page = worker.feed(user_id="u0007", limit=100, sort=sort, **asked)
                assert left_out.isdisjoint(item["item_id"] for item in page["items"])
                assert not any(item["seen"] for item in page["items"])
            page = worker.feed(user_id="u0007", limit=100, sort=sort, **both)
            assert not left_out.isdisjoint(item["item_id"] for item in page["items"])


def test_by_time_is_newest_first_and_no_fallback(worker: Worker) -> None:
    page = worker.feed(user_id="u0007", sort="time", limit=100)
    assert (page["variant"], page["fallback_reason"], page["model_version"]) == ("time", None, None)
    catalogue = worker.app.live.state.catalogue
    assert catalogue is not None
    live = catalogue.live
    created = [live.items.created_at[live.find_item(item["item_id"])] for item in page["items"]]
    assert created == sorted(created, reverse=True)


def test_past_the_end_is_empty(worker: Worker) -> None:
    page = worker.feed(user_id="u0007", offset=10_000)
    assert page["items"] == []
    assert page["has_more"] is False
    assert page["total"] > 0


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=ten", "limit"),
        ("limit=", "limit"),
        ("limit=5&limit=6", "limit"),
        ("offset=-1", "offset"),
        ("offset=10001", "offset"),
        ("sort=random", "sort"),
        ("exclude_seen=maybe", "exclude_seen"),
        ("lat=NaN&lon=1", "lat"),
        ("lat=91&lon=1", "lat"),
        ("lat=1&lon=inf", "lon"),
        ("lat=1", "lat, lon"),
        ("user_id=", "user_id"),
        ("user_id=a%00b", "user_id"),
        ("user_id=" + "%C3%A9" * 200, "user_id"),
    ],
)
def test_a_wrong_parameter_is_named(worker: Worker, query: str, field: str) -> None:
    found = problem_of(worker.client, f"/api/v1/feed?{query}")
    assert found.status == 422
    assert [error.field for error in found.errors] == [field]
    assert found.detail.startswith(f"{field}: ")


def test_all_wrong_parameters_are_named_at_once(worker: Worker) -> None:
    found = problem_of(worker.client, "/api/v1/feed?limit=0&offset=x&sort=up")
    assert {error.field for error in found.errors} == {"limit", "offset", "sort"}


@pytest.mark.parametrize("path", ["/nothing", "/api/v1/feed/", "/api/v1/feed/1/2", "/api"])
def test_an_unknown_path_is_a_problem(worker: Worker, path: str) -> None:
    assert problem_of(worker.client, path).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_a_wrong_method_is_a_problem(worker: Worker, method: str) -> None:
    answer = worker.client.request(method, "/api/v1/feed")
    assert answer.headers["allow"] == "GET, HEAD"
    assert problem_of(worker.client, "/api/v1/feed", method).status == 405


@pytest.mark.parametrize("user_id", ["O'Brien\"; DROP TABLE feed.users", "🦊 üñí", " ", "%", "\n"])
def test_any_text_may_be_a_user_id(worker: Worker, user_id: str) -> None:
    assert worker.fallback(user_id) == "unknown_user"


def test_a_request_id_comes_back(worker: Worker) -> None:
    answer = worker.client.get("/api/v1/feed", headers={"X-Request-Id": "abc-123"})
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "abc-123"
    found = problem_of(worker.client, "/api/v1/feed?limit=x", headers={"X-Request-Id": "abc"})
    assert found.request_id == "abc"


@pytest.mark.parametrize("given", ["", "x" * 129, "tab\there", "caf\xe9".encode("latin-1")])
def test_an_unusable_request_id_is_replaced(worker: Worker, given: str) -> None:
    answer = worker.client.get("/api/v1/feed", headers={"X-Request-Id": given})
    assert len(answer.json()["request_id"]) == 32


def test_a_bug_is_a_problem_too(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker.app.engine, "feed", None)
    found = problem_of(worker.client, "/api/v1/feed")
    assert found.status == 500
    assert "NoneType" not in found.detail


VALUES = st.one_of(
    st.text(max_size=20),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(["time", "recommended", "true", "u0007", "5", "38.7"]),
)
NAMES = st.sampled_from(
    ["user_id", "limit", "offset", "sort", "exclude_seen", "exclude_applied", "lat", "lon", "x"]
)


@hypothesis_settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(pairs=st.lists(st.tuples(NAMES, VALUES), max_size=6))
def test_no_parameters_break_it(worker: Worker, pairs: list[tuple[str, str]]) -> None:
    answer = worker.client.get("/api/v1/feed", params=pairs)
    if answer.status_code == 200:
        FeedPage.model_validate_json(answer.content, strict=True)
    else:
        assert answer.status_code == 422
        assert Problem.model_validate_json(answer.content).errors


def test_the_docs_come_from_here_alone(worker: Worker) -> None:
    page = worker.client.get("/docs")
    assert page.status_code == 200
    assert "://" not in page.text
    for path in ("/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js", "/docs/start.js"):
        assert path in page.text
        answer = worker.client.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")


def test_status_tells_what_is_served(worker: Worker) -> None:
    status = Status.model_validate_json(worker.client.get("/api/v1/status").content, strict=True)
    assert (status.model_version, status.variant, status.fallback_reason) == ("1", "champion", None)
    assert status.catalogue is not None
    assert status.catalogue.items == 60
    assert status.database_up
    assert status.registry_up


def test_metrics_count_the_feed(worker: Worker) -> None:
    worker.feed(user_id="u0007")
    worker.feed()
    text = worker.client.get("/metrics").text
    champion = 'feedwright_feed_requests_total{fallback_reason="",variant="champion"}'
    anonymous = 'feedwright_feed_requests_total{fallback_reason="anonymous",variant="heuristic"}'
    assert champion in text
    assert anonymous in text
    assert 'feedwright_model_version_info{alias="champion",version="1"} 1.0' in text
    assert "feedwright_feed_seconds_bucket" in text
    age = next(line for line in text.splitlines() if line.startswith("feedwright_model_age_sec"))
    assert 3600 <= float(age.split()[1]) < 7200  # the snapshot is older than this test
