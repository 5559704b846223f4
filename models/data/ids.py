"""Ids of users or items as a sorted, memory-mappable array.

The position of an id in the sorted array is its index everywhere else: row of
the interaction matrix, row of the vectors, entry of every column.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Self

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.data.texts import Texts


class IdIndex(Texts):
    """An immutable, ordered set of ids: texts in ascending byte order, each once."""

    @classmethod
    def of(cls, ids: pl.Series | Iterable[str]) -> Self:
        """The distinct ids of ``ids``, sorted. O(n log n)."""
        series = ids if isinstance(ids, pl.Series) else pl.Series(list(ids), dtype=pl.String)
        return cls.in_order(series.drop_nulls().unique().sort())

    def find(self, id: str) -> int | None:
        """Index of one id, or None. O(log n)."""
        key = id.encode(errors="surrogatepass")  # text that is no Unicode is just unknown
        position = bisect_left(range(len(self)), key, key=self._bytes)
        if position < len(self) and self._bytes(position) == key:
            return position
        return None

    def indices(self, ids: pl.Series) -> NDArray[np.int32]:
        """Index of each id, shape (len(ids),), -1 where it is unknown or null."""
        indices = pc.index_in(
            ids.to_arrow().cast(pa.large_string()), value_set=self.to_arrow(), skip_nulls=True
        )
        # pc.fill_null would import pandas, in each worker of the feed.
        return pl.Series(values=indices, dtype=pl.Int32).fill_null(-1).to_numpy()
