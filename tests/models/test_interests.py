"""Interests are what the formula says, whatever the order, the batches and the moment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.catalogue.viewers.interests import Interests, interests_of

HOUR = 3600.0
HALF_LIFE = 72 * HOUR
CAP = 10.0
NOW = 1_750_000_000.0


@dataclass(frozen=True)
class Event:
    tags: tuple[int, ...]
    category: int
    city: int
    weight: float
    time: float


events = st.lists(
    st.builds(
        Event,
        tags=st.sets(st.integers(0, 5), max_size=3).map(lambda tags: tuple(sorted(tags))),
        category=st.integers(-1, 3),
        city=st.integers(-1, 3),
        weight=st.integers(-8, 8).map(float),
        time=st.floats(NOW - 700 * HOUR, NOW),
    ),
    max_size=30,
)


def interests(given: list[Event], now: float = NOW) -> Interests:
    tags = np.full((len(given), 3), -1, np.int32)
    for place, event in enumerate(given):
        tags[place, : len(event.tags)] = event.tags
    return interests_of(
        tags,
        np.array([event.category for event in given], np.int32),
        np.array([event.city for event in given], np.int32),
        np.array([event.weight for event in given]),
        np.array([event.time for event in given]),
        now=now,
        half_life=HALF_LIFE,
        cap=CAP,
    )


def scores(of: Interests) -> list[dict[int, float]]:
    return [
        dict(zip(part.indices.tolist(), part.values.tolist(), strict=True)) for part in of.scores()
    ]


def by_hand(given: list[Event], now: float) -> list[dict[int, float]]:
    sums: list[dict[int, float]] = [{}, {}, {}]
    for event in given:
        for part, values in zip(sums, (event.tags, (event.category,), (event.city,)), strict=True):
            for value in values:
                if value >= 0 and event.weight:
                    faded = event.weight * 0.5 ** ((now - event.time) / HALF_LIFE)
                    part[value] = part.get(value, 0.0) + faded
    return [{value: min(CAP, total) for value, total in part.items()} for part in sums]


@given(events, st.floats(0, 500))
def test_scores_are_the_formula(given: list[Event], hours: float) -> None:
    now = NOW + hours * HOUR
    found = scores(interests(given, now))
    for part, expected in zip(found, by_hand(given, now), strict=True):
        assert part == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(events, st.randoms())
def test_the_order_does_not_matter_to_the_last_bit(given: list[Event], random: object) -> None:
    shuffled = list(given)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert scores(interests(shuffled)) == scores(interests(given))


@given(events, st.floats(0, 300), st.floats(0, 300))
def test_fading_twice_is_fading_once(given: list[Event], first: float, second: float) -> None:
    later = NOW + (first + second) * HOUR
    twice = interests(given).at_time(NOW + first * HOUR).at_time(later)
    for found, expected in zip(scores(twice), scores(interests(given, later)), strict=True):
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_the_cap_holds_and_hides_nothing_that_fades() -> None:
    """20 points are still 10 after one half-life: the sum has no cap, the score has."""
    twenty = interests([Event((1,), -1, -1, 5.0, NOW)] * 4)
    assert scores(twenty)[0] == {1: CAP}
    assert scores(twenty.at_time(NOW + HALF_LIFE))[0] == pytest.approx({1: 10.0})
    assert scores(twenty.at_time(NOW + 2 * HALF_LIFE))[0] == pytest.approx({1: 5.0})


def test_hidden_tags_are_not_learned() -> None:
    known = interests([Event((1, 2), 0, 0, 5.0, NOW)]).without_tags(np.array([2], np.int32))
    assert scores(known) == [{1: 5.0}, {0: 5.0}, {0: 5.0}]
