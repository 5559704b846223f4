"""What somebody says an experiment is, and whether it can be that."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from models.experiments.arm_settings import SECTIONS, with_settings
from models.experiments.assignment import RankedBy
from models.profile.operation_sections import Experiments, RampStep
from models.profile.schema import Profile
from storage.operations.experiments import ExperimentRow

MAX_ARMS = 20
MAX_SETTINGS = 10_000
"""Characters of an arm's settings, as JSON."""

Problem = dict[str, str]
"""``field`` and ``message``."""


def _no_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("must not contain a NUL character")
    return value


def _named(pattern: str, means: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"must be {means}")
        return value

    return AfterValidator(check)


Name = Annotated[
    str,
    Field(min_length=1, max_length=63, json_schema_extra={"pattern": "^[a-z0-9][a-z0-9_-]*$"}),
    _named(r"[a-z0-9][a-z0-9_-]*", "of a to z, 0 to 9, - and _, and begin with a letter or digit"),
]
Environment = Annotated[
    str,
    Field(
        min_length=1,
        max_length=63,
        json_schema_extra={"pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]*$"},
    ),
    _named(r"[A-Za-z0-9][A-Za-z0-9_.-]*", "of letters, digits, _, . and -"),
]
Text = Annotated[str, Field(max_length=2_000), AfterValidator(_no_nul)]
Part = Annotated[float, Field(ge=0, le=1)]


class _Given(BaseModel):
    """What a caller writes: types as they are in JSON, and no field that does nothing."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class ArmDefinition(_Given):
    """What some of the users get."""

    name: Name = Field(examples=["new-model"])
    weight: Annotated[float, Field(ge=0.001, le=1_000)] = Field(
        default=1.0, description="Its part of the experiment's users, beside the other arms'."
    )
    ranked_by: RankedBy | None = Field(
        default=None, description="What ranks; null: what would without the experiment."
    )
    settings: dict[str, dict[str, Any]] = Field(
        default={},
        description=f"Fields of the profile that are other than usual, of the sections "
        f"{', '.join(SECTIONS)}.",
        examples=[{"diversity": {"strength": 0.1}}],
    )


class ExperimentDefinition(_Given):
    """An experiment, as it is made or changed. The first arm is the control."""

    id: Name = Field(examples=["new-model-may"])
    description: Text = ""
    environment: Environment | None = Field(
        default=None, description="Where it runs, as in `FEEDWRIGHT_ENVIRONMENT`; null: everywhere."
    )
    layer: Name = Field(
        default="ranking",
        description="No user is in two experiments of one layer. What touches the same thing "
        "belongs in the same layer.",
    )
    layer_from: Part | None = Field(
        default=None,
        description="Where its slice of the layer's users begins; null, with `layer_to`: the "
        "largest part that is free.",
    )
    layer_to: Part | None = Field(default=None, description="Where the slice ends.")
    share: Part | None = Field(
        default=None, description="Of the slice's users, where it stays the same: without a ramp."
    )
    ramp: Annotated[list[RampStep], Field(min_length=1, max_length=50)] | None = Field(
        default=None,
        description="The share grows in these steps; null, with `share`: as the profile's "
        "section `experiments` says.",
    )
    arms: Annotated[list[ArmDefinition], Field(min_length=2, max_length=MAX_ARMS)]
    primary_metric: Literal["ctr", "conversion"] = Field(
        default="ctr", description="What makes a winner."
    )
    winner_takes_all: bool | None = Field(
        default=None,
        description="Whether a challenger that wins becomes the champion by itself; null: as the "
        "profile says.",
    )


def problems_of(error: ValidationError) -> list[Problem]:
    """What pydantic found, by field."""
    return [
        {
            "field": ".".join(str(part)[:100] for part in problem["loc"]) or "body",
            "message": "no such field"
            if problem["type"] == "extra_forbidden"
            else problem["msg"].removeprefix("Value error, "),
        }
        for problem in error.errors(include_url=False, include_input=False)[:50]
    ]


def problems_with(given: ExperimentDefinition, profile: Profile) -> list[Problem]:
    """What is wrong with it beside the types of its fields."""
    return [*_of_arms(given, profile), *_of_ramp(given), *_of_slice(given)]


def fields_of(
    given: ExperimentDefinition, defaults: Experiments, slice: tuple[float, float]
) -> dict[str, Any]:
    """Columns of ``feed.experiments``.

    Args:
        slice: of the layer.
    """
    fields = given.model_dump(exclude={"id"})
    ramp = given.ramp or ([] if given.share is not None else defaults.ramp)
    if given.winner_takes_all is None:
        fields["winner_takes_all"] = defaults.winner_takes_all
    return fields | {
        "layer_from": slice[0],
        "layer_to": slice[1],
        "share": ramp[0].share if ramp else given.share,
        "ramp": [step.model_dump() for step in ramp],
    }


def definition_of(row: ExperimentRow) -> dict[str, Any]:
    """The definition of a stored experiment, as ``ExperimentDefinition`` reads it."""
    fields = {name: getattr(row, name) for name in ExperimentDefinition.model_fields}
    return fields | ({"share": None} if row.ramp else {"ramp": None})


def settings_problems(settings: dict[str, Any], profile: Profile, field: str) -> list[Problem]:
    """Why the profile cannot be changed like that."""
    unknown = sorted(settings.keys() - set(SECTIONS))
    if unknown:
        may = f"an arm may change {', '.join(SECTIONS)}"
        return [_problem(f"{field}.{name[:100]}", f"cannot be changed: {may}") for name in unknown]
    if len(json.dumps(settings, default=str)) > MAX_SETTINGS:
        return [_problem(field, f"must be at most {MAX_SETTINGS:,} characters as JSON")]
    try:
        with_settings(profile, settings)
    except ValidationError as error:
        return [
            _problem(
                f"{field}.{at}" if (at := problem["field"]) != "body" else field, problem["message"]
            )
            for problem in problems_of(error)
        ]
    return []


def _of_arms(given: ExperimentDefinition, profile: Profile) -> list[Problem]:
    problems = []
    times = Counter(arm.name for arm in given.arms)
    for index, arm in enumerate(given.arms):
        if times[arm.name] > 1:
            problems.append(_problem(f"arms.{index}.name", f"{arm.name!r} is there more than once"))
        problems += settings_problems(arm.settings, profile, f"arms.{index}.settings")
    return problems


def _of_ramp(given: ExperimentDefinition) -> list[Problem]:
    if given.ramp is None:
        return []
    problems = []
    if given.share is not None:
        message = "leave it out where there is a ramp: it begins with the first step's share"
        problems.append(_problem("share", message))
    for index, (before, step) in enumerate(zip(given.ramp, given.ramp[1:], strict=False), start=1):
        if step.share <= before.share:
            message = f"must be above {before.share:g}, the share of the step before"
            problems.append(_problem(f"ramp.{index}.share", message))
    return problems


def _of_slice(given: ExperimentDefinition) -> list[Problem]:
    start, end = given.layer_from, given.layer_to
    if (start is None) != (end is None):
        missing, other = ("layer_from", "layer_to") if start is None else ("layer_to", "layer_from")
        return [_problem(missing, f"goes with {other}: give both, or neither")]
    if start is not None and end is not None and start >= end:
        return [_problem("layer_from", f"must be below layer_to, {end:g}")]
    return []


def _problem(field: str, message: str) -> Problem:
    return {"field": field, "message": message}
