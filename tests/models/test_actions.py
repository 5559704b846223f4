"""A value for each action: what users did, how likely it is, and what an item is worth by it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from models.catalogue.building import Catalogue
from models.catalogue.snapshots.snapshot import Snapshot
from models.data.interactions import splits
from models.feed.candidates.sources import RANKED
from models.profile.ranker_settings import BoostedSettings
from models.profile.schema import Profile
from models.ranking.features.table import Table
from models.ranking.learned import LearnedRanker
from models.ranking.rankers.actions import ActionChances, worth
from models.ranking.training.action_fitting import LEAST_DONE
from models.ranking.training.backtest import with_metadata
from models.ranking.training.fitting import Report
from models.ranking.training.second_stage import SecondStage
from models.ranking.training.training_set import _visits
from models.recommenders.served import ByVectors
from models.recommenders.simple.popularity import PopularityRecommender
from tests.models.worlds import (
    PROFILE,
    Shelf,
    ago,
    dataset_of,
    interactions_frame,
    patient,
    shelf_of,
    shelf_of_rows,
)

VALUES = {"click": 1.0, "purchase": 5.0, "dismiss": -3.0}
PURCHASE = {"purchase": {"weight": 10, "wanted": True, "counts_as": "conversion"}}
SMALL: dict[str, Any] = {
    "min_users": 10,
    "max_users": 150,
    "boosted": BoostedSettings(rounds=20, min_leaf=50).model_dump(),
}


def profile_of(values: dict[str, float], **sections: Any) -> Profile:
    ranker = PROFILE.ranker.model_dump() | SMALL | {"values": values}
    changed = {"interaction_types": PURCHASE, "ranker": ranker} | sections
    return Profile.model_validate(PROFILE.model_dump() | changed)


# What a user did.


def test_what_was_undone_was_not_done() -> None:
    values = {"apply": 5.0, "save": 1.0, "dismiss": -1.0, "dwell": 1.0}
    profile = Profile.model_validate(
        PROFILE.model_dump() | {"ranker": PROFILE.ranker.model_dump() | {"values": values}}
    )
    shelf = shelf_of_rows([{"id": "u"}], [{"id": name} for name in "abcdef"])
    rows = [
        ("u", "a", "apply", ago(hours=5)), ("u", "a", "unapply", ago(hours=4)),
        ("u", "b", "unapply", ago(hours=5)), ("u", "b", "apply", ago(hours=4)),
        ("u", "c", "dismiss", ago(hours=5)), ("u", "c", "save", ago(hours=4)),
        ("u", "d", "save", ago(hours=5)), ("u", "d", "dismiss", ago(hours=4)),
        ("u", "e", "dwell", ago(hours=4)), ("u", "f", "dwell", ago(hours=4)),
    ]  # fmt: skip
    later = with_metadata(interactions_frame(rows).lazy()).with_columns(
        seconds=pl.when(pl.col("item_id") == "e").then(2.0).otherwise(60.0)
    )
    [(_, visit)] = _visits(shelf.live, profile, later)
    names = list(profile.ranker.values)
    done = {
        shelf.live.item_id(row): {name for name, did in zip(names, dids, strict=True) if did}
        for row, dids in zip(visit.items.tolist(), visit.done.tolist(), strict=True)
        if any(dids)
    }
    assert done == {
        "b": {"apply"}, "c": {"save"}, "d": {"save", "dismiss"}, "f": {"dwell"}
    }  # fmt: skip


# The maths.


@settings(max_examples=50)
@given(
    st.lists(st.floats(-10, 10), min_size=1, max_size=5).filter(lambda each: max(each) > 0.01),
    st.integers(0, 2**32 - 1),
)
def test_what_an_item_is_worth_is_its_weighed_sum(values: list[float], seed: int) -> None:
    chances = np.random.default_rng(seed).random((30, len(values)))
    found = worth(chances, values)
    assert ((found >= -1e-9) & (found <= 1 + 1e-9)).all()
    total = chances @ np.array(values)
    assert (np.diff(found[np.argsort(total)]) >= -1e-9).all()
    best = (np.array(values) > 0).astype(float)
    assert worth(np.stack([best, 1 - best]), values) == pytest.approx([1, 0], abs=1e-9)


NAMES = ("recommender.score", "item.click_rate")


def chances_of(rng: np.random.Generator, n: int = 6_000) -> tuple[ActionChances, Any]:
    """Of actions that follow a law: clicks rise with both columns, dismissals fall with one."""

    def rows() -> tuple[Table, np.ndarray, np.ndarray]:
        values = rng.standard_normal((n, 2)).astype(np.float32)
        law = np.stack([values[:, 0] + values[:, 1] - 2, -1.5 * values[:, 0] - 4], axis=1)
        done = rng.random(law.shape) < 1 / (1 + np.exp(-law))
        return Table(NAMES, values), done, values[:, 0] + rng.standard_normal(n)

    table, done, _ = rows()
    found = ActionChances.fit({"click": 1, "dismiss": -1}, table, done, np.ones(n))
    usual = found.of(table, np.zeros(n))
    assert usual == pytest.approx(np.tile(done.mean(axis=0), (n, 1)))
    learnt = done
    table, done, scores = rows()
    return found.calibrated(table, scores, done, learnt), rows


def test_chances_mean_what_they_say(rng: np.random.Generator) -> None:
    found, rows = chances_of(rng)
    table, done, scores = rows()
    said = found.of(table, scores)
    for action in range(2):
        parts = np.array_split(np.argsort(said[:, action]), 10)
        error = [abs(said[part, action].mean() - done[part, action].mean()) for part in parts]
        assert np.mean(error) < 0.02
    assert said[:, 1].max() > 10 * said[:, 1].min()


def test_what_a_first_stage_says_never_counts_against_an_item(rng: np.random.Generator) -> None:
    """Whatever the data say: here that who is recommended an item dismisses it."""
    n = 5_000
    values = rng.standard_normal((n, 2)).astype(np.float32)
    odd = np.stack([values[:, 0] < -1, values[:, 0] > 1], axis=1)
    table = Table(NAMES, values)
    found = ActionChances.fit({"click": 1, "dismiss": -1}, table, odd, np.ones(n))
    found = found.calibrated(table, values[:, 0], odd, odd)
    assert found.weights[0].tolist() == [0, 0]
    grid = np.stack([np.linspace(-2, 2, 9), np.zeros(9)], axis=1).astype(np.float32)
    said = found.of(Table(NAMES, grid), grid[:, 0])
    assert (np.diff(said[:, 0]) >= -1e-9).all()
    assert (np.diff(said[:, 1]) <= 1e-9).all()


# Training.


@pytest.fixture(scope="module")
def bought(interactions: pl.DataFrame) -> pl.DataFrame:
    """Applications are purchases, a type of the profile's own."""
    return interactions.with_columns(pl.col("type").replace({"apply": "purchase"}))


@pytest.fixture(scope="module")
def learnt(catalogue: Catalogue, bought: pl.DataFrame) -> Any:
    """Trains behind popularity by values."""
    split = splits.split_moment(bought.lazy(), 0.4)

    def learn(values: dict[str, float], kind: Any = "boosted") -> tuple[LearnedRanker, Report]:
        known = dataset_of(catalogue, bought, as_of=split, profile=profile_of(values))
        vectors = PopularityRecommender().fit(known).vectors
        assert vectors is not None
        base = ByVectors("popularity", vectors, known.histories)
        events = with_metadata(bought.lazy())
        return SecondStage(base, known, events, lambda: (known, vectors)).ranker(kind)

    return learn


@pytest.fixture(scope="module")
def plain(learnt: Any) -> LearnedRanker:
    return learnt({})[0]


@pytest.fixture(scope="module")
def valued(learnt: Any) -> tuple[LearnedRanker, Report]:
    return learnt(VALUES | {"share": 2.0})


def test_each_action_is_learnt_and_judged(
    valued: tuple[LearnedRanker, Report], plain: LearnedRanker
) -> None:
    learned, report = valued
    assert report.actions is not None
    assert set(report.actions.of) == set(VALUES)
    for of_action in report.actions.of.values():
        assert of_action.done >= LEAST_DONE / 2
        assert 0 < of_action.base_rate < 0.5
        assert of_action.calibration_error < 0.05
        assert of_action.log_loss < of_action.base_log_loss * 1.1
    assert report.actions.of["click"].log_loss < report.actions.of["click"].base_log_loss
    [(left_out, why)] = report.actions.left_out.items()
    assert left_out == "share"
    assert f"at least {LEAST_DONE}" in why
    assert learned.weighed(VALUES) == tuple(VALUES)
    assert learned.weighed({"dismiss": -3.0, "share": 2.0}) == (), "nothing that is wanted"
    assert report.actions.value > 0
    # the ranker itself is the same as without values
    without = json.loads(plain.to_bytes()) | {"actions": None}
    assert json.loads(learned.to_bytes()) | {"actions": None} == without


def test_it_is_kept_and_older_files_rank_on(
    valued: tuple[LearnedRanker, Report], plain: LearnedRanker, rng: np.random.Generator
) -> None:
    learned, _ = valued
    again = LearnedRanker.from_bytes(learned.to_bytes())
    table = Table(learned.names, rng.random((20, len(learned.names))).astype(np.float32))
    assert learned.actions is not None
    assert again.actions is not None
    scores = learned.predict(table)
    np.testing.assert_array_equal(
        again.actions.of(table, scores), learned.actions.of(table, scores)
    )
    content = json.loads(plain.to_bytes())
    del content["actions"]
    older = LearnedRanker.from_bytes(json.dumps(content).encode())
    assert older.actions is None
    broken = json.loads(learned.to_bytes())
    del broken["actions"]["platt"]
    with pytest.raises(ValueError, match="not a ranker"):
        LearnedRanker.from_bytes(json.dumps(broken).encode())


def test_the_eight_features_have_chances_too(learnt: Any) -> None:
    learned, report = learnt(VALUES, "logistic")
    assert set(report.actions.of) == set(VALUES)
    assert learned.weighed(VALUES) == tuple(VALUES)


# The feed.


def ranked(snapshot: Snapshot, learned: LearnedRanker, values: dict[str, float]) -> Shelf:
    profile = patient(ranker=profile_of(values).ranker.model_dump(), interaction_types=PURCHASE)
    return shelf_of(snapshot, profile, learned)


def test_values_order_the_feed_without_a_training(
    snapshot: Snapshot, valued: tuple[LearnedRanker, Report], plain: LearnedRanker, busy: str
) -> None:
    learned, _ = valued
    without = ranked(snapshot, plain, VALUES).rank(busy, "model")
    assert without.chances.shape[1] == 0, "a version that knows of none"
    off = ranked(snapshot, learned, {}).rank(busy, "model")
    for column in vars(off):
        np.testing.assert_array_equal(getattr(off, column), getattr(without, column))
    found = {}
    for label, values in (("sales", {"purchase": 5.0}), ("peace", VALUES | {"dismiss": -500.0})):
        ranking = found[label] = ranked(snapshot, learned, values).rank(busy, "model")
        looked_at = ranking.sources & RANKED > 0
        chances = ranking.chances[looked_at]
        assert ranking.chances.shape[1] == len(values)
        assert ((chances > 0) & (chances < 1)).all()
        assert np.isnan(ranking.chances[~looked_at]).all()
        expected = worth(chances, list(values.values()))
        np.testing.assert_allclose(ranking.scores[looked_at], expected, atol=1e-6)
        assert set(ranking.rows[looked_at]) == set(off.rows[off.sources & RANKED > 0])
    first = slice(0, 20)
    assert found["sales"].rows[first].tolist() != off.rows[first].tolist()
    [dismissed] = {name: i for i, name in enumerate(VALUES) if name == "dismiss"}.values()
    peace = found["peace"].chances[:, dismissed]
    assert peace[first].mean() < np.nanmean(peace), "what is dismissed sinks"


def test_one_action_ranks_as_without_values(
    snapshot: Snapshot, learnt: Any, plain: LearnedRanker, busy: str
) -> None:
    learned, report = learnt({"purchase": 5.0})
    assert report.actions.value == report.actions.ranker_value
    one = ranked(snapshot, learned, {"purchase": 5.0}).rank(busy, "model")
    none = ranked(snapshot, plain, {}).rank(busy, "model")
    assert one.rows.tolist() == none.rows.tolist()
    np.testing.assert_array_equal(one.scores, none.scores)
    chances = one.chances[one.sources & RANKED > 0, 0]
    assert ((chances > 0) & (chances < 1)).all()


# The profile.


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"buy": 1}, "ranker.values.buy: no such type; there are view, click"),
        ({"impression": 1}, "ranker.values.impression: nothing that a user does with an item"),
        ({"search": 1}, "ranker.values.search: nothing that a user does with an item"),
        ({"dismiss": -1}, "ranker.values: at least one value must be above 0"),
        ({"click": "much"}, "ranker.values.click"),
    ],
)
def test_wrong_values_are_refused_by_name(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as refused:
        profile_of(values)
    told = str(refused.value).replace("ranker.values.click\n", "ranker.values.click: ")
    assert message in told
