"""Why an item is in the feed, from what made its score."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.catalogue.live import LiveCatalogue
from models.catalogue.viewers.viewer import Indices, Viewer
from models.data.scorers import Scores
from models.feed.scoring.scorers import SCORERS
from models.feed.scoring.scores import MODEL, weighed_scores
from models.feed.scoring.wording import ENGLISH, FOR_YOU, SIMILAR, Reason, Wording, texts_of
from models.profile.schema import Profile

__all__ = ["ENGLISH", "FOR_YOU", "SIMILAR", "Reason", "reasons", "texts_of"]


def reasons(
    live: LiveCatalogue,
    viewer: Viewer,
    profile: Profile,
    rows: Indices,
    components: Mapping[str, Scores],
    explored: NDArray[np.bool_] | None = None,
) -> list[Reason]:
    """One reason an item: of the components that are high enough to speak of (``Scorer.claim``),
    the one that lifts it most above an ordinary item.

    Where the model ranked, popularity counts by as much as the item's bias made its score,
    and what speaks of taste by as much as the user's vector did.

    Args:
        rows: of the page's items, shape (n,).
        components: as ``models.feed.pipeline.explained``.
        explored: items that exploration put there.
    """
    if len(rows) == 0:
        return []
    weights = profile.scorer_weights
    names = [name for name, weight in weights.items() if weight > 0 and name in components]
    if not names:
        return [FOR_YOU] * len(rows)
    scores = np.minimum(np.stack([components[name] for name in names]), 1)
    least = np.array([[SCORERS[name].claim] for name in names], np.float32)
    usual = np.array([[live.usual.get(name, 0.0)] for name in names], np.float32)
    share = np.array([[weights[name]] for name in names], np.float32)
    with np.errstate(invalid="ignore"):
        lift = np.where(scores >= least, scores - usual, 0) * share
    if MODEL in components:
        of_taste = _share_of_taste(live, viewer, rows)
        everybody = np.array([[name in live.usual] for name in names])
        lift = lift * np.where(everybody, 1 - of_taste, of_taste)
    best, top = lift.argmax(axis=0).tolist(), lift.max(axis=0).tolist()
    wording = Wording(live, viewer, profile, rows)
    new = explored.tolist() if explored is not None else [False] * len(rows)
    return [
        Reason("new_here", {})
        if new[index]
        else SCORERS[names[best[index]]].reason(wording, index, row)
        if top[index] > 0
        else FOR_YOU
        for index, row in enumerate(rows.tolist())
    ]


def _share_of_taste(live: LiveCatalogue, viewer: Viewer, rows: Indices) -> NDArray[np.float32]:
    """Of what lifts each item, the user's vector's part, in [0, 1].

    What is recommended is mostly popular too, so popularity counts only as far as it sets an
    item apart from the others of the page.
    """
    if live.snapshot.tables:
        parts = weighed_scores(live, viewer, rows)
        liked_by_all = parts.pop("popularity", np.zeros(len(rows), np.float32))
        own = np.maximum(sum(parts.values(), np.zeros(len(rows), np.float32)), 1e-6)
        popular = np.maximum(liked_by_all - liked_by_all.mean(), 1e-6)
        return np.asarray(own / (own + popular), np.float32)
    assert viewer.vector is not None, "the model's score is among the components"
    user, bias = viewer.vector, live.items.bias[rows]
    mean = float(user @ live.score_statistics.vector)
    taste = np.maximum(live.items.vectors[rows] @ user - mean, 1e-6)
    popular = np.maximum(bias - bias.mean(), 1e-6)
    return (taste / (taste + popular)).astype(np.float32)
