"""What a viewer likes, and who likes the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.catalogue.live import LiveCatalogue
from models.catalogue.viewers.interests import NO_INTERESTS
from models.catalogue.viewers.viewer import Viewer
from models.data import scorers
from models.data.ragged import Ragged


def taste_of(live: LiveCatalogue, viewer: Viewer) -> scorers.Taste:
    """What the viewer liked, by tag, category, city and price, and their interests; what they
    turned away from takes off it. Worked out once a request."""
    return viewer.worked_out.value("taste", lambda: _taste(live, viewer))


def similar_users(live: LiveCatalogue, viewer: Viewer) -> tuple[NDArray[np.float32], Ragged]:
    """The users most similar to a viewer who has a row: cosine, shape (k,), and what they
    liked, k rows. Looked up once a request."""

    def look_up() -> tuple[NDArray[np.float32], Ragged]:
        neighbours = live.users.neighbours[viewer.row]
        neighbours = neighbours[neighbours >= 0]
        scores = live.users.neighbour_scores[viewer.row][: len(neighbours)]
        return scores, live.users.liked.gather(neighbours)

    return viewer.worked_out.value("similar_users", look_up)


def _taste(live: LiveCatalogue, viewer: Viewer) -> scorers.Taste:
    items, liked = live.items, viewer.liked
    taste = scorers.taste_of(
        viewer.liked_weights,
        items.tags[liked],
        items.category[liked],
        items.city[liked],
        items.price_band[liked],
        n_tags=len(live.tags),
        n_categories=len(live.categories),
        n_cities=len(live.cities),
    )
    if viewer.interests is not NO_INTERESTS:
        learned = viewer.interests.scores()
        for weights, (indices, scores) in zip(taste[:3], learned, strict=True):
            weights[indices] = np.maximum(weights[indices] + scores, 0)
    return taste
