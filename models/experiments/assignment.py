"""Who gets what: experiments and flags, decided by a hash of the user's id.

Nothing is stored and nobody is asked, so every replica, and the tracker in the browser
(``serving/tracker/src/experiments.ts``), gives the same user the same arm. To raise a share only
adds users: nobody leaves an experiment, or changes its arm, while it ramps.
Source: Kohavi, Tang and Xu 2020, chapters 4 and 21; layers: Tang et al. 2010 (KDD).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import accumulate
from typing import Any, Literal

RankedBy = Literal["champion", "challenger", "heuristic", "time"]
BUILT_IN_FLAGS = ("ml_recommendations", "personalized_feed", "engagement_ranking")
"""On unless somebody switches them off; any other flag is off until it is made."""


def bucket(salt: str, user_id: str) -> float:
    """Where a user lies in [0, 1) under a salt: the first 48 bits of SHA-256 of ``salt:user_id``,
    in UTF-8. Uniform over users, and independent between salts."""
    digest = sha256(f"{salt}:{user_id}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


@dataclass(frozen=True)
class Arm:
    """What some of the users of an experiment get.

    Attributes:
        weight: its part of the experiment's users, in the scale of the other arms' weights.
        ranked_by: the variant that ranks; None: as without the experiment.
        settings: parts of the profile that are other than usual, by the section's name.
    """

    name: str
    weight: float = 1.0
    ranked_by: RankedBy | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Experiment:
    """An experiment on a slice of a layer.

    Of all experiments with disjoint slices of one layer a user is in one at most; different
    layers are independent of each other.

    Attributes:
        salt: decides who gets which arm.
        layer_from, layer_to: its slice of the layer, ``0 <= layer_from < layer_to <= 1``.
        share: of the slice's users, in [0, 1].
        arms: the first one is the control.
    """

    id: str
    salt: str
    layer: str
    layer_from: float
    layer_to: float
    share: float
    arms: tuple[Arm, ...]

    def arm_of(self, user_id: str) -> Arm | None:
        """The user's arm; None: not in the experiment."""
        position = bucket(f"layer:{self.layer}", user_id)
        if not self.layer_from <= position < self.layer_to:
            return None
        if (position - self.layer_from) / (self.layer_to - self.layer_from) >= self.share:
            return None
        ends = list(accumulate(arm.weight for arm in self.arms))
        point = bucket(self.salt, user_id) * ends[-1]
        return next((arm for arm, end in zip(self.arms, ends, strict=True) if point < end), None)

    def arm_named(self, name: str) -> Arm | None:
        return next((arm for arm in self.arms if arm.name == name), None)


@dataclass(frozen=True)
class Flag:
    """A switch for a share of the users."""

    name: str
    enabled: bool
    share: float = 1.0

    def on(self, user_id: str | None) -> bool:
        """For this user; anonymous users have it once all have."""
        if not self.enabled or self.share >= 1:
            return self.enabled
        return user_id is not None and bucket(f"flag:{self.name}", user_id) < self.share


@dataclass(frozen=True)
class Traffic:
    """All experiments that run, and all flags.

    Attributes:
        flags: by name.
        by_hand: arm by experiment and user, for those who did not get theirs by the hash. They
            are in their experiment whatever its share.
    """

    experiments: tuple[Experiment, ...] = ()
    flags: Mapping[str, Flag] = field(default_factory=dict)
    by_hand: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def arms(self, user_id: str | None) -> dict[str, Arm]:
        """The user's arms by experiment, one a layer at most: what was given by hand comes first,
        then the experiments in their order. Empty for anonymous users."""
        if user_id is None:
            return {}
        arms: dict[str, Arm] = {}
        layers: set[str] = set()
        for by_hand in (True, False) if self.by_hand else (False,):
            for experiment in self.experiments:
                if experiment.layer in layers:
                    continue
                if by_hand:
                    name = self.by_hand.get((experiment.id, user_id))
                    arm = None if name is None else experiment.arm_named(name)
                else:
                    arm = experiment.arm_of(user_id)
                if arm is not None:
                    arms[experiment.id] = arm
                    layers.add(experiment.layer)
        return arms

    def flag(self, name: str, user_id: str | None) -> bool:
        """Whether it is on for this user. Where nobody set it: on if it is built in."""
        flag = self.flags.get(name)
        return name in BUILT_IN_FLAGS if flag is None else flag.on(user_id)
