"""Rankers behind the best recommender, in the evaluation that says which version goes live."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from models import evaluation
from models.catalogue import Catalogue
from models.profile import Profile
from models.ranking.second_stage import lesson_moment
from models.ranking.settings import parts_of
from models.training import Comparison, compare
from tests.models.worlds import PROFILE, dataset_of


def compared(catalogue: Catalogue, interactions: pl.DataFrame, **ranker: Any) -> Comparison:
    changed = {"recommenders": {"popularity": {}}, "ranker": ranker}
    profile = Profile.model_validate(PROFILE.model_dump() | changed)
    log, share = interactions.lazy(), profile.evaluation.test_share
    split = evaluation.split_moment(log, share)
    lesson = lesson_moment(log, split, share)
    assert lesson < split
    past, earlier = (
        dataset_of(catalogue, interactions, as_of=moment, profile=profile)
        for moment in (split, lesson)
    )
    return compare(past, log, earlier=earlier)


def test_a_ranker_wins_by_being_better_beyond_the_noise(catalogue, interactions) -> None:
    found = compared(catalogue, interactions, kinds=["boosted", "logistic"], min_users=2)
    assert not found.failed
    ndcg = {one.recommender: one.metrics[f"ndcg@{found.k}"] for one in found.evaluations}
    assert list(ndcg) == ["popularity", "popularity-boosted", "popularity-logistic"]
    best = max(ndcg, key=lambda name: ndcg[name])
    stands, *_ = evaluation.not_worse(
        found.of("popularity").per_user["ndcg"], found.of(best).per_user["ndcg"]
    )
    assert found.winner == ("popularity" if stands else best)
    assert best in found.verdict or best == "popularity"


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
