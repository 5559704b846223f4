"""The ranker that the feed is served by: features of the live catalogue in, probabilities out.

Of two kinds. ``boosted``: trees and a line over ``live_features``. ``logistic``: logistic
regression over the eight features of the ``events`` profile. It is kept beside a snapshot as
``ranker.json``, and refused where this release does not make a feature that it was trained on.

Where the profile gives actions a value, it orders by their weighed chances
(``models/ranking/rankers/actions.py``); the values are read when it ranks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from models.catalogue.live import LiveCatalogue
from models.catalogue.snapshots.snapshot import Snapshot
from models.catalogue.viewers.viewer import Indices, Viewer
from models.feed.candidates.sources import Bits
from models.feed.context import Context
from models.feed.ranking import Ordered
from models.profile.ranker_settings import Kind
from models.profile.schema import Profile
from models.ranking.calibration import Calibration
from models.ranking.features.live_features import FEATURES, OF_TABLE, Pairs, features_of, names_of
from models.ranking.features.table import FeatureMismatch, Table, check_made, check_names, digest
from models.ranking.rankers.actions import ActionChances, worth
from models.ranking.rankers.boosted import Boosted
from models.ranking.rankers.logistic import LogisticRanker


class Model(Protocol):
    """What scores a table. Rows of one viewer are comparable."""

    def decide(self, table: Table) -> NDArray[np.floating]: ...

    def importance(self) -> NDArray[np.float64]: ...

    def to_json(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class LearnedRanker:
    """
    Attributes:
        names: of the features, in their order.
        calibration: from the model's scores to the chance that an item is liked when shown.
        actions: the chances of the actions that it was trained to weigh; None: of none.
    """

    kind: Kind
    names: tuple[str, ...]
    model: Model
    calibration: Calibration
    actions: ActionChances | None = None

    def weighed(self, values: Mapping[str, float]) -> tuple[str, ...]:
        """The actions that it knows the chance of, of those that have a value; none, where it
        knows of none that is wanted."""
        names = () if self.actions is None else self.actions.names
        known = tuple(name for name in names if name in values)
        return known if any(values[name] > 0 for name in known) else ()

    def order(
        self,
        live: LiveCatalogue,
        viewer: Viewer,
        profile: Profile,
        rows: Indices,
        sources: Bits,
        *,
        now: float,
        context: Context,
    ) -> Ordered:
        """What to order these items of a viewer by.

        Args:
            rows, sources: of the items, each of shape (n,).
            now: epoch seconds.
        """
        pairs = Pairs(live, viewer, profile, rows, sources, now, context)
        table = features_of(self.kind, pairs, self.names)
        scores, values = self.predict(table), profile.ranker.values
        liked = Ordered(scores, self.probabilities(scores), np.zeros((len(rows), 0), np.float32))
        names = self.weighed(values)
        if self.actions is None or not names:
            return liked
        columns = [self.actions.names.index(name) for name in names]
        chances = self.actions.of(table, scores)[:, columns]
        if len(self.actions.names) == 1:  # the same order
            return liked._replace(chances=chances.astype(np.float32))
        of_items = worth(chances, [values[name] for name in names])
        return Ordered(of_items, of_items.astype(np.float32), chances.astype(np.float32))

    def predict(self, table: Table) -> NDArray[np.float32]:
        """
        Raises:
            FeatureMismatch: the table has other features than it was trained on.
        """
        check_names(self.names, table.names)
        return self.model.decide(table).astype(np.float32)

    def probabilities(self, scores: NDArray[np.floating]) -> NDArray[np.float32]:
        """The chance that an item of each score is liked when it is shown, shape of ``scores``."""
        return self.calibration.probabilities(scores).astype(np.float32)

    def importance(self) -> dict[str, float]:
        """Share of each feature in what the model goes by, the greatest first."""
        shares = self.model.importance()
        order = np.argsort(-shares, kind="stable")
        return {self.names[index]: float(shares[index]) for index in order}

    @cached_property
    def digest(self) -> str:
        """Of the features' names in their order."""
        return digest(self.names)

    def to_bytes(self) -> bytes:
        """As it is kept beside a snapshot: JSON, the trees as LightGBM's text."""
        content = {
            "kind": self.kind,
            "names": list(self.names),
            "digest": self.digest,
            "model": self.model.to_json(),
            "calibration": self.calibration.to_json(),
            "actions": None if self.actions is None else self.actions.to_json(),
        }
        return json.dumps(content, ensure_ascii=False).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """What ``to_bytes`` made: it scores the same.

        Raises:
            FeatureMismatch: it was trained on features that this release does not make; the
                message names them.
            ValueError: it is no ranker.
        """
        try:
            stored = json.loads(content)
            kind, names, model = stored["kind"], stored["names"], stored["model"]
            calibration = Calibration.from_json(stored["calibration"])
            actions = stored.get("actions")  # rankers of earlier releases say nothing of any
            check_made((name for name in names if not name.startswith(OF_TABLE)), FEATURES[kind])
            read = Boosted.from_json if kind == "boosted" else LogisticRanker.from_json
            return cls(
                kind,
                tuple(names),
                read(model),
                calibration,
                None if actions is None else ActionChances.from_json(actions),
            )
        except FeatureMismatch:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a ranker that this release reads: {error!r}") from error


def ranker_of(snapshot: Snapshot) -> LearnedRanker | None:
    """The snapshot's ranker; None: it has none.

    Raises:
        FeatureMismatch, ValueError: as ``LearnedRanker.from_bytes``.
    """
    if snapshot.ranker is None:
        return None
    ranker = LearnedRanker.from_bytes(snapshot.ranker)
    check_made(ranker.names, names_of(ranker.kind, snapshot))
    return ranker
