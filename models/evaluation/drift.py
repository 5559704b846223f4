"""Drift: have the data moved away from what the champion learnt?

The population stability index of a histogram a against a reference e is::

    PSI = Σ (a - e) · ln(a / e)

Below 0.1 is called stable, from 0.2 or 0.25 a shift (Siddiqi 2006, "Credit risk scorecards").
That leaves out chance: with B buckets and n and m independent rows, PSI · nm / (n + m) is about
chi-squared with B - 1 degrees of freedom when nothing has changed (Yurdakul 2018, "Statistical
properties of population stability index"). So few rows reach 0.2 by themselves, and a shift must
be above the 99 % quantile of that too. What one user does is not independent, so every user
weighs one, however much they do, and n and m count users.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import chdtri  # scipy.stats takes a second to import

from models.catalogue.snapshots.snapshot import Snapshot
from models.profile.interaction_types import Weights
from models.profile.training_sections import Drift
from models.recommenders.served import of_snapshot

DRIFT = "drift.json"
"""File beside a snapshot that holds the reference."""
LABELS = 20
"""The most frequent values of a feature have a bucket each; the rest share one."""
BUCKETS = 10
CONFIDENCE = 0.99
OTHER, UNSET = "(other)", "(none)"
SAMPLED_USERS, SAMPLED_ITEMS = 500, 200

Status = Literal["stable", "watch", "drift", "not_enough_data"]
Groups = Mapping[str, pl.DataFrame]
"""By name of what is watched: columns user, and value, which is text or a number."""


@dataclass(frozen=True)
class Histogram:
    """Shares of the users' rows by bucket.

    Attributes:
        labels: of the buckets; of numbers, their places.
        edges: between the buckets of numbers; None: values are text.
        shares: sum to 1.
        users: whom they are of.
    """

    labels: list[str]
    edges: list[float] | None
    shares: list[float]
    users: int


@dataclass(frozen=True)
class Reference:
    """What a version saw last.

    Attributes:
        until: when the last of the interactions occurred, RFC 3339.
        rows: interactions.
    """

    until: str
    rows: int
    groups: dict[str, Histogram]

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        stored = json.loads(content)
        groups = {name: Histogram(**histogram) for name, histogram in stored["groups"].items()}
        return cls(stored["until"], stored["rows"], groups)


@dataclass(frozen=True)
class Shift:
    """How far one histogram has moved.

    Attributes:
        noise: the PSI that chance alone seldom exceeds with so many users.
        users: whom the fresh histogram is of.
        moved: the buckets that say most of it, share before and share now.
    """

    group: str
    psi: float
    noise: float
    users: int
    status: Status
    moved: dict[str, tuple[float, float]]


def watched(
    interactions: pl.DataFrame,
    users: pl.DataFrame,
    items: pl.DataFrame,
    snapshot: Snapshot,
    weights: Weights,
) -> Groups:
    """What is watched of a stretch of the log: the mix of types, features of the users who did
    something and of the items that they chose, and the scores that the version gives these users.

    Args:
        interactions: columns user_id, item_id, type, occurred_at.
        users: id, city, tags.
        items: id, category, city, tags, price_min, price_max, created_at.
        weights: features are of types with a weight above 0; impressions are what the feed
            chose, and not what users did.
    """
    rows = interactions.filter(pl.col("user_id").is_not_null()).rename({"user_id": "user"})
    positive = [type for type, weight in weights.items() if weight > 0]
    chosen = rows.filter(pl.col("type").is_in(positive))
    active = chosen.select("user").unique().sort("user")
    people = active.join(users, left_on="user", right_on="id")
    touched = chosen.join(items, left_on="item_id", right_on="id")
    return {
        "interactions.type": rows.select("user", value="type"),
        "users.city": people.select("user", value="city"),
        "users.tags": _each(people, "tags"),
        "items.category": touched.select("user", value="category"),
        "items.city": touched.select("user", value="city"),
        "items.tags": _each(touched, "tags"),
        "items.price": touched.select(
            "user", value=pl.mean_horizontal("price_min", "price_max").cast(pl.Float64)
        ),
        "items.age": touched.select("user", value=_age(touched, items, rows)),
        "scores": _scores(snapshot, active["user"]),
    }


def _each(rows: pl.DataFrame, column: str) -> pl.DataFrame:
    return rows.select("user", value=column).explode("value")


def _age(touched: pl.DataFrame, items: pl.DataFrame, rows: pl.DataFrame) -> pl.Series:
    """Share of the items that were newer then than the chosen one, of those that were there and
    that anything was heard of in the stretch. In days, everything that nobody adds to would
    drift: it grows older."""
    heard_of = items.join(rows, left_on="id", right_on="item_id", how="semi")
    born = np.sort(heard_of["created_at"].drop_nulls().dt.epoch("us").to_numpy())
    then, own = (
        np.searchsorted(born, touched[time].dt.epoch("us").fill_null(0).to_numpy(), side="right")
        for time in ("occurred_at", "created_at")
    )
    share = pl.Series(np.maximum(then - own, 0) / np.maximum(then, 1))
    return share.set(touched["created_at"].is_null(), None)


def _scores(snapshot: Snapshot, users: pl.Series) -> pl.DataFrame:
    """Scores of a sample of items, the same ones every time, for a sample of the users."""
    rng = np.random.default_rng(0)
    items = snapshot.items
    published = np.flatnonzero(items.published[: len(items.ids)])
    columns = rng.choice(published, min(SAMPLED_ITEMS, len(published)), replace=False)
    sample = rng.choice(len(users), min(SAMPLED_USERS, len(users)), replace=False)
    chosen = users.gather(np.sort(sample))
    rows = snapshot.users.ids.indices(chosen)
    scores = np.tile(items.bias[columns], (len(chosen), 1))
    trained = np.flatnonzero(rows >= 0)
    if len(trained):
        scores[trained] = of_snapshot(snapshot).score(rows[trained])[:, columns]
    return pl.DataFrame(
        {
            "user": chosen.gather(np.repeat(np.arange(len(chosen)), len(columns))),
            "value": scores.ravel().astype(np.float64),
        }
    )


def reference(groups: Groups, *, until: datetime, rows: int) -> Reference:
    """The histograms that later data are held against. O(rows)."""
    return Reference(
        until.isoformat(), rows, {name: _histogram(values) for name, values in groups.items()}
    )


def _histogram(values: pl.DataFrame) -> Histogram:
    edges = None
    if values.schema["value"].is_numeric():
        numbers = values["value"].drop_nulls().drop_nans().to_numpy()
        quantiles = np.linspace(0, 1, BUCKETS + 1)[1:-1]
        edges = np.unique(np.quantile(numbers, quantiles)).tolist() if len(numbers) else []
        labels = [*(str(index) for index in range(len(edges) + 1)), UNSET]
    else:
        counted = values.with_columns(pl.col("value").fill_null(UNSET)).group_by("value")
        most = counted.agg(users=pl.col("user").n_unique()).sort(
            "users", "value", descending=[True, False]
        )
        labels = [*most["value"].head(LABELS), OTHER]
    shares, users = _shares(values, labels, edges)
    return Histogram(labels, edges, shares.tolist(), users)


def _shares(
    values: pl.DataFrame, labels: list[str], edges: list[float] | None
) -> tuple[NDArray[np.float64], int]:
    """Shares by bucket, where every user weighs one; and how many users there are."""
    if edges is None:
        text = pl.col("value").cast(pl.String).fill_null(UNSET)
        label = pl.when(text.is_in(labels)).then(text).otherwise(pl.lit(OTHER))
        named = values.with_columns(value=label)
    else:
        numbers = values["value"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        bins = np.searchsorted(edges, numbers, side="left").astype(str)
        bins[np.isnan(numbers)] = UNSET
        named = values.with_columns(value=pl.Series(bins, dtype=pl.String))
    weighed = (
        named.with_columns(weight=1 / pl.len().over("user"))
        .group_by("value")
        .agg(pl.col("weight").sum())
    )
    users = values["user"].n_unique() if len(values) else 0
    weight_of = dict(weighed.iter_rows())
    return np.array([weight_of.get(label, 0.0) for label in labels]) / max(users, 1), users


def psi(
    fresh: NDArray[np.floating], before: NDArray[np.floating], users: int, users_before: int
) -> NDArray[np.float64]:
    """The terms of the index, by bucket; their sum is the PSI, at least 0.

    Half a user is added to each bucket of either side, so that an empty one has a logarithm.

    Args:
        fresh, before: shape (buckets,), shares that sum to 1.
    """
    a, e = (
        (shares * count + 0.5) / (count + 0.5 * len(shares))
        for shares, count in ((np.asarray(fresh), users), (np.asarray(before), users_before))
    )
    return (a - e) * np.log(a / e)


def shifts(reference: Reference, groups: Groups, rules: Drift) -> list[Shift]:
    """How far each histogram has moved, the farthest first."""
    measured = [
        _shift(name, reference.groups[name], values, rules)
        for name, values in groups.items()
        if name in reference.groups
    ]
    return sorted(measured, key=lambda shift: -shift.psi)


def _shift(name: str, reference: Histogram, values: pl.DataFrame, rules: Drift) -> Shift:
    fresh, users = _shares(values, reference.labels, reference.edges)
    if min(users, reference.users) < rules.min_users:
        return Shift(name, 0.0, 0.0, users, "not_enough_data", {})
    before = np.asarray(reference.shares)
    terms = psi(fresh, before, users, reference.users)
    index = float(terms.sum())
    used = int(((fresh > 0) | (before > 0)).sum())
    noise = chdtri(max(used - 1, 1), 1 - CONFIDENCE) * (1 / users + 1 / reference.users)
    status: Status = "stable"
    if index > noise:
        status = "drift" if index >= rules.retrain else "watch" if index >= rules.watch else status
    most = np.argsort(-terms)[:3]
    moved = {reference.labels[row]: (float(before[row]), float(fresh[row])) for row in most}
    return Shift(name, index, float(noise), users, status, moved)


def overall(shifts: list[Shift]) -> Status:
    """The gravest of all."""
    order: tuple[Status, ...] = ("drift", "watch", "stable")
    present = {shift.status for shift in shifts}
    return next((status for status in order if status in present), "not_enough_data")


def window(until: datetime, rules: Drift, *, now: datetime | None = None) -> datetime:
    """Where the stretch begins that is looked at: before ``until``, or after it up to ``now``,
    at most ``window_days`` long."""
    length = timedelta(days=rules.window_days)
    return until - length if now is None else max(until, now - length)


def described(shifts: list[Shift]) -> list[dict[str, Any]]:
    """A row a histogram, for tables."""
    return [
        {
            "group": shift.group,
            "psi": shift.psi,
            "by chance": shift.noise,
            "users": shift.users,
            "status": shift.status,
            "moved most": ", ".join(
                f"{label} {before:.1%} → {now:.1%}" for label, (before, now) in shift.moved.items()
            ),
        }
        for shift in shifts
    ]
