"""A champion with a ranker behind it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from models.catalogue.snapshots.snapshot import RANKER
from models.profile.schema import SHIPPED
from models.ranking.features.event_features import FEATURES
from models.ranking.learned import LearnedRanker
from models.ranking.rankers.actions import ActionChances
from storage.settings import Settings
from tests.serving.conftest import Worker, running_worker
from tests.serving.fake_mlflow import FakeMlflow
from tests.serving.worlds import TAGS_FIRST, make_snapshot, with_ranker

KNOWN = "u0012"
"""Not whom the fixtures ask for."""


@pytest.fixture
def ranked(worker_settings: Settings, mlflow: FakeMlflow) -> Iterator[Worker]:
    with_ranker("9").save(worker_settings.snapshots / "9")
    with running_worker(worker_settings, mlflow, None) as made:
        mlflow.version = "9"
        made.wait_for(lambda: made.fallback() is None)
        yield made


def test_what_is_shown_is_its_probability(ranked: Worker) -> None:
    page = ranked.feed(user_id=KNOWN, limit=50)
    assert (page["variant"], page["fallback_reason"]) == ("champion", None)
    by_ranker = [item for item in page["items"] if item["components"]["ranker"] is not None]
    assert len(by_ranker) == len(page["items"]) > 20, "fewer than it looks at"
    for item in by_ranker:
        assert item["components"]["ranker"] == item["recommendation_score"]
        assert 0 <= item["components"]["model"] <= 1
        assert item["sources"]
    best, worst = page["items"][0], page["items"][-1]
    assert best["components"]["tags"] > worst["components"]["tags"]
    other = ranked.feed(user_id=KNOWN, variant="heuristic")
    assert "ranker" not in other["items"][0]["components"]
    assert "ranker" not in ranked.feed()["items"][0]["components"], "anonymous"


def test_given_items_are_ranked_by_it_too(ranked: Worker) -> None:
    page = ranked.feed(user_id=KNOWN, limit=50)
    ids = sorted(item["item_id"] for item in page["items"])
    answer = ranked.client.post("/api/v1/rank", json={"user_id": KNOWN, "item_ids": ids}).json()
    assert (answer["variant"], len(answer["items"])) == ("champion", len(ids))
    chances = {item["item_id"]: item["recommendation_score"] for item in page["items"]}
    for item in answer["items"]:
        assert item["components"]["ranker"] == item["recommendation_score"]
        assert item["recommendation_score"] == pytest.approx(chances[item["item_id"]], abs=1e-3)
        assert item["sources"] == []
    scores = [item["recommendation_score"] for item in answer["items"]]
    assert scores == sorted(scores, reverse=True)


def test_one_that_fails_leaves_the_feed_to_the_heuristic(
    ranked: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: Any, **options: Any) -> Any:
        raise RuntimeError

    monkeypatch.setattr(LearnedRanker, "predict", fails)
    page = ranked.feed(user_id=KNOWN)
    assert (page["variant"], page["fallback_reason"]) == ("heuristic", "model_error")
    assert page["items"]
    [judged] = ranked.client.post(
        "/api/v1/admin/stages", json={"users": [{"user_id": KNOWN}], "limit": 20}
    ).json()["users"]
    assert (judged["variant"], judged["fallback_reason"]) == ("heuristic", "model_error")
    assert (judged["model_version"], len(judged["feed"])) == (None, 20)
    monkeypatch.undo()
    assert ranked.fallback() is None


def test_one_of_other_features_is_not_served(worker: Worker) -> None:
    before = worker.feed(user_id=KNOWN)
    assert before["model_version"] == "1"
    content = TAGS_FIRST.to_bytes().replace(b'"same_city"', b'"same_town"')
    make_snapshot("2").save(worker.settings.snapshots / "2", files={RANKER: content})
    worker.mlflow.version = "2"
    worker.wait_for(
        lambda: "same_town" in (worker.client.get("/api/v1/status").json()["detail"] or "")
    )
    assert worker.feed(user_id=KNOWN)["items"]


def test_the_device_is_told_or_taken_from_the_browser(
    ranked: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str | None] = []
    order = LearnedRanker.order

    def noted(self: LearnedRanker, *args: Any, **options: Any) -> Any:
        asked.append(options["context"].device)
        return order(self, *args, **options)

    monkeypatch.setattr(LearnedRanker, "order", noted)
    phone = "Mozilla/5.0 (Linux; Android 14; Pixel 8) Chrome/130.0 Mobile Safari/537.36"
    ranked.client.get("/api/v1/feed", params={"user_id": KNOWN}, headers={"User-Agent": phone})
    ranked.feed(user_id=KNOWN, device="tablet")
    ranked.feed(user_id=KNOWN)
    assert asked == ["phone", "tablet", None]
    answer = ranked.client.get("/api/v1/feed", params={"user_id": KNOWN, "device": "fridge"})
    assert answer.status_code == 422


def of_tags_and_popularity() -> LearnedRanker:
    """Clicks come from the tags that a user chose; what is popular is dismissed."""
    weights = np.zeros((len(FEATURES), 2))
    weights[FEATURES.index("overlap_interest_ratio"), 0] = 3
    weights[FEATURES.index("popularity"), 1] = 3
    actions = ActionChances(
        ("click", "dismiss"),
        (False, True),
        np.zeros(len(FEATURES)),
        np.ones(len(FEATURES)),
        weights,
        np.array([[1.0, 1.0], [0.0, 0.0], [-2.0, -3.0]]),
    )
    return replace(TAGS_FIRST, actions=actions)


def test_values_count_without_a_training(
    worker_settings: Settings, mlflow: FakeMlflow, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.yaml"
    settings = worker_settings.model_copy(update={"profile": str(mine)})
    written = yaml.safe_load((SHIPPED / "marketplace.yaml").read_text())
    # What a machine busy with other tests takes must not become a fallback.
    written["serving"] = {"time_budget_ms": 5_000, "reuse_seconds": 0}
    written["exploration"] = {"share": 0}

    def write(values: dict[str, float]) -> None:
        written["ranker"] = {"values": values}
        whole = mine.with_suffix(".new")
        whole.write_text(yaml.safe_dump(written))
        whole.replace(mine)  # a worker reads all of it or nothing

    write({})
    with_ranker("9", of_tags_and_popularity()).save(settings.snapshots / "9")
    with running_worker(settings, mlflow, None) as made:
        mlflow.version = "9"
        made.wait_for(lambda: made.fallback() is None)

        def items(**asked: Any) -> list[dict[str, Any]]:
            return made.feed(user_id=KNOWN, limit=50, **asked)["items"]

        def told(*names: str) -> bool:
            found = {name for name in items()[0]["components"] if name.startswith("probability.")}
            return found == {f"probability.{name}" for name in names}

        assert told()
        plain = [item["item_id"] for item in items()]
        write({"click": 1.0, "dismiss": -2.0})
        made.wait_for(lambda: told("click", "dismiss"))
        valued = items()
        assert {item["item_id"] for item in valued} == set(plain)
        for item in valued:
            parts = item["components"]
            total = (parts["probability.click"] - 2 * parts["probability.dismiss"] + 2) / 3
            assert item["recommendation_score"] == pytest.approx(total, abs=2e-4)
            assert parts["ranker"] == item["recommendation_score"]
        ids = sorted(plain)
        body = {"user_id": KNOWN, "item_ids": ids}
        for item in made.client.post("/api/v1/rank", json=body).json()["items"]:
            assert 0 < item["components"]["probability.click"] < 1
        preview = items(weights="tags:1")[0]["components"]
        assert "probability.click" not in preview, "the heuristic ranks"
        write({"click": 1e-3, "dismiss": -2.0})
        made.wait_for(lambda: [item["item_id"] for item in items()] != [
            item["item_id"] for item in valued
        ])  # fmt: skip
        chances = [item["components"]["probability.dismiss"] for item in items()]
        assert np.mean(chances[:10]) < np.mean(chances)
        page = made.feed(user_id=KNOWN)
        assert (page["variant"], page["model_version"]) == ("champion", "9")
        write({"click": 1.0, "purchase": 5.0})
        made.wait_for(lambda: made.client.get("/api/v1/status").json()["profile_problem"])
        problem = made.client.get("/api/v1/status").json()["profile_problem"]
        assert "ranker.values.purchase: no such type" in problem
        assert "interaction_types" in problem
        assert told("click", "dismiss"), "the last good profile stays"
