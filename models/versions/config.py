"""What a version was made with: enough to make it again on other data.

It is the tag ``recipe`` of a version in MLflow, as in releases before.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Self

from models.profile.ranker_settings import parts_of
from models.profile.recommender_settings import SETTINGS
from models.profile.schema import Profile

_OF_TYPES = {"interaction_types": True, "interaction_weights": True}
_BY_SECTION: dict[str, dict[str, Any]] = {
    "lightfm_hybrid": {
        **_OF_TYPES,
        "matrix": {"half_life_days"},
        "popularity": True,
        "lightfm": True,
        "evaluation": {"heavy_user"},
    },
    "popularity": {**_OF_TYPES, "popularity": True},
    "heuristic": {
        **_OF_TYPES,
        "engagement_weights": True,
        "scorer_weights": True,
        "scorers": True,
        "matrix": True,
        "similarity": True,
    },
}
_LEARNT: dict[str, Any] = {
    **_OF_TYPES,
    "matrix": {"half_life_days"},
    "popularity": True,
}
INGREDIENTS: dict[str, dict[str, Any]] = {
    name: _BY_SECTION.get(name) or _LEARNT | {"recommenders": {name}} for name in SETTINGS
}
"""The parts of the profile that decide what each recommender learns from the same rows."""
# What makes the ranker's features, and the candidates that it learns from.
_WITH_RANKER: dict[str, Any] = {
    **_OF_TYPES,
    "engagement_weights": True,
    "scorer_weights": True,
    "scorers": True,
    "matrix": True,
    "similarity": True,
    "candidates": True,
    "eligibility": True,
    "exploration": {"prior_clicks", "prior_impressions"},
    "online": True,
}
_OF_RANKER = ("rerank", "max_users", "min_users", "held_out", "unshown_weight")


@dataclass(frozen=True)
class Config:
    """A recommender, with a ranker or without, and its parameters. Equal configs on equal data
    make equal models, by the code of one release.

    Attributes:
        settings: parts of a profile, by section.
    """

    recommender: str
    settings: dict[str, Any]

    @classmethod
    def of(cls, recommender: str, profile: Profile) -> Self:
        base, kind = parts_of(recommender)
        included = INGREDIENTS[base]
        if kind:
            included = included | _WITH_RANKER | {"ranker": {*_OF_RANKER, kind}}
        settings = profile.model_dump(mode="json", include=included)
        if not settings["interaction_types"]:  # nor had versions of earlier releases
            del settings["interaction_types"]
        return cls(recommender, settings)

    def to_json(self) -> str:
        return json.dumps({"recommender": self.recommender, "settings": self.settings})

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls(**json.loads(text))

    def profile(self, current: Profile) -> Profile:
        """``current`` with these settings in place of its own.

        Raises:
            pydantic.ValidationError: this release knows a setting no longer.
        """
        merged = current.model_dump()
        for settings in merged["interaction_types"].values():
            settings["weight"] = None  # that of the settings counts
        for name, section in self.settings.items():
            weights = name.endswith("_weights")  # a weight that is not named is none
            merged[name] = section if weights else merged.get(name, {}) | section
        return Profile.model_validate(merged)
