"""The profile: the YAML that fits Feedwright to a domain.

One place for every weight and threshold. A profile is either the name of one that ships
(``shipped/*.yaml``) or the path of a file; a wrong value is refused with the field named.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, ValidationError, model_validator

from models.profile.feed_sections import (
    Candidates,
    Diversity,
    Eligibility,
    Exploration,
    Names,
    Online,
    Recommendations,
    ScorerName,
    ScorerSettings,
    Serving,
)
from models.profile.interaction_types import DEFAULT_TYPES, InteractionTypes, Weight
from models.profile.operation_sections import Experiments, Guardrails, Privacy
from models.profile.ranker_settings import Ranker
from models.profile.recommender_settings import DEFAULT, SETTINGS, Chosen
from models.profile.section import Section
from models.profile.training_sections import (
    Checks,
    Drift,
    Evaluation,
    Gate,
    LightFMSettings,
    Matrix,
    Popularity,
    Retraining,
    Similarity,
)

SHIPPED = Path(__file__).parent / "shipped"
MOST_PROBLEMS = 20
"""As many are named in one message."""


class ProfileError(ValueError):
    """A profile that cannot be used; the message names the field and the fix."""


class Profile(Section):
    """Everything that tunes a feed for one domain."""

    name: str
    names: Names = Names()
    interaction_types: InteractionTypes = Field(
        default=DEFAULT_TYPES,
        description="Types of the profile's own beside the twelve, and what it says otherwise of "
        "these (see `models/profile/interaction_types.py`).",
    )
    interaction_weights: dict[str, Weight] = Field(min_length=1)
    engagement_weights: dict[str, Weight] = Field(
        min_length=1, description="Weights of the engagement score."
    )
    scorer_weights: dict[ScorerName, Annotated[float, Field(ge=0, le=1e6)]] = Field(min_length=1)
    scorers: ScorerSettings = ScorerSettings()
    eligibility: Eligibility = Eligibility()
    candidates: Candidates = Candidates()
    diversity: Diversity = Diversity()
    exploration: Exploration = Exploration()
    matrix: Matrix = Matrix()
    popularity: Popularity = Popularity()
    similarity: Similarity = Similarity()
    lightfm: LightFMSettings = LightFMSettings()
    recommenders: Chosen = Field(
        default={name: SETTINGS[name]() for name in DEFAULT},
        description="Those that compete in every training, by name, with their settings (see "
        "`models/profile/recommender_settings.py`). The first that none beats beyond the noise "
        "wins.",
    )
    ranker: Ranker = Ranker()
    evaluation: Evaluation = Evaluation()
    gate: Gate = Gate()
    checks: Checks = Checks()
    online: Online = Online()
    recommendations: Recommendations = Recommendations()
    serving: Serving = Serving()
    guardrails: Guardrails = Guardrails()
    retraining: Retraining = Retraining()
    drift: Drift = Drift()
    privacy: Privacy = Privacy()
    experiments: Experiments = Experiments()

    @model_validator(mode="after")
    def _weights_of_types(self) -> Profile:
        """What stands with a type goes before the tables, which then have it too."""
        types, online = self.interaction_types, self.online
        for name, table in (
            ("interaction_weights", self.interaction_weights),
            ("engagement_weights", self.engagement_weights),
            ("online.weights", online.weights),
        ):
            if unknown := [type for type in table if type not in types]:
                raise ValueError(
                    f"{name}.{unknown[0]:.60}: no such type; there are {', '.join(types.names)}. "
                    "Add it under interaction_types"
                )
        interests = online.weights | types.weights("interest")
        merged = {
            "interaction_weights": self.interaction_weights | types.weights("weight"),
            "engagement_weights": self.engagement_weights | types.weights("engagement_weight"),
            "online": online.model_copy(update={"weights": interests}),
        }
        for name, value in merged.items():
            object.__setattr__(self, name, value)  # frozen for everybody else
        return self

    @model_validator(mode="after")
    def _values_of_actions(self) -> Profile:
        types, values = self.interaction_types, self.ranker.values
        there = ", ".join(types.actions)
        for name in values:
            if name not in types:
                raise ValueError(
                    f"ranker.values.{name:.60}: no such type; there are {there}. Add it under "
                    "interaction_types"
                )
            if name not in types.actions:
                raise ValueError(
                    f"ranker.values.{name}: nothing that a user does with an item that they are "
                    f"shown; there are {there}"
                )
        if values and not any(value > 0 for value in values.values()):
            raise ValueError("ranker.values: at least one value must be above 0, or leave it out")
        return self

    @model_validator(mode="after")
    def _some_weight(self) -> Profile:
        if not any(self.scorer_weights.values()):
            raise ValueError("scorer_weights: at least one weight must be above 0")
        if not any(weight > 0 for weight in self.interaction_weights.values()):
            raise ValueError("interaction_weights: at least one weight must be above 0")
        return self


def load_profile(name_or_path: str) -> Profile:
    """Read the profile that ships under a name, or the YAML file at a path.

    Raises:
        ProfileError: no such profile, not YAML, or a field is wrong; the message
            names each field.
    """
    path = yaml_path(name_or_path, SHIPPED)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        names = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.yaml")))
        raise ProfileError(
            f"profile {name_or_path!r} cannot be read ({error.strerror}). "
            f"Give the path of a YAML file, or one that ships: {names}."
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # or no text, no date, too deep
        raise ProfileError(f"profile {path} is not valid YAML: {str(error)[:600]}") from error
    try:
        return Profile.model_validate({} if content is None else content)
    except ValidationError as error:
        raise ProfileError(f"profile {path}: {_problems(error):.800}") from error


def _problems(error: ValidationError) -> str:
    """Each wrong field with what is wrong with it."""
    problems = [
        f"{'.'.join(map(str, problem['loc'])) or 'profile'}: "
        + ("no such field" if problem["type"] == "extra_forbidden" else problem["msg"])
        for problem in error.errors()
    ]
    listed = "; ".join(problems[:MOST_PROBLEMS])
    more = len(problems) - MOST_PROBLEMS
    return f"{listed}; and {more:,} more" if more > 0 else listed


def yaml_path(name_or_path: str | Path, shipped: Path) -> Path:
    """The file in the folder ``shipped`` of that name, or else the path itself."""
    path = shipped / f"{name_or_path}.yaml"
    return path if path.is_file() else Path(name_or_path)
