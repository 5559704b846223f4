"""The profile's section ``ranker``. Light: no library is imported that trains anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from models.profile.interaction_types import Weight
from models.profile.section import Section, Share

Kind = Literal["boosted", "logistic"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Objective = Literal["lambdarank", "binary"]
Count = Annotated[int, Field(ge=1)]


def with_ranker(recommender: str, kind: Kind) -> str:
    """The name that the two have together, such as ``ease-boosted``."""
    return f"{recommender}-{kind}"


def parts_of(name: str) -> tuple[str, Kind | None]:
    """Recommender and kind of ranker that a name stands for; None: no ranker."""
    recommender, _, kind_name = name.partition("-")
    return recommender, next((kind for kind in KINDS if kind == kind_name), None)


class BoostedSettings(Section):
    """Trees (LightGBM) and a line; chosen on earlier windows, see ``docs/ranking.md``."""

    objectives: tuple[Objective, ...] = Field(
        default=("lambdarank", "binary"),
        min_length=1,
        description="Trees of each: lambdarank orders each user's candidates by nDCG; binary tells "
        "how likely each is to be liked.",
    )
    rounds: Count = 50
    learning_rate: Annotated[float, Field(gt=0)] = 0.1
    leaves: Annotated[int, Field(ge=2)] = 15
    min_leaf: Count = 300
    column_share: Annotated[float, Field(gt=0, le=1)] = 0.3
    row_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    ridge: Annotated[float, Field(ge=0)] = 1.0
    truncation: Count = Field(
        default=15, description="LambdaRank looks at pairs with one of the two in so many places."
    )
    bins: Annotated[int, Field(ge=3, le=255)] = 63
    line_ridge: Annotated[float, Field(gt=0)] = 300.0
    trees_share: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.5, description="Of the trees in the score; the rest is the line's."
    )
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

    @model_validator(mode="before")
    @classmethod
    def _one_objective(cls, given: object) -> object:
        """Earlier releases had trees of one, ``objective``."""
        if not isinstance(given, Mapping) or "objective" not in given:
            return given
        rest = {name: value for name, value in given.items() if name != "objective"}
        return {"objectives": [given["objective"]]} | rest


class LogisticSettings(Section):
    """Logistic regression on the eight features of ``models/ranking/rankers/logistic.py``."""

    strength: Annotated[float, Field(gt=0)] = Field(
        default=1.0, description="The ridge on the weights is one over this."
    )


class Ranker(Section):
    """The second stage: puts the recommender's first items in order (see ``docs/ranking.md``)."""

    kinds: tuple[Kind, ...] = Field(
        default=("boosted",),
        description="Those that compete in every training, behind the winning recommender; an "
        "empty list: its own order is the feed's.",
    )
    rerank: Annotated[int, Field(ge=1, le=2_000)] = Field(
        default=200, description="So many of the recommender's first items are put in order."
    )
    max_users: Count = Field(
        default=2_000, description="It learns from the visits of at most so many users."
    )
    min_users: Annotated[int, Field(ge=2)] = Field(
        default=100,
        description="Users who liked something that they were offered; with fewer there is no "
        "ranker.",
    )
    held_back: Literal["newest", "random"] = Field(
        default="newest",
        description="newest: it learns from what came after a moment or, where few users did "
        "something on both sides of it, from each user's newest items. random: from items drawn "
        "at random, for a test that is so.",
    )
    held_out: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.2, description="Share of those users that only the probabilities are fitted to."
    )
    values: dict[str, Weight] = Field(
        default={},
        description="What an action is worth, by type; below 0 takes off. Items are then ordered "
        "by the sum of value times probability. A change counts at once, an action that was not "
        "there from the next training on. Empty: by the chance that the user likes it.",
    )
    unshown_weight: Share = Field(
        default=0.3,
        description="Weight of a candidate that was never shown, where one that was shown and "
        "passed over has up to 1.",
    )
    boosted: BoostedSettings = BoostedSettings()
    logistic: LogisticSettings = LogisticSettings()
