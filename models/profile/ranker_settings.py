"""The profile's section ``ranker``. Light: no library is imported that trains anything."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

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
    recommender, _, found = name.partition("-")
    return recommender, next((kind for kind in KINDS if kind == found), None)


class BoostedSettings(Section):
    """Gradient-boosted trees (LightGBM); chosen on earlier windows, see ``docs/ranking.md``."""

    objective: Objective = Field(
        default="binary",
        description="lambdarank orders each user's candidates by nDCG; binary tells how likely "
        "each is to be liked.",
    )
    rounds: Count = 80
    learning_rate: Annotated[float, Field(gt=0)] = 0.05
    leaves: Annotated[int, Field(ge=2)] = 7
    min_leaf: Count = 200
    column_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    row_share: Annotated[float, Field(gt=0, le=1)] = 0.7
    ridge: Annotated[float, Field(ge=0)] = 1.0
    bins: Annotated[int, Field(ge=3, le=255)] = 63
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


class LogisticSettings(Section):
    """Logistic regression on the eight features of ``models/ranking/logistic.py``."""

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
    held_out: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.2, description="Share of those users that only the probabilities are fitted to."
    )
    unshown_weight: Share = Field(
        default=0.3,
        description="Weight of a candidate that was never shown, where one that was shown and "
        "passed over has up to 1.",
    )
    boosted: BoostedSettings = BoostedSettings()
    logistic: LogisticSettings = LogisticSettings()
