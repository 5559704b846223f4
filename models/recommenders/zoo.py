"""Every recommender by name. A new one is a small file beside this, its settings in
``settings.py``, and a line in both."""

from __future__ import annotations

from collections.abc import Callable

from models.profile.recommender_settings import BySection
from models.profile.schema import Profile
from models.recommenders.base import Recommender
from models.recommenders.factorisation.als import ALS
from models.recommenders.factorisation.bpr import BPR
from models.recommenders.factorisation.lightfm import LightFM
from models.recommenders.factorisation.lightfm_hybrid import LightFMHybrid
from models.recommenders.factorisation.nmf import NMF
from models.recommenders.neighbours.ease import EASE
from models.recommenders.neighbours.knn import ItemKNN, UserKNN
from models.recommenders.simple.heuristic import Heuristic
from models.recommenders.simple.popularity import PopularityRecommender

_KINDS: tuple[type[Recommender], ...] = (
    LightFMHybrid,
    LightFM,
    ALS,
    BPR,
    NMF,
    EASE,
    ItemKNN,
    UserKNN,
    PopularityRecommender,
    Heuristic,
)
ZOO: dict[str, type[Recommender]] = {kind.name: kind for kind in _KINDS}


def make(name: str, profile: Profile) -> Recommender:
    """A recommender, untrained, with its settings in the profile, or else its defaults.

    Raises:
        ValueError: there is no such recommender.
    """
    if name not in ZOO:
        raise ValueError(f"no recommender {name!r}; there are {', '.join(ZOO)}")
    kind: Callable[..., Recommender] = ZOO[name]
    settings = profile.recommenders.get(name)
    return kind() if settings is None or isinstance(settings, BySection) else kind(settings)
