"""The ranker that the feed is served by: features of the live catalogue in, probabilities out.

Of two kinds. ``boosted``: LightGBM's trees over ``live_features`` (Ke et al. 2017, "LightGBM: A
highly efficient gradient boosting decision tree"). ``logistic``: logistic regression over the
eight features of the ``events`` profile. It is kept beside a snapshot as ``ranker.json``, and
refused where this release makes other features than it was trained on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from models.catalogue.live import LiveCatalogue
from models.catalogue.snapshot import Snapshot
from models.catalogue.viewer import Indices, Viewer
from models.feed.context import Context
from models.feed.sources import Bits
from models.profile.ranker_settings import BoostedSettings, Kind
from models.profile.schema import Profile
from models.ranking.calibration import Calibration
from models.ranking.live_features import FEATURES, OF_TABLE, Pairs, directions, features_of
from models.ranking.logistic import LogisticRanker
from models.ranking.table import FeatureMismatch, Table, check_names, digest


class Model(Protocol):
    """What scores a table. Rows of one viewer are comparable."""

    def decide(self, table: Table) -> NDArray[np.floating]: ...

    def to_json(self) -> dict[str, Any]: ...


class Trees:
    """LightGBM's trees, one thread."""

    def __init__(self, text: str) -> None:
        import lightgbm  # takes seconds: only who has trees to rank by

        self._text = text
        self._trees = lightgbm.Booster(model_str=text)

    @classmethod
    def fit(
        cls,
        table: Table,
        labels: NDArray[np.number],
        weights: NDArray[np.floating],
        groups: NDArray[np.integer],
        settings: BoostedSettings,
    ) -> Self:
        """Train all rounds. O(rounds * rows * columns).

        Args:
            labels: 1 liked, 0 not. groups: rows of each visit, in the order of the table.
        """
        import lightgbm

        parameters = {
            "objective": settings.objective,
            "learning_rate": settings.learning_rate,
            "num_leaves": settings.leaves,
            "min_data_in_leaf": settings.min_leaf,
            "feature_fraction": settings.column_share,
            "bagging_fraction": settings.row_share,
            "bagging_freq": 1,
            "lambda_l2": settings.ridge,
            "max_bin": settings.bins,
            "monotone_constraints": directions(table.names),
            "num_threads": 1,
            "deterministic": True,
            "force_row_wise": True,
            "seed": settings.seed,
            "verbose": -1,
        }
        data = lightgbm.Dataset(
            table.values,
            labels,
            weight=weights,
            group=groups,
            feature_name=[name.replace(".", "_") for name in table.names],
            params=parameters,
        )
        return cls(lightgbm.train(parameters, data, settings.rounds).model_to_string())

    def decide(self, table: Table) -> NDArray[np.floating]:
        return np.asarray(
            self._trees.predict(
                table.values, raw_score=True, num_threads=1, predict_disable_shape_check=True
            )
        )

    def gains(self) -> NDArray[np.float64]:
        """Of each feature over all trees."""
        return np.asarray(self._trees.feature_importance("gain"), np.float64)

    def to_json(self) -> dict[str, Any]:
        return {"trees": self._text}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """
        Raises:
            ValueError: LightGBM cannot read it.
        """
        import lightgbm

        try:
            return cls(content["trees"])
        except lightgbm.basic.LightGBMError as error:
            raise ValueError(f"the ranker's trees do not load: {error}") from error


@dataclass(frozen=True)
class LearnedRanker:
    """
    Attributes:
        names: of the features, in their order.
        calibration: from the model's scores to the chance that an item is liked when shown.
    """

    kind: Kind
    names: tuple[str, ...]
    model: Model
    calibration: Calibration

    def scores(
        self,
        live: LiveCatalogue,
        viewer: Viewer,
        profile: Profile,
        rows: Indices,
        sources: Bits,
        *,
        now: float,
        context: Context,
    ) -> NDArray[np.float32]:
        """What to order these items of a viewer by, shape (n,).

        Args:
            rows, sources: of the items, each of shape (n,).
            now: epoch seconds.
        """
        pairs = Pairs(live, viewer, profile, rows, sources, now, context)
        return self.predict(features_of(self.kind, pairs))

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
        """Share of each feature in what the model goes by, the greatest first: of the trees'
        gain, or of the weights' size."""
        if isinstance(self.model, Trees):
            shares = self.model.gains()
        else:
            assert isinstance(self.model, LogisticRanker)
            shares = np.abs(self.model.weights)
        shares = shares / max(float(shares.sum()), 1e-12)
        order = np.argsort(-shares, kind="stable")
        return {self.names[place]: float(shares[place]) for place in order}

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
        }
        return json.dumps(content, ensure_ascii=False).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """What ``to_bytes`` made: it scores the same.

        Raises:
            FeatureMismatch: it was trained on other features than this release makes; the
                message names them.
            ValueError: it is no ranker.
        """
        try:
            stored = json.loads(content)
            kind, names, model = stored["kind"], stored["names"], stored["model"]
            calibration = Calibration.from_json(stored["calibration"])
            of_tables = [name for name in names if name.startswith(OF_TABLE)]
            check_names(names, (*FEATURES[kind], *of_tables))
            read = Trees.from_json if kind == "boosted" else LogisticRanker.from_json
            return cls(kind, tuple(names), read(model), calibration)
        except FeatureMismatch:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a ranker that this release reads: {error!r}") from error


def ranker_of(snapshot: Snapshot) -> LearnedRanker | None:
    """The snapshot's ranker; None: it has none.

    Raises:
        FeatureMismatch, ValueError: as ``LearnedRanker.from_bytes``.
    """
    return None if snapshot.ranker is None else LearnedRanker.from_bytes(snapshot.ranker)
