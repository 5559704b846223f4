"""What a ranker sees of a (user, candidate): named columns in one order, with a digest.

All are of what was known when the candidates were drawn, so that a row at training and one when
serving mean the same. Columns: of each recommender of the first stage its score, standardised over
the user's items, and the log of its rank; of the item and of the user how much is known of them;
of the pair, how the item's features fit what the user liked (``taste.<kind>``), how people like
the user took to the item (``group.<kind>``) and, given moments, how it did when the user was about.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from benchmarks.two_stage.first_stage import Scores, standardised
from models.data.features import Features
from models.ranking.table import Table
from models.recommenders.base import Dataset

DAY = 86_400.0
PERIODS = (7, 30)
"""Days over which an item's popularity in the user's own time is counted."""
SMOOTHING = 20.0
"""Interactions of everybody that a group's own are mixed with."""


class FeatureMaker:
    """Makes the tables of one dataset: what needs all of it is counted once."""

    def __init__(self, known: Dataset, times: sparse.csr_array | None = None) -> None:
        """
        Args:
            times: epoch seconds of each pair of ``known.matrix``, shape (users, items); more pairs
                may be in it, and are not looked at. None: no columns of time.
        """
        values = known.matrix.values
        self._seen = sparse.csr_array(
            (np.ones(values.nnz, np.float32), values.indices, values.indptr), shape=values.shape
        )
        used = np.bincount(values.indices, minlength=values.shape[1])
        total = np.bincount(values.indices, values.data, values.shape[1])
        mean = float(values.data.mean()) if values.nnz else 0.0
        active = np.diff(values.indptr)
        given = np.asarray(values.sum(axis=1)).ravel()
        prior = 5  # interactions of the mean value that each item and user is given
        self._of_item = {
            "item.used": np.log1p(used),
            "item.value": (total + prior * mean) / (used + prior),
            "item.trend": np.log(
                (known.popularity.recent + 0.1) / (known.popularity.overall + 0.1)
            ),
        }
        self._of_user = {
            "user.active": np.log1p(active),
            "user.value": (given + prior * mean) / (active + prior),
        }
        share = used / max(used.sum(), 1)
        self._tastes = {
            f"taste.{kind}": (self._lifts(part), _mean_rows(part))
            for kind, part in _kinds(known.item_features)
        }
        self._groups = {
            f"group.{kind}": (_mean_rows(part), self._group_lifts(part, share))
            for kind, part in _kinds(known.user_features)
        }
        self._periods: dict[str, tuple[sparse.csr_array, sparse.csr_array]] = {}
        self._last: NDArray[np.float64] | None = None
        if times is not None and values.nnz:
            self._of_times(times)

    def table(
        self,
        users: NDArray[np.integer],
        candidates: NDArray[np.integer],
        scores: Scores,
        ranked: Mapping[str, NDArray[np.int32]],
    ) -> Table:
        """Rows in the order of ``candidates``, row by row.

        Args:
            users: rows, shape (b,).
            candidates: columns, shape (b, c), -1 for none: such a row is of no meaning.
            scores, ranked: of each recommender, what it gives these users, shape (b, items), and
                the ``ranks`` of it.
        """

        def pick(dense: NDArray) -> NDArray[np.float32]:
            return np.take_along_axis(np.asarray(dense, np.float32), candidates, axis=1)

        columns: dict[str, NDArray] = {}
        for name, of_one in scores.items():
            columns[f"{name}.score"] = pick(standardised(of_one))
            columns[f"{name}.rank"] = np.log1p(pick(ranked[name]))
        for name, values in self._of_item.items():
            columns[name] = values[candidates]
        for name, values in self._of_user.items():
            columns[name] = np.broadcast_to(values[users][:, None], candidates.shape)
        for name, (liking, items) in self._tastes.items():
            columns[name] = pick(liking[users] @ items.T.toarray())
        for name, (groups, lifts) in self._groups.items():
            columns[name] = pick(groups[users] @ lifts)
        for name, (when, then) in self._periods.items():
            columns[name] = pick(np.log((when[users] @ then).toarray() + 0.1)) - np.log(
                self._share[candidates] + 0.1
            )
        if self._last is not None:
            last = self._last[users][:, None]
            columns["days.since_first_use"] = (last - self._first_use[candidates]) / DAY
            columns["days.since_last_use"] = (last - self._last_use[candidates]) / DAY
        flat = [np.asarray(column, np.float32).reshape(-1) for column in columns.values()]
        return Table(tuple(columns), np.column_stack(flat))

    def _lifts(self, part: sparse.csr_array) -> NDArray[np.float32]:
        """``log(share of the feature among what the user has / among what all have)``."""
        held = (self._seen @ _mean_rows(part)).toarray()
        everybody = held.sum(axis=0) / max(held.sum(), 1)
        mixed = (held + 2 * everybody) / (held.sum(axis=1, keepdims=True) + 2)
        return np.log((mixed + 1e-3) / (everybody + 1e-3)).astype(np.float32)

    def _group_lifts(
        self, part: sparse.csr_array, share: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """``log(share of the item among what users of the feature have / among all)``."""
        held = (_mean_rows(part).T @ self._seen).toarray()
        total = held.sum(axis=1, keepdims=True)
        mixed = (held + SMOOTHING * share) / (total + SMOOTHING)
        return np.log((mixed + 1e-6) / (share + 1e-6)).astype(np.float32)

    def _of_times(self, times: sparse.csr_array) -> None:
        shape = self._seen.shape
        users = np.repeat(np.arange(shape[0]), np.diff(self._seen.indptr))
        items = self._seen.indices
        seconds = np.asarray(times[users, items]).ravel().astype(np.float64)
        start = seconds.min()
        for days in PERIODS:
            bins = ((seconds - start) / (days * DAY)).astype(np.int64)
            count = int(bins.max()) + 1
            ones = np.ones(len(bins), np.float32)
            then = sparse.csr_array((ones, (bins, items)), shape=(count, shape[1]))
            when = sparse.csr_array((ones, (users, bins)), shape=(shape[0], count))
            blur = sparse.diags_array([0.5, 1.0, 0.5], offsets=[-1, 0, 1], shape=(count, count))
            then = _scaled_rows(sparse.csr_array(blur @ then)) * shape[1]
            self._periods[f"period.{days}_days"] = (_scaled_rows(when), then)
        used = np.bincount(items, minlength=shape[1])
        self._share = used / max(used.sum(), 1) * shape[1]
        self._last = np.zeros(shape[0])
        np.maximum.at(self._last, users, seconds)
        end = seconds.max()
        self._first_use, self._last_use = np.full(shape[1], end), np.full(shape[1], start)
        np.minimum.at(self._first_use, items, seconds)
        np.maximum.at(self._last_use, items, seconds)


def _kinds(features: Features) -> list[tuple[str, sparse.csr_array]]:
    """The columns by what their names have before the colon."""
    kinds = np.array([name.partition(":")[0] for name in features.names])
    return [
        (str(kind), sparse.csr_array(features.values[:, np.flatnonzero(kinds == kind)]))
        for kind in np.unique(kinds)
    ]


def _mean_rows(part: sparse.csr_array) -> sparse.csr_array:
    """Each row's features with equal weights that sum to 1; a row without any stays empty."""
    ones = sparse.csr_array(
        (np.ones(part.nnz, np.float32), part.indices, part.indptr), shape=part.shape
    )
    return _scaled_rows(ones)


def _scaled_rows(part: sparse.csr_array) -> sparse.csr_array:
    totals = np.asarray(part.sum(axis=1)).ravel()
    scale = np.divide(1, totals, out=np.zeros(part.shape[0]), where=totals > 0)
    return sparse.csr_array(sparse.diags_array(scale.astype(np.float32)) @ part)
