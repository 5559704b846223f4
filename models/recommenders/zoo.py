"""Every recommender by name. A new one is a small file beside this, and a line here."""

from __future__ import annotations

from models.recommenders.als import ALS
from models.recommenders.base import Recommender
from models.recommenders.bpr import BPR
from models.recommenders.ease import EASE
from models.recommenders.heuristic import Heuristic
from models.recommenders.knn import ItemKNN, UserKNN
from models.recommenders.lightfm import LightFM
from models.recommenders.lightfm_hybrid import LightFMHybrid
from models.recommenders.nmf import NMF
from models.recommenders.popularity import PopularityRecommender

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
