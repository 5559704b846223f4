"""Sections of the profile about a feed: what may be shown, and in which order."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from models.profile.interaction_types import INTERESTS, Weight
from models.profile.section import Positive, Section, Share

ScorerName = Literal[
    "location", "tags", "engagement", "recency", "owner_quality", "collaborative", "content"
]
SCORERS: tuple[ScorerName, ...] = get_args(ScorerName)
Budget = Annotated[int, Field(ge=0, le=100_000)]


class Names(Section):
    """What the product calls things, for reasons and pages."""

    user: str = "user"
    item: str = "item"
    owner: str = "owner"


class ScorerSettings(Section):
    """Limits and time constants of the scorers (see ``models/data/scorers.py``)."""

    max_distance_km: Positive = 50.0
    recency_half_life_days: Positive = 6.93
    fresh_hours: Positive = 24.0
    fresh_boost: Annotated[float, Field(ge=1)] = 1.5


class Eligibility(Section):
    """Which items may be shown at all, and in which order when only the time counts."""

    exclude_own: bool = Field(default=True, description="The user's own items.")
    exclude_started: bool = Field(default=True, description="Items whose starts_at is past.")
    exclude_full: bool = Field(default=True, description="Items with no place left.")
    exclude_seen: bool = Field(
        default=True,
        description="Items that the user touched, where the request does not say. Who has seen "
        "nearly all gets them again, behind what is new.",
    )
    exclude_applied: bool = Field(
        default=True,
        description="Items that the user applied to, where the request does not say.",
    )
    exclude_dismissed: bool = Field(
        default=True, description="Items that the user dismissed and did not choose since."
    )
    time_order: Literal["newest", "soonest"] = Field(
        default="newest",
        description="What sort=time means: the newest first, or those that start soonest.",
    )

    def leaves_out_seen(self, asked: bool | None) -> bool:
        """What the request asks for, else what the profile has."""
        return self.exclude_seen if asked is None else asked

    def leaves_out_applied(self, asked: bool | None) -> bool:
        return self.exclude_applied if asked is None else asked


class Candidates(Section):
    """How many items each source may bring before they are ranked; 0 switches a source off."""

    model: Budget = Field(default=400, description="Nearest to the user by the model.")
    similar_users: Budget = Field(default=150, description="Liked by similar users.")
    similar_items: Budget = Field(default=150, description="Similar to what was touched last.")
    near: Budget = Field(default=200, description="Nearest to the user's place.")
    trending: Budget = 100
    fresh: Budget = Field(default=100, description="Newest.")
    tags: Budget = Field(default=150, description="With tags that the user chose.")
    popular: Budget = 200
    pool: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=1_000, description="Popular items fill the candidates up to so many."
    )
    recent_items: Annotated[int, Field(ge=1, le=1_000)] = Field(
        default=10, description="Items touched last that similar_items starts from."
    )
    time_budget_ms: Positive = Field(
        default=20.0, description="Past this the sources that have not run are skipped."
    )
    exact_up_to: Annotated[int, Field(ge=0)] = Field(
        default=20_000,
        description="A catalogue of at most so many items is searched whole, a larger one by "
        "the index.",
    )


class Diversity(Section):
    """How a feed avoids more of the same, where its ranking allows.

    Penalties are in units of the spread of a list's scores: by 1 differ the first and the
    fiftieth. docs/ranking.md has what the defaults cost and do.
    """

    strength: Share = Field(
        default=0.05,
        description="How much less similar in tags the first ten are made than they "
        "were ranked, at least; 0: off.",
    )
    max_run_owner: Annotated[int, Field(ge=1)] | None = Field(
        default=2, description="Most items of one owner in a row; null: any number."
    )
    max_run_category: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Most items of one category in a row; null: any number."
    )
    owner_penalty: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.1,
        description="Times log(1 + j): taken off an item that comes after j better ones of its "
        "owner.",
    )
    category_penalty: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0, description="The same for its category."
    )


class Exploration(Section):
    """The share of positions that tries new items, chosen by Thompson sampling."""

    share: Share = Field(default=0.05, description="Share of the positions; 0: off.")
    first_position: Annotated[int, Field(ge=1)] = Field(
        default=3, description="The first position, from 1, that may be given to a new item."
    )
    max_impressions: Annotated[int, Field(ge=0)] = Field(
        default=100, description="An item that was shown at most so often is new …"
    )
    max_age_days: Positive = Field(default=14.0, description="… if it is younger than this too.")
    pool: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=200, description="New items that are drawn from."
    )
    prior_clicks: Positive = Field(
        default=1.0, description="Clicks that an item starts with: what is expected of new ones."
    )
    prior_impressions: Positive = Field(
        default=20.0, description="Impressions that those clicks come from."
    )

    @model_validator(mode="after")
    def _prior(self) -> Exploration:
        if self.prior_clicks >= self.prior_impressions:
            raise ValueError("prior_clicks must be below prior_impressions")
        return self


class Online(Section):
    """What users do changes their own feeds at once (see ``models/catalogue/history.py``)."""

    half_life_hours: Positive = Field(
        default=72.0, description="An event of that age counts half for interests."
    )
    cap: Positive = Field(default=10.0, description="Highest score of an interest.")
    min_dwell_seconds: Annotated[float, Field(ge=0)] = Field(
        default=10.0, description="A shorter dwell says nothing."
    )
    weights: dict[str, Weight] = Field(
        default=INTERESTS,
        description="What an event of each type adds to the interest in its tags, category "
        "and city.",
    )
    max_events: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=1_000, description="A user's newest events that are looked at."
    )
    min_liked: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="Items liked from which the model ranks for a user it was not trained on; "
        "null: 1 where the model is linear in what users like (ease, item_knn, user_knn), 3 where "
        "it is not.",
    )


class Recommendations(Section):
    per_user: Annotated[int, Field(ge=1, le=1000)] = 50
    active_days: Annotated[int, Field(ge=1)] = Field(
        default=30, description="Lists are kept ready for users active within so many days."
    )
    refresh_minutes: Positive = Field(
        default=10.0, description="A user's list is made anew at most so often after a signal."
    )


class Serving(Section):
    max_model_age_hours: Positive = Field(
        default=72.0,
        description="A champion that was not found good for so long, by the gate or by an "
        "experiment, is stale: the heuristic answers.",
    )
    time_budget_ms: Positive = Field(
        default=100.0, description="Past this the heuristic's ready list answers."
    )
    list_length: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=1_000, description="Items of the longest feed, over all its pages."
    )
    list_minutes: Positive = Field(
        default=30.0, description="How long the pages of one feed stay as they are."
    )
    reuse_seconds: Annotated[float, Field(ge=0)] = Field(
        default=60.0, description="A user's feed is made anew after this; 0: for every request."
    )
