"""Sections of the profile about what is live: guardrails, experiments, and what is kept."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from models.profile.section import Positive, Section, Share


class Guardrails(Section):
    """When what users get is so bad that it is taken back: ``models/experiments/guardrails.py``."""

    window_days: Annotated[int, Field(ge=1)] = Field(
        default=7, description="What was shown in so many days is judged."
    )
    min_impressions: Annotated[int, Field(ge=1)] = Field(
        default=200,
        description="Impressions from which a CTR is judged and reported, and clicks from which a "
        "conversion is; on both sides.",
    )
    min_users: Annotated[int, Field(ge=2)] = Field(
        default=30, description="Users that they must come from."
    )
    rule: Literal["sequential", "simple"] = Field(
        default="sequential",
        description="sequential: a drop must be proven, at all looks together. simple: any drop "
        "over max_ctr_drop or max_conversion_drop is a breach, which chance alone brings often.",
    )
    alpha: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.05, description="Highest chance of a false alarm, at all looks together."
    )
    min_effect: Share = Field(
        default=0.05,
        description="In an experiment, a smaller drop is not worth a rollback, proven or not.",
    )
    max_ctr_drop: Share = Field(
        default=0.5,
        description="Highest accepted drop of CTR against other versions, which had other users "
        "and hours.",
    )
    max_conversion_drop: Share = Field(default=0.5, description="The same of conversion.")
    conversion_hours: Positive = Field(
        default=72.0,
        description="A click converts by an apply, or what else counts as a conversion, within so "
        "many hours.",
    )


class RampStep(Section):
    """A share of the users, and what must have passed before the next step."""

    share: Annotated[float, Field(gt=0, le=1)] = Field(
        description="Of the users of the experiment's part of its layer."
    )
    hours: Annotated[float, Field(ge=0, le=8_760)] = 24.0
    min_impressions: Annotated[int, Field(ge=0, le=1_000_000_000)] = Field(
        default=200, description="Of each arm, since the step began."
    )


class Experiments(Section):
    """How experiments grow, and what makes them wait; see `docs/experiments.md`."""

    ramp: list[RampStep] = Field(
        default=[RampStep(share=share) for share in (0.01, 0.1, 0.5, 1.0)],
        min_length=1,
        description="The steps of an experiment that names none.",
    )
    winner_takes_all: bool = Field(
        default=False,
        description="Whether a challenger that wins becomes champion by itself, where the "
        "experiment does not say.",
    )
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        default=0.05, description="Chance that an arm which is no better is ever called a winner."
    )
    sample_ratio_p: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        default=0.001,
        description="Users by arm that fit the arms' weights less well than this do not fit.",
    )
    doubt: Annotated[float, Field(gt=0.5, le=1)] = Field(
        default=0.85,
        description="The ramp waits while more than this part of a metric's interval is harm.",
    )
    max_fallback_gap: Share = Field(
        default=0.05,
        description="The ramp waits while the arms' shares of fallback answers differ by more.",
    )


class Privacy(Section):
    """For how long what users did is kept; `docs/privacy.md` says where."""

    retention_days: Annotated[int, Field(ge=1)] = Field(
        default=730, description="Interactions, in Postgres and in the lake."
    )
    rejected_days: Annotated[int, Field(ge=1)] = Field(
        default=90, description="Rows that validation refused."
    )
    audit_days: Annotated[int, Field(ge=1)] = Field(
        default=730,
        description="Lines of the audit log, guardrail reports, and hashes of erased ids.",
    )
    metrics_days: Annotated[int, Field(ge=1)] = Field(
        default=90, description="What users did by hour and variant, counted."
    )
