"""Feeds of many users at once: the lists that are kept ready."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import orjson
import polars as pl
from numpy.typing import NDArray

from models.profile import Profile
from models.ranker import (
    MODEL,
    Ranking,
    Viewer,
    eligible,
    rank,
    score_components,
    top_places,
    unit_scores,
    viewer_of,
)
from models.reasons import reasons
from models.snapshot import Snapshot

SCHEMA = {
    "user_id": pl.String,
    "item_id": pl.String,
    "rank": pl.Int16,
    "score": pl.Float32,
    "reason": pl.String,
    "model_version": pl.String,
}
BLOCK_SCORES = 20_000_000
"""Scores held at once (80 MB)."""


def recommendation_lists(
    snapshot: Snapshot, profile: Profile, users: NDArray[np.integer], *, now: float
) -> pl.DataFrame:
    """The best items of each user that they have not touched, with reasons.

    Args:
        users: rows of the snapshot.
        now: epoch seconds.

    Returns:
        A frame of ``SCHEMA``; ``reason`` is JSON with code, parameters and text.
    """
    limit = profile.recommendations.per_user
    frames = [pl.DataFrame(schema=SCHEMA)]
    if snapshot.manifest.recommender == "heuristic":
        rankings = _by_heuristic(snapshot, profile, users, now, limit)
    else:
        rankings = _by_model(snapshot, profile, users, now, limit)
    for viewer, ranking in rankings:
        assert viewer.user is not None
        why = [
            orjson.dumps(
                {"code": one.code, "parameters": one.parameters, "text": one.text}
            ).decode()
            for one in reasons(snapshot, viewer, profile, ranking)
        ]
        frames.append(
            pl.DataFrame(
                {
                    "user_id": snapshot.users.ids[viewer.user],
                    "item_id": [snapshot.items.ids[int(item)] for item in ranking.items],
                    "rank": np.arange(1, len(ranking.items) + 1, dtype=np.int16),
                    "score": ranking.scores,
                    "reason": why,
                    "model_version": snapshot.manifest.model_version,
                },
                schema=SCHEMA,
            )
        )
    return pl.concat(frames)


def _by_heuristic(
    snapshot: Snapshot, profile: Profile, users: NDArray[np.integer], now: float, limit: int
) -> Iterator[tuple[Viewer, Ranking]]:
    for user in users:
        viewer = viewer_of(snapshot, snapshot.users.ids[int(user)])
        yield (
            viewer,
            rank(
                snapshot,
                viewer,
                profile,
                now=now,
                by="heuristic",
                exclude_seen=True,
                exclude_applied=True,
                limit=limit,
            ),
        )


def _by_model(
    snapshot: Snapshot, profile: Profile, users: NDArray[np.integer], now: float, limit: int
) -> Iterator[tuple[Viewer, Ranking]]:
    """As ``rank`` does for one viewer, with one product of matrices a block of users."""
    items = snapshot.items
    anyone = eligible(snapshot, viewer_of(snapshot, None), profile, now=now)
    candidates = np.flatnonzero(anyone)
    vectors, bias = items.vectors[candidates], items.bias[candidates]
    column = np.cumsum(anyone) - 1
    if not len(candidates):
        return
    owners = items.owner[candidates]
    block = max(1, BLOCK_SCORES // len(candidates))
    for start in range(0, len(users), block):
        rows = users[start : start + block]
        scores = snapshot.users.vectors[rows] @ vectors.T + bias
        touched = snapshot.users.seen.gather(rows)
        inside = anyone[touched.indices]
        scores[touched.row_of_entry()[inside], column[touched.indices[inside]]] = -np.inf
        if profile.eligibility.exclude_own:
            for place in np.flatnonzero(snapshot.users.owner[rows] >= 0):
                scores[place, owners == snapshot.users.owner[rows[place]]] = -np.inf
        for user, of_user in zip(rows, scores, strict=True):
            left = of_user[of_user > -np.inf]
            if not len(left):
                continue
            chosen = top_places(of_user, min(limit, len(left)))
            viewer = viewer_of(snapshot, snapshot.users.ids[int(user)])
            page = candidates[chosen].astype(np.int32)
            components = score_components(snapshot, viewer, profile, page, now=now)
            components[MODEL] = unit_scores(of_user[chosen], left.mean(), left.std())
            yield viewer, Ranking(page, components[MODEL], len(left), components)
