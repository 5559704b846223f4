"""Scores of a viewer's items: the recommender's, the hybrid's, time's; and what made each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from models.catalogue.live import LiveCatalogue
from models.catalogue.tables.scores import MOST_STANDARD, ViewerScores
from models.catalogue.tables.stored import VECTORS
from models.catalogue.viewers.viewer import Indices, Viewer
from models.data import scorers
from models.feed.scoring.scorers import SCORERS, Pairs
from models.feed.scoring.time_order import time_key
from models.profile.feed_sections import ScorerName
from models.profile.schema import Profile

By = Literal["model", "heuristic", "time"]
MODEL, RANKER, TABLE, PROBABILITY = "model", "ranker", "table.", "probability."
"""Names of the components that hold the recommender's own score, what the ranker shows, and, before
a table's name, what ``table_shares`` gives; before an action's, how likely it is."""


def scores_of(
    live: LiveCatalogue, viewer: Viewer, profile: Profile, rows: Indices, by: By, now: float
) -> NDArray[np.floating]:
    """What to order these items by, shape (n,)."""
    if by == "model":
        return model_scores(live, viewer, rows)
    if by == "heuristic":
        components = score_components(live, viewer, profile, rows, now=now)
        return scorers.hybrid(components, profile.scorer_weights, len(rows))
    return time_key(live, profile, rows)


def shown_scores(
    live: LiveCatalogue,
    viewer: Viewer,
    profile: Profile,
    scores: NDArray[np.floating],
    by: By,
    now: float,
) -> scorers.Scores:
    """The same in the units that people see, in the same order."""
    if by == "model":
        return unit_scores(scores, *usual_scores(live, viewer))
    if by == "time":
        return time_scores(scores, profile, now)
    return scores.astype(np.float32, copy=False)


def time_scores(key: NDArray[np.floating], profile: Profile, now: float) -> scorers.Scores:
    """Scores in [0, 1] of what ``time_key`` gave: 1 now, half after the profile's half-life."""
    moment = key if profile.eligibility.time_order == "newest" else 2 * now + key
    return np.nan_to_num(
        np.clip(scorers.recency(moment, now, profile.scorers.recency_half_life_days), 0, 1)
    )


def model_scores(live: LiveCatalogue, viewer: Viewer, rows: Indices) -> NDArray[np.float32]:
    """``user vector · item vector + item bias`` of each item, unbounded; where the version has
    tables, the weighted sum of their standard scores and that one's."""
    if not live.snapshot.tables:
        return vector_scores(live, viewer, rows)
    total = np.zeros(len(rows), np.float32)
    for scores in weighed_scores(live, viewer, rows).values():
        total += scores
    if not live.items.vectors.shape[1]:
        total += live.items.bias[rows]  # decides between items that are level otherwise
    return total


def vector_scores(live: LiveCatalogue, viewer: Viewer, rows: Indices) -> NDArray[np.float32]:
    """``user vector · item vector + item bias`` of each item, unbounded."""
    if viewer.vector is None:
        raise ValueError("the model does not know this user")
    scores = live.items.vectors[rows] @ viewer.vector + live.items.bias[rows]
    if not np.isfinite(scores).all():
        raise FloatingPointError("the model's scores are not finite")
    return scores


def table_scores(live: LiveCatalogue, viewer: Viewer) -> Mapping[str, ViewerScores]:
    """What each table says for the viewer. Worked out once a request."""

    def make() -> Mapping[str, ViewerScores]:
        likes = live.users.liked
        return {name: table.ask(viewer, likes) for name, table in live.snapshot.tables.items()}

    return viewer.worked_out.value("table_scores", make)


def standard_scores(
    live: LiveCatalogue, viewer: Viewer, rows: Indices
) -> Mapping[str, NDArray[np.float32]]:
    """Of each table, and of the vectors where there are some: how many standard deviations each
    item stands above the mean of all. Worked out once a request for each item."""

    def make() -> dict[str, NDArray[np.float32]]:
        parts = {name: table.standard(rows) for name, table in table_scores(live, viewer).items()}
        if live.items.vectors.shape[1]:
            mean, spread = _moments(live, viewer)
            standard = (vector_scores(live, viewer, rows) - mean) / (spread if spread > 0 else 1.0)
            parts[VECTORS] = np.clip(standard, -MOST_STANDARD, MOST_STANDARD).astype(np.float32)
        return parts

    return viewer.worked_out.columns("standard_scores", rows, (live.version,), make)


def weighed_scores(
    live: LiveCatalogue, viewer: Viewer, rows: Indices
) -> dict[str, NDArray[np.float32]]:
    """What each table that the blend weighs adds to ``model_scores``, and the vectors."""
    weights = live.snapshot.blend.weights
    return {
        name: np.float32(weights[name]) * scores
        for name, scores in standard_scores(live, viewer, rows).items()
        if weights.get(name, 0.0) > 0
    }


def table_shares(
    live: LiveCatalogue, viewer: Viewer, rows: Indices
) -> dict[str, NDArray[np.float32]]:
    """The share that each table has of what lifts an item above an ordinary one, in [0, 1]; NaN
    where nothing lifts it."""
    lifts = {
        name: np.maximum(scores, 0) for name, scores in weighed_scores(live, viewer, rows).items()
    }
    total = sum(lifts.values(), np.zeros(len(rows), np.float32))
    missing = np.full(len(rows), np.nan, np.float32)
    return {
        name: np.divide(lift, total, out=missing.copy(), where=total > 0)
        for name, lift in lifts.items()
    }


def usual_scores(live: LiveCatalogue, viewer: Viewer) -> tuple[float, float]:
    """Mean and spread of the viewer's scores over all items; of a blend, what is usual among the
    best for anybody."""
    if live.snapshot.tables:
        return live.snapshot.blend.centre, live.snapshot.blend.spread
    return _moments(live, viewer)


def _moments(live: LiveCatalogue, viewer: Viewer) -> tuple[float, float]:
    """Mean and spread of what ``vector_scores`` gives all items. Worked out once a request."""
    vector = viewer.vector
    if vector is None:
        raise ValueError("the model does not know this user")
    return viewer.worked_out.value("of_scores", lambda: live.score_statistics.of_scores(vector))


def unit_scores(scores: NDArray[np.floating], mean: float, spread: float) -> scorers.Scores:
    """Logistic of the standard score among all items: in [0, 1], comparable between users."""
    standard = (scores - mean) / (spread if spread > 0 else 1.0)
    return np.asarray(expit(standard), np.float32)


def score_components(
    live: LiveCatalogue,
    viewer: Viewer,
    profile: Profile,
    rows: Indices,
    *,
    now: float,
) -> dict[str, scorers.Scores]:
    """Every scorer of the profile for each item; NaN where a component is missing."""
    components = all_components(live, viewer, profile, rows, now=now)
    return {name: components[name] for name in profile.scorer_weights}


def all_components(
    live: LiveCatalogue,
    viewer: Viewer,
    profile: Profile,
    rows: Indices,
    *,
    now: float,
) -> dict[ScorerName, scorers.Scores]:
    """The same of every scorer there is. Worked out once a request for each item."""

    def make() -> dict[ScorerName, scorers.Scores]:
        missing = np.full(len(rows), np.nan, np.float32)
        pairs = Pairs(live, viewer, profile, rows, now)
        scored = {name: scorer.score(pairs) for name, scorer in SCORERS.items()}
        return {name: missing if scores is None else scores for name, scores in scored.items()}

    return viewer.worked_out.columns("components", rows, (live.version, profile, now), make)


def explained(
    live: LiveCatalogue,
    viewer: Viewer,
    profile: Profile,
    rows: Indices,
    *,
    now: float,
    by: By = "model",
) -> dict[str, scorers.Scores]:
    """The components of a page, with the model's own score where it ranked for the viewer."""
    components = {
        name: np.minimum(scores, 1)  # the boost of what is fresh puts it above others, no more
        for name, scores in score_components(live, viewer, profile, rows, now=now).items()
    }
    if by == "model" and viewer.vector is not None and live.snapshot.personal:
        components[MODEL] = unit_scores(
            model_scores(live, viewer, rows), *usual_scores(live, viewer)
        )
    return components
