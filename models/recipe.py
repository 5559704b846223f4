"""What a version was made with: enough to make it again on other data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Self

from models.profile import Profile
from models.recommenders.heuristic import Heuristic
from models.recommenders.lightfm_hybrid import LightFMHybrid
from models.recommenders.popularity import PopularityRecommender

INGREDIENTS: dict[str, dict[str, Any]] = {
    LightFMHybrid.name: {
        "interaction_weights": True,
        "matrix": {"half_life_days"},
        "popularity": True,
        "lightfm": True,
        "evaluation": {"heavy_user"},
    },
    PopularityRecommender.name: {"interaction_weights": True, "popularity": True},
    Heuristic.name: {
        "interaction_weights": True,
        "engagement_weights": True,
        "scorer_weights": True,
        "scorers": True,
        "matrix": True,
        "similarity": True,
    },
}
"""The parts of the profile that decide what each recommender learns from the same rows."""


@dataclass(frozen=True)
class Recipe:
    """A recommender and its parameters. Equal recipes on equal data make equal models, by the
    code of one release.

    Attributes:
        settings: parts of a profile, by section.
    """

    recommender: str
    settings: dict[str, Any]

    @classmethod
    def of(cls, recommender: str, profile: Profile) -> Self:
        included = INGREDIENTS[recommender]
        return cls(recommender, profile.model_dump(mode="json", include=included))

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
        for name, section in self.settings.items():
            weights = name.endswith("_weights")  # a weight that is not named is none
            merged[name] = section if weights else merged[name] | section
        return Profile.model_validate(merged)
