"""LightGBM's trees (Ke et al. 2017, "LightGBM: A highly efficient gradient boosting decision
tree"), one thread."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from models.profile.ranker_settings import BoostedSettings, Objective
from models.ranking.features.live_features import directions
from models.ranking.features.table import Table


class Trees:
    """Boosted trees of one objective."""

    def __init__(self, text: str) -> None:
        """
        Args:
            text: as LightGBM writes them.

        Raises:
            ValueError: LightGBM cannot read it.
        """
        import lightgbm  # takes seconds: only who has trees to rank by

        self.text = text
        try:
            self._trees = lightgbm.Booster(model_str=text)
        except lightgbm.basic.LightGBMError as error:
            raise ValueError(f"the ranker's trees do not load: {error}") from error

    @classmethod
    def fit(
        cls,
        objective: Objective,
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
            "objective": objective,
            "lambdarank_truncation_level": settings.truncation,
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

    def scores(self, table: Table) -> NDArray[np.float64]:
        return np.asarray(
            self._trees.predict(
                table.values, raw_score=True, num_threads=1, predict_disable_shape_check=True
            ),
            np.float64,
        )

    def gains(self) -> NDArray[np.float64]:
        """Share of each feature in the gain of all trees."""
        gains = np.asarray(self._trees.feature_importance("gain"), np.float64)
        return gains / max(float(gains.sum()), 1e-12)
