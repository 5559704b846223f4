"""Lists that are kept ready are what the feed would answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import orjson
import polars as pl
import pytest

from models import lists
from models.lists import SCHEMA, recommendation_lists
from models.ranker import By, eligible, rank, viewer_of
from models.reasons import reasons
from models.recommenders.base import Dataset
from models.snapshot import Snapshot
from tests.models.worlds import (
    NOW,
    PROFILE,
    ago,
    catalogue_of,
    dataset_of,
    interactions_frame,
    snapshot_of,
)

MOMENT = NOW.timestamp()


@pytest.mark.parametrize("by", ["model", "heuristic"])
def test_lists_are_the_feed(snapshot: Snapshot, by: By, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "BLOCK_SCORES", 7 * len(snapshot.items.ids))  # several blocks
    recommender = "lightfm_hybrid" if by == "model" else "heuristic"
    snapshot = replace(snapshot, manifest=replace(snapshot.manifest, recommender=recommender))
    users = np.arange(0, 300, 11)
    frame = recommendation_lists(snapshot, PROFILE, users, now=MOMENT)
    assert frame.schema == SCHEMA
    for user in users:
        user_id = snapshot.users.ids[int(user)]
        viewer = viewer_of(snapshot, user_id)
        ranking = rank(
            snapshot,
            viewer,
            PROFILE,
            now=MOMENT,
            by=by,
            exclude_seen=True,
            exclude_applied=True,
            limit=PROFILE.recommendations.per_user,
        )
        mine = frame.filter(pl.col("user_id") == user_id)
        assert mine["item_id"].to_list() == [snapshot.items.ids[int(i)] for i in ranking.items]
        assert mine["score"].to_numpy() == pytest.approx(ranking.scores, abs=1e-5)
        assert mine["rank"].to_list() == list(range(1, len(ranking.items) + 1))
        said = [orjson.loads(reason)["code"] for reason in mine["reason"]]
        assert said == [one.code for one in reasons(snapshot, viewer, PROFILE, ranking)]
        allowed = eligible(snapshot, viewer, PROFILE, now=MOMENT, exclude_seen=True)
        assert allowed[ranking.items].all()


def test_ties_are_as_in_the_feed(dataset: Dataset) -> None:
    """Without vectors all scores are equal, and the first items win on both sides."""
    flat = snapshot_of(dataset)
    frame = recommendation_lists(flat, PROFILE, np.array([5]), now=MOMENT)
    viewer = viewer_of(flat, flat.users.ids[5])
    ranking = rank(
        flat, viewer, PROFILE, now=MOMENT, by="model", exclude_seen=True, limit=len(frame)
    )
    assert frame["item_id"].to_list() == [flat.items.ids[int(item)] for item in ranking.items]
    assert (np.diff(ranking.items) > 0).all()


@pytest.mark.parametrize("recommender", ["lightfm_hybrid", "heuristic"])
def test_never_seen_own_or_unpublished(recommender: str) -> None:
    catalogue = catalogue_of(
        [{"id": "anna"}, {"id": "ben"}],
        [
            {"id": "seen"},
            {"id": "own", "owner_id": "anna"},
            {"id": "draft", "status": "draft"},
            {"id": "new"},
        ],
    )
    rows = interactions_frame(
        [("anna", "seen", "dismiss", ago(days=1))]
        + [("ben", item, "view", ago(days=1)) for item in ("seen", "own", "draft", "new")]
    )
    snapshot = snapshot_of(dataset_of(catalogue, rows), recommender=recommender)
    frame = recommendation_lists(snapshot, PROFILE, np.array([0, 1]), now=MOMENT)
    assert frame.select("user_id", "item_id").rows() == [("anna", "new")]  # ben has seen all


def test_nobody_and_nothing(snapshot: Snapshot) -> None:
    assert recommendation_lists(snapshot, PROFILE, np.zeros(0, int), now=MOMENT).is_empty()
    empty = snapshot_of(dataset_of(catalogue_of([{"id": "u"}], []), interactions_frame([])))
    frame = recommendation_lists(empty, PROFILE, np.array([0]), now=MOMENT)
    assert frame.is_empty()
    assert frame.schema == SCHEMA
