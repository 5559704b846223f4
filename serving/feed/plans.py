"""How a feed is to be ranked: as the request asks, else as flags say, else as experiments do."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from hashlib import blake2b
from typing import Any

import orjson
from pydantic import ValidationError

from models.experiments.arm_settings import with_settings
from models.experiments.assignment import BUILT_IN_FLAGS, Arm, RankedBy
from models.profile.feed_sections import SCORERS
from models.profile.schema import Profile, load_profile
from serving.feed.shapes import FeedRequest
from serving.versions.fallback import FallbackReason, Variant
from storage.operations.experiments import Polled

log = logging.getLogger("feedwright.serving")
REMEMBERED = 2_000
"""Sets of arms: many layers make many of them."""


@dataclass(frozen=True)
class Plan:
    """
    Attributes:
        ranked_by: what ranks, if it can.
        profile: by which.
        mark: tells it from other plans; the same in every worker.
        asked: the request chose it, so no flag and no experiment counts.
        impersonal: as for somebody of whom only the place is known.
        reason: why something else ranks than usual.
        experiments: the user's arm by experiment.
        challenger: the version that such an arm is about; None: whichever the challenger is.
    """

    ranked_by: RankedBy
    profile: Profile
    mark: str = ""
    asked: bool = False
    impersonal: bool = False
    reason: FallbackReason | None = None
    experiments: Mapping[str, str] = field(default_factory=dict)
    challenger: str | None = None


class Plans:
    """Used from one event loop. What an arm changes is worked out once, not for each request."""

    def __init__(self, polled: Callable[[], Polled]) -> None:
        self._polled = polled
        self._made_of: tuple[Polled, Profile] | None = None
        self._by_arms: dict[tuple[tuple[str, str], ...], Plan] = {}
        self._by_settings: dict[bytes, Profile] = {}
        self._off: dict[str, Plan] = {}

    @property
    def withdrawn(self) -> frozenset[str]:
        """Versions that nothing may serve, not even what they ranked before."""
        return self._polled().withdrawn

    def of(self, request: FeedRequest, profile: Profile) -> Plan:
        """The plan for a request; some microseconds."""
        asked = _asked_for(request)
        if asked is not None:
            return Plan(asked, _previewed(profile, request), "asked", asked=True)
        polled = self._polled()
        if self._made_of is None or self._made_of[0] is not polled or (
            self._made_of[1] is not profile
        ):  # fmt: skip
            self._renew(polled, profile)
        traffic, user_id = polled.traffic, request.user_id
        for flag, off in self._off.items():
            if not traffic.flag(flag, user_id):
                return off
        arms = traffic.arms(user_id)
        key = tuple((experiment, arm.name) for experiment, arm in arms.items())
        plan = self._by_arms.get(key)
        if plan is None:
            if len(self._by_arms) >= REMEMBERED:
                self._by_arms.clear()
            plan = self._by_arms[key] = self._of_arms(arms, polled, profile)
        return plan

    def _renew(self, polled: Polled, profile: Profile) -> None:
        if self._made_of is None or self._made_of[1] is not profile:
            self._by_settings.clear()
        self._made_of = polled, profile
        self._by_arms.clear()
        # What is on for everybody need not be asked for each user.
        flags = polled.traffic.flags
        self._off = {
            name: _off(name, profile)
            for name in reversed(BUILT_IN_FLAGS)
            if name in flags and not (flags[name].enabled and flags[name].share >= 1)
        }

    def _of_arms(self, arms: Mapping[str, Arm], polled: Polled, profile: Profile) -> Plan:
        deciding = next(
            ((experiment, arm) for experiment, arm in arms.items() if arm.ranked_by), None
        )
        ranked_by: RankedBy = (deciding and deciding[1].ranked_by) or "champion"
        settings = orjson.dumps(
            [arm.settings for arm in arms.values() if arm.settings], option=orjson.OPT_SORT_KEYS
        )
        experiments = {experiment: arm.name for experiment, arm in arms.items()}
        challenger = None
        if deciding is not None and ranked_by == "challenger":
            challenger = polled.challengers.get(deciding[0])
        content = orjson.dumps([ranked_by, sorted(experiments.items()), challenger]) + settings
        return Plan(
            ranked_by,
            self._with_settings(settings, arms, profile),
            blake2b(content, digest_size=8).hexdigest() if arms else "",
            experiments=experiments,
            challenger=challenger,
        )

    def _with_settings(self, key: bytes, arms: Mapping[str, Arm], profile: Profile) -> Profile:
        """The profile as these arms have it: the same object each time, so that what is kept of
        it stays good."""
        changed = self._by_settings.get(key)
        if changed is None:
            changed = profile
            for experiment, arm in arms.items():
                try:
                    changed = with_settings(changed, arm.settings)
                except ValidationError as error:  # it was checked against another profile
                    detail = f"{experiment}, {arm.name}: {error}"
                    log.warning("settings of an arm not used", extra={"detail": detail})
            if len(self._by_settings) >= REMEMBERED:
                self._by_settings.clear()
            self._by_settings[key] = changed
        return changed


def _off(flag: str, profile: Profile) -> Plan:
    """What is left where a built-in flag is off."""
    return Plan(
        "time" if flag == "engagement_ranking" else "heuristic",
        profile,
        f"{flag} off",
        impersonal=flag == "personalized_feed",
        reason="switched_off",
    )


load_shipped = cache(load_profile)
"""Profiles that ship do not change while the program runs."""


def _asked_for(request: FeedRequest) -> Variant | None:
    """How the request wants to be ranked, if it does not leave that to us."""
    if request.sort == "time" or request.variant == "time":
        return "time"
    if request.weights is not None or request.profile is not None:
        return "heuristic"
    return request.variant


def _previewed(profile: Profile, request: FeedRequest) -> Profile:
    """The profile, with other scorers or weights where the request asks for them. Rules stay."""
    changed: dict[str, Any] = {}
    if request.profile is not None and request.profile != profile.name:
        other = load_shipped(request.profile)
        changed = {
            name: getattr(other, name) for name in ("scorer_weights", "scorers", "diversity")
        }
    if request.weights is not None:
        changed["scorer_weights"] = {name: request.weights.get(name, 0.0) for name in SCORERS}
    return profile.model_copy(update=changed) if changed else profile
