"""The ``events`` profile's ranker: its examples, its eight features, and what it refuses."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from models.profile.schema import load_profile
from models.ranking.features.event_features import FEATURES, features
from models.ranking.features.live_features import FEATURES as LIVE
from models.ranking.features.table import FeatureMismatch, Table, check_names, digest
from models.ranking.rankers.logistic import LogisticRanker
from models.ranking.training.examples import examples
from tests.models.worlds import ITEMS, NOW, USERS, ago, interactions_frame


def events(rows: list[tuple[Any, ...]], **facts: list[Any]) -> pl.DataFrame:
    return interactions_frame(rows).with_columns(
        pl.Series(name, values) for name, values in facts.items()
    )


CATALOGUE = pl.DataFrame({"id": [f"e{place}" for place in range(30)]})


def test_the_events_profile_has_it_with_exactly_eight_features() -> None:
    """What serves makes the same values of them: see ``test_events_features_are_those_of_frames``
    of ``test_learned_ranker``."""
    assert "logistic" in load_profile("events").ranker.kinds
    assert FEATURES == tuple(LIVE["logistic"]) == (
        "bias", "overlap_interest_ratio", "overlap_history_ratio", "same_city", "category_match",
        "organizer_match", "popularity", "days_until",
    )  # fmt: skip


def positives(rows: list[tuple[Any, ...]], **facts: list[Any]) -> dict[str, float]:
    found = examples(events(rows, **facts), CATALOGUE).filter(pl.col("label") == 1)
    return dict(zip(found["item_id"], found["weight"], strict=True))


def test_the_strongest_thing_done_to_an_item_counts() -> None:
    rows = [
        ("v", "e1", "view", ago(hours=9)),
        ("v", "e1", "click", ago(hours=8)),
        ("v", "e2", "apply", ago(hours=7)),
        ("v", "e3", "apply", ago(hours=6)),
        ("v", "e4", "save", ago(hours=5)),
        ("v", "e5", "dwell", ago(hours=5)),
        ("v", "e6", "dwell", ago(hours=4)),
        ("v", "e7", "dwell", ago(hours=3)),
        ("v", "e8", "share", ago(hours=2)),
    ]
    seconds = [None, None, None, None, None, 10.0, 600.0, 65.0, None]
    attended = [None, None, True, False, None, None, None, None, None]
    assert positives(rows, seconds=seconds, attended=attended) == pytest.approx(
        {"e1": 0.4, "e2": 1.5, "e3": 1.0, "e4": 1.2, "e5": 0.35, "e6": 0.8, "e7": 0.575, "e8": 0.6}
    )


def test_unapply_takes_the_positive_away() -> None:
    rows = [
        ("v", "e1", "save", ago(hours=9)),
        ("v", "e1", "apply", ago(hours=8)),
        ("v", "e1", "unapply", ago(hours=7)),
        ("v", "e2", "unapply", ago(hours=6)),
        ("v", "e2", "apply", ago(hours=5)),
    ]
    found = examples(events(rows), CATALOGUE)
    assert positives(rows) == {"e2": 1.0}
    gone = found.filter(pl.col("item_id") == "e1")
    assert gone.select("label", "weight").rows() == [(0, 2.0)]


def test_searches_are_weak_and_few() -> None:
    rows = [("v", f"e{place}", "search", ago(hours=place)) for place in range(1, 6)]
    rows.append(("v", "e1", "click", ago(minutes=1)))
    assert positives(rows) == pytest.approx({"e1": 0.4, "e2": 0.15, "e3": 0.15})


def test_negatives_prefer_what_was_shown_and_not_clicked() -> None:
    rows: list[tuple[Any, ...]] = [("v", "e0", "click", ago(hours=1))]
    rows += [("v", f"e{place}", "impression", ago(hours=2)) for place in (0, 1, 2)]
    found = examples(events(rows, position=[None, 1, 2, 6]), CATALOGUE)
    negative = found.filter(pl.col("label") == 0)
    assert len(negative) == 3
    assert negative["item_id"].n_unique() == 3
    weights = dict(zip(negative["item_id"], negative["weight"], strict=True))
    assert "e0" not in weights, "it was clicked"
    assert (weights.pop("e1"), weights.pop("e2")) == (0.25, 0.10)
    assert list(weights.values()) == [0.05], "never shown"
    assert found.equals(examples(events(rows, position=[None, 1, 2, 6]), CATALOGUE))


def people_and_events() -> tuple[pl.DataFrame, pl.DataFrame]:
    users = pl.DataFrame([{"id": "v", "city": "Bonn", "tags": ["jazz"]}], schema=USERS)
    items = [
        {"id": "e1", "tags": ["jazz", "free"], "city": "Bonn", "category": "music"},
        {"id": "e2", "tags": ["free"], "city": "Köln", "category": "music"},
    ]
    starts = {"owner_id": "o1", "starts_at": NOW + timedelta(days=18)}
    return users, pl.DataFrame([item | starts for item in items], schema=ITEMS)


def test_features_are_of_the_moment() -> None:
    users, items = people_and_events()
    past = interactions_frame(
        [
            ("v", "e1", "click", ago(days=2)),
            ("w", "e2", "apply", ago(days=2)),
            ("w", "e2", "apply", ago(hours=1)),
        ]
    )
    pairs = pl.DataFrame(
        {"user_id": ["v", "v"], "item_id": ["e2", "e2"], "occurred_at": [ago(days=3), ago(days=1)]},
        schema_overrides={"occurred_at": pl.Datetime("us", "UTC")},
    )
    table = features(pairs, users, items, past, load_profile("events").interaction_weights)
    assert table.names == FEATURES
    before, after = (dict(zip(table.names, row, strict=True)) for row in table.values.tolist())
    assert before == pytest.approx(
        dict.fromkeys(table.names, 0.0) | {"bias": 1, "days_until": 21 / 180}
    )
    assert after == pytest.approx(
        {
            "bias": 1,
            "overlap_interest_ratio": 0,
            "overlap_history_ratio": 1,
            "same_city": 0,
            "category_match": 1,
            "organizer_match": 1,
            "popularity": np.log(2) / 5,
            "days_until": 19 / 180,
        }
    )


def test_logistic_learns_and_refuses_other_features() -> None:
    rng = np.random.default_rng(1)
    values = rng.random((500, len(FEATURES))).astype(np.float32)
    values[:, 0] = 1
    labels = (values[:, 3] > 0.5).astype(int)
    table = Table(FEATURES, values)
    ranker = LogisticRanker.fit(table, labels, np.ones(500))
    assert int(np.abs(ranker.weights[1:]).argmax()) == 2
    again = LogisticRanker.from_json(ranker.to_json())
    assert (again.decide(table) == ranker.decide(table)).all()
    with pytest.raises(FeatureMismatch):
        again.decide(Table(FEATURES[::-1], values))
    with pytest.raises(FeatureMismatch):
        LogisticRanker.from_json(ranker.to_json() | {"names": [*FEATURES, "weather"]})


def test_other_names_are_refused() -> None:
    with pytest.raises(FeatureMismatch, match="another order"):
        check_names(("a", "b"), ("b", "a"))
    with pytest.raises(FeatureMismatch, match=r"missing: b; not trained on: c"):
        check_names(("a", "b"), ("a", "c"))
    assert digest(("a", "b")) != digest(("b", "a"))
