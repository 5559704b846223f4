"""Where the search looks for the settings of each recommender: field → distribution.

A recommender that is not here has nothing to search for.
"""

from __future__ import annotations

from collections.abc import Mapping

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

Space = Mapping[str, BaseDistribution]

_EITHER = CategoricalDistribution([False, True])
_KNN: Space = {
    "neighbours": IntDistribution(10, 500, log=True),
    "weighting": CategoricalDistribution(["cosine", "tfidf", "bm25"]),
    "weighted": _EITHER,
}

SPACES: dict[str, Space] = {
    "lightfm_hybrid": {  # fields of the profile's section `lightfm`
        "loss": CategoricalDistribution(["bpr", "warp"]),
        "dims": IntDistribution(8, 128, log=True),
        "epochs": IntDistribution(3, 60, log=True),
        "learning_rate": FloatDistribution(0.01, 0.2, log=True),
        "strength": FloatDistribution(0.05, 2.0, log=True),
    },
    "lightfm": {
        "loss": CategoricalDistribution(["bpr", "warp"]),
        "dims": IntDistribution(8, 128, log=True),
        "learning_rate": FloatDistribution(0.005, 0.1, log=True),
        "ridge": FloatDistribution(0.0, 1e-4),
        "max_sampled": IntDistribution(5, 50, log=True),
    },
    "als": {
        "dims": IntDistribution(8, 128, log=True),
        "ridge": FloatDistribution(0.01, 100.0, log=True),
        "confidence": FloatDistribution(0.5, 100.0, log=True),
        "weighted": _EITHER,
        "iterations": IntDistribution(5, 30),
    },
    "bpr": {
        "dims": IntDistribution(8, 128, log=True),
        "learning_rate": FloatDistribution(0.005, 0.3, log=True),
        "ridge": FloatDistribution(1e-4, 0.1, log=True),
        "iterations": IntDistribution(20, 200, log=True),
    },
    "nmf": {
        "dims": IntDistribution(4, 50, log=True),
        "ridge": FloatDistribution(0.1, 100.0, log=True),
        "weighted": _EITHER,
        "iterations": IntDistribution(20, 100),
    },
    "ease": {
        "ridge": FloatDistribution(5.0, 5_000.0, log=True),
        "weighted": _EITHER,
    },
    "item_knn": _KNN,
    "user_knn": _KNN,
}

SECTIONS = {"lightfm_hybrid": "lightfm"}
"""Recommenders whose settings are a section of the profile of its own."""
