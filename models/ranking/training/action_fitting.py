"""Fit the chances of the actions that the profile values, and judge them.

Judged are users who were held out: each half by probabilities that were fitted to the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.ranking.features.table import Table
from models.ranking.rankers.actions import ActionChances, worth
from models.ranking.training.training_set import TrainingSet

LEAST_DONE = 20
"""Of an action that fewer rows have, nothing is known."""
LEAST = 1e-6
"""No probability is reported as less, or as nearer to 1."""
UNSHOWN_SHARE = 0.1
"""Of what was never shown, so much is learnt from too: most that a feed puts in order was not."""
BINS = 10
K = 10


@dataclass(frozen=True)
class ActionReport:
    """How well the chance of one action is known.

    Attributes:
        rows: of what was shown that it was learnt from; ``done`` of them have it.
        base_rate: share of the held-out users' rows that have it.
        log_loss, base_log_loss: mean over these rows, by its probabilities and by that share.
        calibration_error: mean distance between probability and share, over ``BINS`` equally large
            parts of these rows, from the least to the most likely (expected calibration error).
    """

    rows: int
    done: int
    base_rate: float
    log_loss: float
    base_log_loss: float
    calibration_error: float


@dataclass(frozen=True)
class ActionsReport:
    """
    Attributes:
        of: by action.
        left_out: why others are, by action.
        value, ranker_value: what the held-out users did with the first ten items, by value and
            discounted as in DCG, mean over those who did anything: in the order by value, and by
            the ranker alone.
    """

    of: dict[str, ActionReport]
    left_out: dict[str, str]
    value: float = 0.0
    ranker_value: float = 0.0


class Judged(NamedTuple):
    """The rows of a training set that probabilities are about, and the ranker's scores of all."""

    rows: TrainingSet
    which: NDArray[np.bool_]
    scores: NDArray[np.floating]


def fit_actions(
    values: Mapping[str, float], taught: Judged, kept: Judged, *, seed: int = 0
) -> tuple[ActionChances | None, ActionsReport]:
    """
    Args:
        values: of ``taught.rows.actions``, the profile's.
        taught: users whom the ranker has learnt from; their scores are not looked at.
        kept: users who were held out.
    """
    counts = taught.rows.done[taught.which].sum(axis=0) + kept.rows.done[kept.which].sum(axis=0)
    every = dict(zip(taught.rows.actions, counts.tolist(), strict=True))
    left_out = {
        name: f"{done} rows of what users were shown have it, at least {LEAST_DONE} are needed"
        for name, done in every.items()
        if done < LEAST_DONE
    }
    columns = np.array([column for column, name in enumerate(every) if name not in left_out])
    if not len(columns):
        return None, ActionsReport({}, left_out)
    kept_values = {name: values[name] for name in every if name not in left_out}
    done, table = taught.rows.done[:, columns], taught.rows.table
    learnt = done[taught.which]
    rows = taught.which | (np.random.default_rng(seed).random(len(done)) < UNSHOWN_SHARE)
    weights = taught.rows.done_weights[rows]
    lines = ActionChances.fit(kept_values, _part(table, rows), done[rows], weights)
    done = kept.rows.done[:, columns]

    def fitted(rows: NDArray[np.bool_]) -> ActionChances:
        table = _part(kept.rows.table, rows)
        return lines.calibrated(table, kept.scores[rows], done[rows], learnt)

    first = kept.rows.visits % 2 == 0
    chances = np.zeros(done.shape)
    for half in (first, ~first):
        chances[half] = fitted(kept.which & ~half).of(
            _part(kept.rows.table, half), kept.scores[half]
        )
    reports = {
        name: _report(len(learnt), count, chances[kept.which, column], done[kept.which, column])
        for column, (name, count) in enumerate(
            zip(kept_values, learnt.sum(axis=0).tolist(), strict=True)
        )
    }
    report = ActionsReport(reports, left_out)
    if any(value > 0 for value in kept_values.values()):
        each = list(kept_values.values())
        gains, order = done @ np.array(each), worth(chances, each)
        report = replace(
            report,
            value=_value(kept.rows, gains, kept.scores if len(each) == 1 else order),
            ranker_value=_value(kept.rows, gains, kept.scores),
        )
    return fitted(kept.which), report


def _report(
    rows: int, learnt: int, probabilities: NDArray[np.floating], outcomes: NDArray[np.bool_]
) -> ActionReport:
    share = float(outcomes.mean())
    parts = np.array_split(np.argsort(probabilities, kind="stable"), BINS)
    distances = [
        abs(float(probabilities[part].mean() - outcomes[part].mean())) * len(part)
        for part in parts
        if len(part)
    ]
    return ActionReport(
        rows=int(rows),
        done=int(learnt),
        base_rate=share,
        log_loss=log_loss(probabilities, outcomes),
        base_log_loss=log_loss(np.full(len(probabilities), share), outcomes),
        calibration_error=sum(distances) / len(probabilities),
    )


def log_loss(probabilities: NDArray[np.floating], outcomes: NDArray[np.bool_]) -> float:
    """Mean over rows, in nats."""
    probabilities = np.clip(probabilities, LEAST, 1 - LEAST)
    return float(-np.log(np.where(outcomes, probabilities, 1 - probabilities)).mean())


def _value(rows: TrainingSet, gains: NDArray[np.floating], scores: NDArray[np.floating]) -> float:
    """Discounted gain of the first ten of each visit by the scores, mean over visits with any."""
    order = np.lexsort((-scores, rows.visits))
    starts = np.concatenate(([0], np.cumsum(rows.groups)[:-1]))
    rank = np.arange(len(order)) - starts[rows.visits]
    first = rank < K
    sums = np.bincount(
        rows.visits[first], gains[order][first] / np.log2(rank[first] + 2), len(rows.groups)
    )
    some = np.bincount(rows.visits, gains != 0, len(rows.groups)) > 0
    return float(sums[some].mean()) if some.any() else 0.0


def _part(table: Table, rows: NDArray[np.bool_]) -> Table:
    return Table(table.names, table.values[rows])
