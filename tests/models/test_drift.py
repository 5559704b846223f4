"""Drift: what moves the index, and what does not."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.catalogue.building import Catalogue
from models.catalogue.snapshots.snapshot import Snapshot
from models.evaluation import drift
from models.evaluation.drift import Reference, psi
from models.profile.training_sections import Drift
from tests.models.worlds import NOW, PROFILE

RULES = Drift(min_rows=1, min_users=20)
HALF = NOW - timedelta(days=30)


def rows_of(users: int, values: list[str], seed: int = 0, each: int = 5) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    chosen = rng.choice(values, users * each)
    return pl.DataFrame({"user": np.repeat(np.arange(users), each).astype(str), "value": chosen})


def shift(before: pl.DataFrame, now: pl.DataFrame) -> drift.Shift:
    known = drift.reference({"g": before}, until=NOW, rows=len(before))
    stored = Reference.from_bytes(known.to_bytes())
    assert stored == known
    (found,) = drift.shifts(stored, {"g": now}, RULES)
    return found


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=20),
    st.integers(1, 10_000),
    st.integers(1, 10_000),
)
def test_the_index_is_never_negative(pairs: list, users: int, before: int) -> None:
    sides = np.array(pairs) + 1e-9
    a, e = (side / side.sum() for side in sides.T)
    terms = psi(a, e, users, before)
    assert np.isfinite(terms).all()
    assert (terms >= 0).all()
    assert psi(a, a, users, users).sum() == pytest.approx(0)


def test_the_formula() -> None:
    found = psi(np.array([0.2, 0.8]), np.array([0.5, 0.5]), 10**9, 10**9).sum()
    assert found == pytest.approx(-0.3 * np.log(0.2 / 0.5) + 0.3 * np.log(0.8 / 0.5), abs=1e-6)


def test_the_same_is_stable_and_another_mix_is_drift() -> None:
    before = rows_of(400, ["a", "b", "c"])
    assert shift(before, rows_of(400, ["a", "b", "c"], seed=1)).status == "stable"
    moved = shift(before, rows_of(400, ["a", "a", "a", "b", "c"], seed=1))
    assert moved.status == "drift"
    assert moved.psi > moved.noise
    assert next(iter(moved.moved)) == "a"
    new = shift(before, rows_of(400, ["a", "b", "c", "d"], seed=1))
    assert new.status == "drift"
    assert drift.OTHER in new.moved


def test_chance_is_no_drift() -> None:
    """Few users, many values: the index is high, and no higher than chance makes it."""
    values = [f"v{n}" for n in range(15)]
    found = [
        shift(rows_of(30, values, seed, each=1), rows_of(30, values, seed + 100, each=1))
        for seed in range(40)
    ]
    assert np.mean([one.psi for one in found]) > RULES.retrain
    assert sum(one.status != "stable" for one in found) <= 2


def test_one_busy_user_is_one_user() -> None:
    before = rows_of(200, ["a", "b"])
    robot = pl.DataFrame({"user": ["robot"] * 50_000, "value": ["c"] * 50_000})
    assert shift(before, pl.concat([before, robot])).status == "stable"
    few = shift(before, robot)
    assert (few.status, few.users) == ("not_enough_data", 1)


def test_numbers_and_what_is_missing(rng: np.random.Generator) -> None:
    def numbers(mean: float, missing: float) -> pl.DataFrame:
        values = rng.normal(mean, 1, 2_000)
        users = [str(n % 500) for n in range(2_000)]
        return pl.DataFrame({"user": users, "value": values}).with_columns(
            value=pl.when(pl.Series(rng.random(2_000) >= missing)).then("value")
        )

    before = numbers(0, 0)
    assert shift(before, numbers(0, 0)).status == "stable"
    assert shift(before, numbers(1, 0)).status == "drift"
    assert drift.UNSET in shift(before, numbers(0, 0.5)).moved


def test_a_world_against_itself_and_another(
    catalogue: Catalogue, interactions: pl.DataFrame, snapshot: Snapshot
) -> None:
    def watched(rows: pl.DataFrame, items: pl.DataFrame = catalogue.items) -> drift.Groups:
        weights = PROFILE.interaction_weights
        return drift.watched(rows, catalogue.users, items, snapshot, weights)

    early = interactions.filter(pl.col("occurred_at") < HALF)
    late = interactions.filter(pl.col("occurred_at") >= HALF)
    assert min(len(early), len(late)) > 1_000
    known = drift.reference(watched(early), until=HALF, rows=len(early))
    found = {one.group: one for one in drift.shifts(known, watched(late), RULES)}
    assert set(found) == set(known.groups)
    assert found["interactions.type"].status == found["scores"].status == "stable"

    odd = late.with_columns(type=pl.lit("save"))
    renamed = catalogue.items.with_columns(category=pl.lit("new"), city=pl.lit(None, pl.String))
    found = {one.group: one for one in drift.shifts(known, watched(odd, renamed), RULES)}
    for group in ("interactions.type", "items.category", "items.city"):
        assert found[group].status == "drift", group
    assert drift.overall(list(found.values())) == "drift"
    assert drift.described(list(found.values()))[0]["psi"] > 0.2


def test_next_to_nothing(snapshot: Snapshot, catalogue: Catalogue, interactions) -> None:
    nothing = drift.watched(
        interactions.head(0),
        catalogue.users.head(0),
        catalogue.items.head(0),
        snapshot,
        PROFILE.interaction_weights,
    )
    known = drift.reference(nothing, until=NOW, rows=0)
    assert drift.overall(drift.shifts(known, nothing, RULES)) == "not_enough_data"
    assert drift.overall([]) == "not_enough_data"


def test_a_catalogue_that_only_grows_older_is_no_drift(
    catalogue: Catalogue, snapshot: Snapshot, rng: np.random.Generator
) -> None:
    items = catalogue.items.with_columns(
        created_at=pl.lit(NOW - timedelta(days=40)) - pl.duration(hours=pl.row_index())
    )

    def chosen(first: int, last: int, items: pl.DataFrame, most: int) -> drift.Groups:
        """Days ago, by anybody any of the newest items."""
        count = 4_000
        hours = rng.integers(24 * last, 24 * first, count).tolist()
        rows = pl.DataFrame(
            {
                "user_id": catalogue.users["id"].sample(count, with_replacement=True, seed=first),
                "item_id": items["id"].gather(rng.integers(0, most, count)),
                "type": "click",
                "occurred_at": [NOW - timedelta(hours=ago) for ago in hours],
            }
        )
        seen = pl.DataFrame(
            {"user_id": "visitor", "item_id": items["id"], "type": "impression",
             "occurred_at": NOW - timedelta(days=last)}
        )  # fmt: skip
        rows = pl.concat([rows, seen])
        weights = PROFILE.interaction_weights
        return drift.watched(rows, catalogue.users, items, snapshot, weights)

    def status(groups: drift.Groups) -> str:
        found = drift.shifts(known, groups, RULES)
        return next(one.status for one in found if one.group == "items.age")

    known = drift.reference(chosen(14, 7, items, len(items)), until=NOW, rows=4_000)
    assert status(chosen(7, 0, items, len(items))) == "stable"
    assert status(chosen(7, 0, items, len(items) // 3)) == "drift"  # the newest alone
    unknown = items.with_columns(created_at=pl.lit(None, items.schema["created_at"]))
    assert status(chosen(7, 0, unknown, len(items))) == "drift"


def test_the_window() -> None:
    week = timedelta(days=7)
    assert drift.window(NOW, RULES) == NOW - week
    assert drift.window(NOW, RULES, now=NOW + timedelta(days=1)) == NOW
    assert drift.window(NOW, RULES, now=NOW + timedelta(days=9)) == NOW + timedelta(days=2)
