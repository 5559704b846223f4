"""The ranker of the two stages: trees and a line, standardised a user and averaged."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from benchmarks.two_stage.boosted import Boosted, BoostedSettings, standardised_in_groups
from benchmarks.two_stage.listwise import Listwise, ListwiseSettings
from models.ranking.table import Table
from models.recommenders.base import Settings


class BlendSettings(Settings):
    boosted: BoostedSettings = BoostedSettings()
    listwise: ListwiseSettings = ListwiseSettings()


class Blend:
    def __init__(self, settings: BlendSettings | None = None) -> None:
        self.settings = settings or BlendSettings()
        self.boosted = Boosted(self.settings.boosted)
        self.listwise = Listwise(self.settings.listwise)

    def fit(self, table: Table, labels: NDArray[np.number], groups: NDArray[np.integer]) -> Self:
        """Train both; arguments and errors as of ``Boosted.fit``."""
        self.boosted.fit(table, labels, groups)
        self.listwise.fit(table, labels, groups)
        return self

    def predict(self, table: Table, groups: NDArray[np.integer]) -> NDArray[np.float32]:
        """Scores of each row: comparable within a user. Shape (rows,).

        Raises:
            FeatureMismatch: the table has other columns than it was trained on.
        """
        trees = standardised_in_groups(self.boosted.predict(table, groups), groups)
        line = standardised_in_groups(self.listwise.predict(table), groups)
        return (trees + line).astype(np.float32)

    def importance(self) -> dict[str, float]:
        """Of the trees."""
        return self.boosted.importance()

    def to_json(self) -> dict[str, object]:
        """All that ``from_json`` needs."""
        return {"boosted": self.boosted.to_json(), "listwise": self.listwise.to_json()}

    @classmethod
    def from_json(cls, content: dict) -> Self:
        made = cls()
        made.boosted = Boosted.from_json(content["boosted"])
        made.listwise = Listwise.from_json(content["listwise"])
        made.settings = BlendSettings(
            boosted=made.boosted.settings, listwise=made.listwise.settings
        )
        return made
