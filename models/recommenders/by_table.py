"""Recommenders that are one score table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.catalogue.building import Vectors
from models.catalogue.tables.kinds import ItemTable
from models.catalogue.tables.scores import Histories, ScoreTable
from models.catalogue.tables.stored import read_tables, table_arrays, table_settings
from models.data.ragged import Ragged
from models.profile.recommender_settings import Settings
from models.recommenders import files
from models.recommenders.serving import served_by_table


class ByTable:
    """What they have in common; ``fit`` sets ``table`` and ``histories``."""

    name: str
    settings: Any
    settings_class: ClassVar[type[Settings]]
    table: ScoreTable
    histories: Histories

    def __init__(self, settings: Any = None) -> None:
        self.settings = settings or self.settings_class()

    def _keep(
        self,
        histories: Histories,
        related: sparse.csr_array,
        made_by: Mapping[str, Any] | None = None,
    ) -> None:
        """A table of items by items, asked with the newest of a history; where no order is known,
        nothing fades."""
        fade = None if histories.times is None else self.settings.fade
        self.histories = histories
        self.table = ItemTable(Ragged.of(related), fade=fade, made_by=made_by)

    @property
    def vectors(self) -> Vectors | None:
        return served_by_table(self.name, self.table, self.histories)

    def score(self, users: NDArray[np.integer]) -> NDArray[np.float32]:
        table, histories = self.table, self.histories
        asked = histories.asked(users, table.fade, weighted=table.weighted)
        return table.scores(asked, users, histories.liked)

    def fold_in(self, liked: sparse.csr_array) -> NDArray[np.float32]:
        """All items count the same: their order is not known."""
        users = np.arange(liked.shape[0])
        asked = Histories(liked).asked(users, None, weighted=False)
        return self.table.scores(asked, users, liked)

    def save(self, folder: Path) -> None:
        arrays = {"liked": self.histories.liked, **table_arrays({self.name: self.table})}
        if self.histories.times is not None:
            arrays["times"] = self.histories.times
        settings = {"settings": self.settings.model_dump(), "table": table_settings(self.table)}
        files.write(folder, self.name, settings, arrays)

    @classmethod
    def load(cls, folder: Path) -> Self:
        stored, arrays = files.read(folder, cls.name)
        made = cls(cls.settings_class(**stored["settings"]))
        made.histories = Histories(arrays["liked"], arrays.get("times"))
        made.table = read_tables({cls.name: stored["table"]}, arrays.__getitem__)[cls.name]
        return made
