"""Lists that are kept ready are what the feed would answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import orjson
import polars as pl
import pytest

from models.catalogue.snapshots.snapshot import Snapshot
from models.feed.candidates.rules import allowed
from models.feed.lists import SCHEMA, recommendation_lists
from models.feed.scoring.scores import By
from models.recommenders.base import Dataset
from tests.models.worlds import (
    MOMENT,
    PROFILE,
    ago,
    catalogue_of,
    dataset_of,
    interactions_frame,
    shelf_of,
    snapshot_of,
)


@pytest.mark.parametrize("by", ["model", "heuristic"])
def test_lists_are_the_feed(snapshot: Snapshot, by: By) -> None:
    recommender = "lightfm_hybrid" if by == "model" else "heuristic"
    snapshot = replace(snapshot, manifest=replace(snapshot.manifest, recommender=recommender))
    shelf = shelf_of(snapshot)
    users = np.arange(0, 300, 11)
    frame = recommendation_lists(snapshot, PROFILE, users, now=MOMENT)
    assert frame.schema == SCHEMA
    assert frame["user_id"].unique().sort().to_list() == sorted(
        snapshot.users.ids[row] for row in users.tolist()
    )
    for user_id in frame["user_id"].unique():
        viewer = shelf.viewer(user_id)
        ranking = shelf.rank(viewer, by, exclude_seen=True, exclude_applied=True)
        rows = ranking.rows[: PROFILE.recommendations.per_user]
        mine = frame.filter(pl.col("user_id") == user_id)
        assert mine["item_id"].to_list() == shelf.ids(rows)
        assert mine["score"].to_numpy() == pytest.approx(ranking.scores[: len(rows)], abs=1e-5)
        assert mine["rank"].to_list() == list(range(1, len(rows) + 1))
        said = [orjson.loads(reason) for reason in mine["reason"]]
        expected = shelf.reasons(viewer, rows, by)
        assert [one["code"] for one in said] == [one.code for one in expected]
        assert [one["text"] for one in said] == [one.text for one in expected]
        may = allowed(
            shelf.live,
            viewer,
            PROFILE,
            rows,
            now=MOMENT,
            exclude_seen=True,
            exclude_applied=True,
        )
        assert may.all()
    assert set(frame["model_version"]) == {"7"}


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


def test_who_does_not_want_to_be_known_gets_what_everybody_gets() -> None:
    """What they did and chose moves nothing; what they blocked, or have seen, stays away."""
    catalogue = catalogue_of(
        [{"id": "anna", "tags": ["x"]}, {"id": "ben"}, {"id": "carl"}],
        [
            {"id": "mine", "tags": ["x"]},
            {"id": "liked", "tags": ["x"]},
            {"id": "hidden", "tags": ["y"]},
            {"id": "popular"},
        ],
        preferences=[
            {"user_id": "anna", "personalization_enabled": False, "blocked_tags": ["y"]},
        ],
    )
    rows = interactions_frame(
        [("anna", "liked", "apply", ago(days=1))]
        + [(user, "popular", "apply", ago(days=1)) for user in ("ben", "carl")]
    )
    snapshot = snapshot_of(dataset_of(catalogue, rows), interactions=rows)
    frame = recommendation_lists(snapshot, PROFILE, np.array([0]), now=MOMENT)
    assert frame["item_id"].to_list() == ["popular", "mine"]
    assert not {"matches_tags", "because_you_liked_tags", "similar_users"} & {
        orjson.loads(reason)["code"] for reason in frame["reason"]
    }


def test_nobody_and_nothing(snapshot: Snapshot, dataset: Dataset) -> None:
    assert recommendation_lists(snapshot, PROFILE, np.zeros(0, int), now=MOMENT).is_empty()
    empty = snapshot_of(dataset_of(catalogue_of([{"id": "u"}], []), interactions_frame([])))
    frame = recommendation_lists(empty, PROFILE, np.array([0]), now=MOMENT)
    assert frame.is_empty()
    assert frame.schema == SCHEMA
