"""Ids of users or items as a sorted, memory-mappable array.

The position of an id in the sorted array is its index everywhere else: row of
the interaction matrix, row of the vectors, entry of every column.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


class IdIndex:
    """An immutable, ordered set of ids.

    Attributes:
        offsets: int64, shape (n + 1,): where each id starts in ``data``.
        data: uint8: the ids in UTF-8, one after the other, in ascending byte order.
    """

    def __init__(self, offsets: NDArray[np.int64], data: NDArray[np.uint8]) -> None:
        self.offsets = offsets
        self.data = data

    @classmethod
    def of(cls, ids: pl.Series | Iterable[str]) -> IdIndex:
        """The distinct ids of ``ids``, sorted. O(n log n)."""
        series = ids if isinstance(ids, pl.Series) else pl.Series(list(ids), dtype=pl.String)
        array = series.drop_nulls().unique().sort().to_arrow().cast(pa.large_string())
        if len(array) == 0:
            return cls(np.zeros(1, np.int64), np.zeros(0, np.uint8))
        _, offsets, data = array.buffers()
        start = array.offset
        bounds = np.frombuffer(offsets, np.int64)[start : start + len(array) + 1]
        raw = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
        return cls(bounds - bounds[0], raw[bounds[0] : bounds[-1]])

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> str:
        return self._bytes(index).decode()

    def _bytes(self, index: int) -> bytes:
        return self.data[self.offsets[index] : self.offsets[index + 1]].tobytes()

    def find(self, id: str) -> int | None:
        """Index of one id, or None. O(log n)."""
        key = id.encode(errors="surrogatepass")  # text that is no Unicode is just unknown
        position = bisect_left(range(len(self)), key, key=self._bytes)
        if position < len(self) and self._bytes(position) == key:
            return position
        return None

    def indices(self, ids: pl.Series) -> NDArray[np.int32]:
        """Index of each id, shape (len(ids),), -1 where it is unknown or null."""
        found = pc.index_in(
            ids.to_arrow().cast(pa.large_string()), value_set=self.to_arrow(), skip_nulls=True
        )
        return np.asarray(pc.fill_null(found, -1), dtype=np.int32)

    def to_arrow(self) -> pa.LargeStringArray:
        """The ids as an Arrow array, without a copy."""
        return pa.LargeStringArray.from_buffers(
            len(self),
            pa.py_buffer(np.ascontiguousarray(self.offsets)),
            pa.py_buffer(np.ascontiguousarray(self.data)),
        )

    def to_series(self) -> pl.Series:
        return pl.Series(pl.from_arrow(self.to_arrow()))

    def to_list(self) -> list[str]:
        return self.to_arrow().to_pylist()
