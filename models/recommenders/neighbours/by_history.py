"""Recommenders that are one table of items by items, asked with the newest of a user's history."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.catalogue.building import Vectors
from models.catalogue.tables import Histories, ItemTable
from models.data.ragged import Ragged
from models.profile.recommender_settings import ContentSettings, TransitionsSettings
from models.recommenders import files
from models.recommenders.serving import served_by_table


class ByHistory:
    """What they have in common; ``fit`` gives ``_keep`` the histories and the table's entries."""

    name: str
    settings: Any
    settings_class: ClassVar[type[TransitionsSettings | ContentSettings]]

    def _keep(self, histories: Histories, related: sparse.csr_array) -> None:
        """Where no order is known, nothing fades."""
        fade = None if histories.times is None else self.settings.fade
        self._histories, self.table = histories, ItemTable(Ragged.of(related), fade=fade)

    @property
    def vectors(self) -> Vectors | None:
        return served_by_table(self.name, self.table, self._histories)

    def score(self, users: NDArray[np.integer]) -> NDArray[np.float32]:
        asked = self._histories.asked(users, self.table.fade, weighted=False)
        return self.table.scores(asked, users, self._histories.liked)

    def fold_in(self, liked: sparse.csr_array) -> NDArray[np.float32]:
        """All items count the same: their order is not known."""
        users = np.arange(liked.shape[0])
        asked = Histories(liked).asked(users, None, weighted=False)
        return self.table.scores(asked, users, liked)

    def save(self, folder: Path) -> None:
        related = self.table.related.to_csr(self.table.related.rows)
        arrays = {"related": related, "liked": self._histories.liked}
        if self._histories.times is not None:
            arrays["times"] = self._histories.times
        files.write(folder, self.name, self.settings.model_dump(), arrays)

    @classmethod
    def load(cls, folder: Path) -> Self:
        settings, arrays = files.read(folder, cls.name)
        made = cls()
        made.settings = cls.settings_class(**settings)
        made._keep(Histories(arrays["liked"], arrays.get("times")), arrays["related"])
        return made
