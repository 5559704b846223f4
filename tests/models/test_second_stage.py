"""Rankers behind the best recommender, in the evaluation that says which version goes live."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import polars as pl
import pytest

from models.catalogue.building import Catalogue
from models.data.interactions import splits
from models.evaluation.comparison import Comparison, compare
from models.profile.ranker_settings import KINDS, parts_of
from models.profile.schema import Profile
from models.ranking.training.backtest import with_metadata
from models.ranking.training.second_stage import SecondStage, training_moment
from models.recommenders.base import Dataset, Progress
from models.recommenders.served import ByVectors
from models.recommenders.simple.popularity import PopularityRecommender
from tests.models.worlds import PROFILE, dataset_of


def compared(catalogue: Catalogue, interactions: pl.DataFrame, **ranker: Any) -> Comparison:
    changed = {"recommenders": {"popularity": {}}, "ranker": ranker}
    profile = Profile.model_validate(PROFILE.model_dump() | changed)
    log, share = interactions.lazy(), profile.evaluation.test_share
    split = splits.split_moment(log, share)
    learnt_from = training_moment(log, split, share)
    assert learnt_from < split
    past, earlier = (
        dataset_of(catalogue, interactions, as_of=moment, profile=profile)
        for moment in (split, learnt_from)
    )
    return compare(past, log, earlier=lambda: earlier)


def test_a_ranker_wins_by_being_better_beyond_the_noise(catalogue, interactions) -> None:
    found = compared(catalogue, interactions, kinds=["boosted", "logistic"], min_users=2)
    assert not found.failed
    assert [one.recommender for one in found.evaluations] == [
        "popularity", "popularity-boosted", "popularity-logistic"
    ]  # fmt: skip
    assert found.winner == "popularity-boosted"
    assert "popularity-boosted" in found.verdict
    assert found.vectors is not None
    alone = found.without_ranker("nobody came back")
    assert alone.winner == "popularity"
    assert alone.verdict == f"{found.verdict}; nobody came back"


def test_a_ranker_with_nothing_to_find_does_not_win(catalogue, interactions) -> None:
    at_random = interactions.with_columns(pl.col("item_id").shuffle(seed=1))
    found = compared(catalogue, at_random, kinds=["boosted"], min_users=2)
    assert not found.failed
    assert [one.recommender for one in found.evaluations] == ["popularity", "popularity-boosted"]
    assert found.winner == "popularity"
    assert found.vectors is None


def test_too_little_to_learn_from_leaves_the_recommender_alone(catalogue, interactions) -> None:
    found = compared(catalogue, interactions, min_users=100_000)
    assert found.winner == "popularity"
    assert "ranker.min_users" in found.failed["popularity-boosted"]


@pytest.mark.parametrize(
    ("name", "parts"),
    [("ease", ("ease", None)), ("ease-boosted", ("ease", "boosted"))],
)
def test_names_tell_recommender_and_ranker(name: str, parts: tuple[str, str | None]) -> None:
    assert parts_of(name) == parts


def test_where_all_came_in_one_moment_the_newest_of_each_are_learnt_from(
    catalogue, interactions
) -> None:
    past, log = earlier_part(catalogue, interactions)

    def nothing() -> Dataset:
        raise ValueError("no interactions: nothing to split")

    found = compare(past, log, earlier=nothing)
    assert not found.failed
    assert [one.recommender for one in found.evaluations] == ["popularity", "popularity-boosted"]


def test_what_rankers_share_is_made_once_with_progress(catalogue, interactions) -> None:
    past, log = earlier_part(catalogue, interactions)
    made: list[Dataset] = []
    said: list[str] = []

    def earlier() -> tuple[Dataset, None]:
        made.append(
            dataset_of(catalogue, interactions, as_of=training_began(log), profile=past.profile)
        )
        return made[-1], None

    def progress(what: str) -> Progress:
        said.append(what)
        return lambda *_: None

    vectors = PopularityRecommender().fit(past).vectors
    assert vectors is not None
    before = with_metadata(log.filter(pl.col("occurred_at") < past.as_of))
    base = ByVectors("popularity", vectors, past.histories)
    behind = SecondStage(base, past, before, earlier, progress=progress)
    assert [behind.ranker(kind)[0].kind for kind in KINDS] == list(KINDS)
    assert len(made) == 1
    assert said == [
        "popularity, for the training set of its ranker",
        "popularity-boosted, users of the training set",
        "popularity-logistic, users of the training set",
    ]


def training_began(log: pl.LazyFrame) -> datetime:
    share = PROFILE.evaluation.test_share
    return training_moment(log, splits.split_moment(log, share), share)


def earlier_part(catalogue, interactions) -> tuple[Dataset, pl.LazyFrame]:
    """A small part of the log, and what was known at its split."""
    log = interactions.sort("occurred_at").head(6_000).lazy()
    changed = {"recommenders": {"popularity": {}}, "ranker": {"min_users": 2, "max_users": 60}}
    profile = Profile.model_validate(PROFILE.model_dump() | changed)
    split = splits.split_moment(log, profile.evaluation.test_share)
    return dataset_of(catalogue, log.collect(), as_of=split, profile=profile), log
