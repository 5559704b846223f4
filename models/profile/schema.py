"""The profile: the YAML that fits Feedwright to a domain.

One place for every weight and threshold. A profile is either the name of one
that ships (``shipped/*.yaml``) or the path of a file; a wrong value is
refused with the field named.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.profile.interaction_types import DEFAULT_TYPES, INTERESTS, InteractionTypes, Weight
from models.profile.ranker_settings import Ranker
from models.profile.recommender_settings import DEFAULT, SETTINGS, Chosen

SHIPPED = Path(__file__).parent / "shipped"

ScorerName = Literal[
    "location", "tags", "engagement", "recency", "owner_quality", "collaborative", "content"
]
SCORERS: tuple[ScorerName, ...] = get_args(ScorerName)
Weights = Mapping[Any, float]
"""Weight of each interaction type."""
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Budget = Annotated[int, Field(ge=0, le=100_000)]


class ProfileError(ValueError):
    """A profile that cannot be used; the message names the field and the fix."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Names(_Section):
    """What the product calls things, for reasons and pages."""

    user: str = "user"
    item: str = "item"
    owner: str = "owner"


class ScorerSettings(_Section):
    """Limits and time constants of the scorers (see ``models/data/scorers.py``)."""

    max_distance_km: Positive = 50.0
    recency_half_life_days: Positive = 6.93
    fresh_hours: Positive = 24.0
    fresh_boost: Annotated[float, Field(ge=1)] = 1.5


class Eligibility(_Section):
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


class Candidates(_Section):
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


class Diversity(_Section):
    """How a feed avoids more of the same, where its ranking allows.

    Penalties are in units of the spread of a list's scores: by 1 differ the first and the
    fiftieth. docs/ranking.md has what the defaults cost and do.
    """

    strength: Share = Field(
        default=0.05,
        description="How much less alike in tags the first ten are made than they "
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


class Exploration(_Section):
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


class Matrix(_Section):
    """How interactions become the interaction matrix."""

    half_life_days: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Older interactions weigh less; null: all weigh the same."
    )
    common_item_share: Share = Field(
        default=0.2,
        description="Items that more than this share of users touched say nothing of taste, "
        "and are left out of similarities.",
    )


class Popularity(_Section):
    """The popularity prior (see ``models/data/popularity.py``); chosen on validation windows."""

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


class Similarity(_Section):
    neighbours: Annotated[int, Field(ge=1, le=500)] = 50


class LightFMSettings(_Section):
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


class Evaluation(_Section):
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


class Gate(_Section):
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


class Checks(_Section):
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


class Online(_Section):
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


class Recommendations(_Section):
    per_user: Annotated[int, Field(ge=1, le=1000)] = 50
    active_days: Annotated[int, Field(ge=1)] = Field(
        default=30, description="Lists are kept ready for users active within so many days."
    )
    refresh_minutes: Positive = Field(
        default=10.0, description="A user's list is made anew at most so often after a signal."
    )


class Serving(_Section):
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


class Guardrails(_Section):
    """When what users get is so bad that it is taken back: ``models/experiments/guardrails.py``."""

    window_days: Annotated[int, Field(ge=1)] = Field(
        default=7, description="What was shown in so many days is judged."
    )
    min_impressions: Annotated[int, Field(ge=1)] = Field(
        default=200,
        description="Impressions from which a CTR is judged and told, and clicks from which a "
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


class Retraining(_Section):
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


class Drift(_Section):
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


class Privacy(_Section):
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


class RampStep(_Section):
    """A share of the users, and what must have passed before the next step."""

    share: Annotated[float, Field(gt=0, le=1)] = Field(
        description="Of the users of the experiment's part of its layer."
    )
    hours: Annotated[float, Field(ge=0, le=8_760)] = 24.0
    min_impressions: Annotated[int, Field(ge=0, le=1_000_000_000)] = Field(
        default=200, description="Of each arm, since the step began."
    )


class Experiments(_Section):
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


class Profile(_Section):
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
    return read_yaml(Profile, name_or_path, SHIPPED, "profile", ProfileError)


def yaml_path(name_or_path: str | Path, shipped: Path) -> Path:
    """The file in the folder ``shipped`` of that name, or else the path itself."""
    path = shipped / f"{name_or_path}.yaml"
    return path if path.is_file() else Path(name_or_path)


Model = TypeVar("Model", bound=BaseModel)
MOST_PROBLEMS = 20
"""As many are named in one message."""


def read_yaml(
    kind: type[Model],
    name_or_path: str | Path,
    shipped: Path,
    what: str,
    refusal: type[Exception],
) -> Model:
    """Read and validate a YAML file: one in the folder ``shipped``, by its name, or at a path.

    Raises:
        refusal: it cannot be read, is not YAML, or a field is wrong. The message calls the
            file ``what``, and names each field.
    """
    path = yaml_path(name_or_path, shipped)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        names = ", ".join(sorted(file.stem for file in shipped.glob("*.yaml")))
        raise refusal(
            f"{what} {str(name_or_path)!r} cannot be read ({error.strerror}). "
            f"Give the path of a YAML file, or one that ships: {names}."
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # or no text, no date, too deep
        raise refusal(f"{what} {path} is not valid YAML: {str(error)[:600]}") from error
    try:
        return kind.model_validate({} if content is None else content)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, problem['loc'])) or what}: "
            + ("no such field" if problem["type"] == "extra_forbidden" else problem["msg"])
            for problem in error.errors()
        ]
        listed = "; ".join(problems[:MOST_PROBLEMS])
        more = len(problems) - MOST_PROBLEMS
        if more > 0:
            listed += f"; and {more:,} more"
        raise refusal(f"{what} {path}: {listed:.800}") from error
