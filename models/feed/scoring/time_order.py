"""The order of ``sort=time``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.catalogue.live import LiveCatalogue
from models.catalogue.viewers.viewer import Indices
from models.profile.schema import Profile


def appearance(live: LiveCatalogue, rows: Indices) -> NDArray[np.float64]:
    """When each item appeared: made or published, whichever came later. -inf: not known."""
    when = np.fmax(live.items.created_at[rows], live.items.publish_at[rows])
    return np.where(np.isnan(when), -np.inf, when)


def time_key(live: LiveCatalogue, profile: Profile, rows: Indices) -> NDArray[np.float64]:
    """What ``sort=time`` sorts by, the highest first: the newest, or what starts soonest."""
    if profile.eligibility.time_order == "newest":
        return appearance(live, rows)
    starts = live.items.starts_at[rows]
    return np.where(np.isnan(starts), -np.inf, -starts)
