"""What a viewer likes."""

from __future__ import annotations

import numpy as np

from models.catalogue.live import LiveCatalogue
from models.catalogue.viewers.interests import NO_INTERESTS
from models.catalogue.viewers.viewer import Viewer
from models.data import scorers


def taste_of(live: LiveCatalogue, viewer: Viewer) -> scorers.Taste:
    """What the viewer liked, by tag, category, city and price, and their interests; what they
    turned away from takes off it. Worked out once a request."""
    return viewer.worked_out.value("taste", lambda: _taste(live, viewer))


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
