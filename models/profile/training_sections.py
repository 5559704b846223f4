"""Sections of the profile about a training: its data, its judgement, and when it starts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from models.profile.section import Positive, Section, Share


class Matrix(Section):
    """How interactions become the interaction matrix."""

    half_life_days: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Older interactions weigh less; null: all weigh the same."
    )
    common_item_share: Share = Field(
        default=0.2,
        description="Items that more than this share of users touched say nothing of taste, "
        "and are left out of similarities.",
    )


class Popularity(Section):
    """The popularity prior (``models/data/interactions/popularity.py``)."""

    half_life_share: Share = Field(
        default=0.05,
        gt=0,
        description="Share of all interactions after which one counts half.",
    )
    overall_share: Share = Field(default=0.25, description="Weight of all-time popularity.")
    trend_penalty: Share = Field(
        default=0.2, description="For heavy users: how much all-time favourites are held back."
    )
    floor: Positive = Field(default=0.01, description="Share that an untouched item counts as.")


class Similarity(Section):
    neighbours: Annotated[int, Field(ge=1, le=500)] = 50


class LightFMSettings(Section):
    """Parameters of the LightFM hybrid (Kula 2015, arXiv:1507.08439)."""

    loss: Literal["warp", "bpr", "logistic"] = "bpr"
    dims: Annotated[int, Field(ge=1, le=512)] = 32
    epochs: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=10, description="At most, where stopping early is on."
    )
    patience: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="Epochs without a better nDCG on the window after which training stops, and "
        "is done again on all data for the best number of epochs; null: all epochs.",
    )
    window: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.1, description="Share of the newest interactions in the window."
    )
    learning_rate: Positive = 0.05
    item_alpha: Annotated[float, Field(ge=0)] = 0.0
    user_alpha: Annotated[float, Field(ge=0)] = 0.0
    max_sampled: Annotated[int, Field(ge=1)] = 10
    strength: Positive = Field(
        default=0.3, description="How far taste moves an item from its popularity."
    )
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    threads: Annotated[int, Field(ge=1)] = Field(
        default=1, description="More than one is faster, and no longer deterministic."
    )

    @property
    def validation_share(self) -> float | None:
        """Share of the newest interactions that training sees by when to stop; None: none."""
        return None if self.patience is None else self.window


class Evaluation(Section):
    test_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.2, description="Share of the newest interactions that is held out."
    )
    k: Annotated[int, Field(ge=1, le=100)] = 10
    heavy_user: Annotated[int, Field(ge=1)] = Field(
        default=50, description="Training interactions from which a user counts as heavy."
    )
    max_users: Annotated[int, Field(ge=1)] = Field(
        default=2_000, description="At most so many test users, sampled under the seed."
    )
    held_back_users: Annotated[int, Field(ge=0)] = Field(
        default=250,
        description="Of so many users who did nothing after the split the newest items are held "
        "back too: the winner is chosen by them and by the first half of what came after it.",
    )


class Gate(Section):
    """When a version may become champion (see ``models/evaluation/gate.py``)."""

    confidence: Annotated[float, Field(gt=0.5, lt=1)] = Field(
        default=0.95, description="Of the paired tests over users."
    )
    min_effect: Share = Field(
        default=0.01,
        description="A loss of nDCG against the champion by a smaller share is accepted, however "
        "sure it is.",
    )
    min_users: Annotated[int, Field(ge=2)] = Field(
        default=30, description="With fewer judged users there is not enough data for a test."
    )
    max_artifact_drop: Share = Field(
        default=0.3,
        description="Highest accepted loss of nDCG, final vectors against the champion's.",
    )
    max_coverage_drop: Share = Field(
        default=0.5, description="Highest accepted loss of the share of items in any list."
    )
    promote: Literal["champion", "challenger"] = Field(
        default="champion",
        description="What a version that passes becomes: live at once, or the one on trial.",
    )


class Checks(Section):
    """Thresholds of the data checks."""

    max_rejected_share: Share = 0.05
    min_rejected: Annotated[int, Field(ge=1)] = Field(
        default=10,
        description="Fewer rejected rows block nothing: just after midnight a day is a few rows.",
    )
    max_orphan_share: Share = Field(
        default=0.01,
        description="Interactions whose user or item is unknown, which are left out. More of them "
        "in the days of a run are warned of.",
    )
    broken_orphan_share: Share = Field(
        default=0.9,
        description="The same of all interactions that there are: more of them stop the training, "
        "since the catalogue or the log cannot be the right one.",
    )
    max_future_minutes: Annotated[float, Field(ge=10)] = Field(
        default=10.0,
        description="How far ahead of our clock an interaction may lie; ingest and load take 10.",
    )


class Retraining(Section):
    """When training starts by itself (see ``orchestration/training/retraining.py``)."""

    min_new_interactions: Annotated[int, Field(ge=1)] = 10_000
    min_hours_between: Positive = Field(
        default=1.0, description="From the end of a training that succeeded to the next."
    )
    failure_hours: Positive = Field(
        default=4.0,
        description="The same after one that failed, doubled by each further failure up to a day, "
        "and after a rollback.",
    )
    max_retries: Annotated[int, Field(ge=0, le=10)] = Field(
        default=2, description="Of a run whose process died; what fails by itself waits."
    )
    max_run_hours: Positive = Field(
        default=12.0, description="A training that goes on for longer is ended."
    )


class Drift(Section):
    """When the data have moved away from those of the champion: ``models/evaluation/drift.py``."""

    window_days: Annotated[int, Field(ge=1)] = Field(
        default=7, description="The reference: the last days before the training."
    )
    watch: Positive = Field(default=0.1, description="Population stability index worth a look.")
    retrain: Positive = Field(default=0.2, description="… from which a training starts.")
    min_rows: Annotated[int, Field(ge=1)] = Field(
        default=1_000, description="Interactions since the training from which it is judged."
    )
    min_users: Annotated[int, Field(ge=2)] = Field(
        default=50, description="Users who did them, likewise."
    )
    max_rows: Annotated[int, Field(ge=1)] = Field(
        default=200_000, description="The newest interactions that are looked at."
    )

    @model_validator(mode="after")
    def _order(self) -> Drift:
        if self.watch > self.retrain:
            raise ValueError("watch must not be above retrain")
        return self
