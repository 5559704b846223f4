"""Who gets what: the same everywhere, in the right shares, at most one arm a layer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.experiments.assignment import BUILT_IN_FLAGS, Arm, Experiment, Flag, Traffic, bucket

TRACKER = Path(__file__).parents[2] / "serving" / "tracker"
VECTORS = json.loads((TRACKER / "tests" / "assignment.json").read_text(encoding="utf-8"))
PEOPLE = [f"user {n}" for n in range(20_000)]
ids = st.text(st.characters(exclude_categories=["Cs"]))


def experiment(name: str = "e", **other: Any) -> Experiment:
    made: dict[str, Any] = {
        "salt": name,
        "layer": "ranking",
        "layer_from": 0.0,
        "layer_to": 1.0,
        "share": 1.0,
        "arms": (Arm("control"), Arm("challenger")),
    }
    return Experiment(id=name, **{**made, **other})


@pytest.mark.parametrize("name", VECTORS["definitions"])
def test_the_tracker_and_the_server_agree(name: str) -> None:
    definition = VECTORS["definitions"][name]
    arms = tuple(Arm(**arm) for arm in definition["arms"])
    made = Experiment(id=name, **{**definition, "arms": arms})
    found = {user: made.arm_of(user) for user in VECTORS["arms"][name]}
    assert {user: arm and arm.name for user, arm in found.items()} == VECTORS["arms"][name]


@given(salt=ids, user=ids)
def test_a_bucket_is_a_share(salt: str, user: str) -> None:
    assert 0 <= bucket(salt, user) < 1


def test_shares_and_weights_hold() -> None:
    weighed = experiment(share=0.4, arms=(Arm("a", 1), Arm("none", 0), Arm("b", 3)))
    arms = [arm.name if arm else None for arm in map(weighed.arm_of, PEOPLE)]
    assert arms.count("a") / len(PEOPLE) == pytest.approx(0.1, abs=0.01)
    assert arms.count("b") / len(PEOPLE) == pytest.approx(0.3, abs=0.015)
    assert "none" not in arms


@given(user=ids, shares=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_ramp_moves_nobody(user: str, shares: tuple[float, float]) -> None:
    before, after = (experiment(share=share).arm_of(user) for share in sorted(shares))
    assert before is None or before == after


def test_slices_of_a_layer_are_exclusive_and_layers_independent() -> None:
    first = experiment("first", layer_to=0.5)
    second = experiment("second", layer_from=0.5)
    other = experiment("other", layer="page")
    arms = [Traffic((first, second, other)).arms(user) for user in PEOPLE]
    assert all(len(found.keys() & {"first", "second"}) == 1 for found in arms)
    sides = np.array([["first" in found, found["other"].name == "control"] for found in arms])
    assert abs(np.corrcoef(sides.T)[0, 1]) < 0.03


@given(user=ids, slices=st.lists(st.tuples(st.floats(0, 0.99), st.floats(0, 1)), max_size=4))
def test_one_arm_a_layer_even_where_slices_overlap(
    user: str, slices: list[tuple[float, float]]
) -> None:
    overlapping = tuple(
        experiment(str(n), layer_from=start, layer_to=1.0, share=share)
        for n, (start, share) in enumerate(slices)
    )
    assert len(Traffic(overlapping).arms(user)) <= 1


def test_arms_given_by_hand_come_first_and_take_the_layer() -> None:
    small, rest = experiment("small", share=0.0), experiment("rest")
    traffic = Traffic(
        (rest, small), by_hand={("small", "me"): "challenger", ("small", "you"): "gone"}
    )
    assert {name: arm.name for name, arm in traffic.arms("me").items()} == {"small": "challenger"}
    assert traffic.arms("you").keys() == traffic.arms("they").keys() == {"rest"}
    assert traffic.arms(None) == {}


def test_flags() -> None:
    half = Flag("half", True, 0.5)
    assert np.mean([half.on(user) for user in PEOPLE]) == pytest.approx(0.5, abs=0.02)
    assert not half.on(None)
    assert Flag("all", True).on(None)
    assert not Flag("off", False).on("me")
    traffic = Traffic(flags={"ml_recommendations": Flag("ml_recommendations", False)})
    assert [traffic.flag(name, "me") for name in BUILT_IN_FLAGS] == [False, True, True]
    assert not traffic.flag("unheard_of", "me")
