"""Which keys came before, over millions of rows in little memory."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]


class Seen:
    """Hashes of keys, and of the content of the first row of each, in sorted runs.

    Runs of like length are merged, so n keys are sorted in O(n log n) and looked up in
    O(log² n) each; 16 bytes a key.
    """

    def __init__(self) -> None:
        self._runs: list[tuple[Hashes, Hashes]] = []

    def content_of(self, keys: pl.Series) -> pl.Series:
        """Hash of the first row with each key; null where the key is new."""
        hashes = keys.to_numpy()
        found = np.zeros(len(hashes), dtype=np.uint64)
        known = np.zeros(len(hashes), dtype=bool)
        for run, content in self._runs:
            places = np.minimum(np.searchsorted(run, hashes), len(run) - 1)
            here = run[places] == hashes
            found[here] = content[places[here]]
            known |= here
        return pl.Series(found).set(pl.Series(~known), None)

    def add(self, keys: pl.Series, content: pl.Series) -> None:
        """Remember keys that are new, with their rows' hashes."""
        if keys.is_empty():
            return
        order = np.argsort(keys.to_numpy())
        run = keys.to_numpy()[order], content.to_numpy()[order]
        while self._runs and len(self._runs[-1][0]) <= 2 * len(run[0]):
            other = self._runs.pop()
            both = np.concatenate([other[0], run[0]])
            order = np.argsort(both, kind="stable")
            run = both[order], np.concatenate([other[1], run[1]])[order]
        self._runs.append(run)
