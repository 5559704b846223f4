"""Text columns as two memory-mappable arrays."""

from __future__ import annotations

from typing import Self

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray


class Texts:
    """An immutable list of texts.

    Attributes:
        offsets: int64, shape (n + 1,): where each text starts in ``data``.
        data: uint8: the texts in UTF-8, one after the other.
    """

    def __init__(self, offsets: NDArray[np.int64], data: NDArray[np.uint8]) -> None:
        self.offsets = offsets
        self.data = data

    @classmethod
    def in_order(cls, texts: pl.Series) -> Self:
        """The texts of a column as they come; null becomes "". O(n)."""
        array = texts.cast(pl.String).fill_null("").to_arrow().cast(pa.large_string())
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

    def to_arrow(self) -> pa.LargeStringArray:
        """The texts as an Arrow array, without a copy."""
        return pa.LargeStringArray.from_buffers(
            len(self),
            pa.py_buffer(np.ascontiguousarray(self.offsets)),
            pa.py_buffer(np.ascontiguousarray(self.data)),
        )

    def to_series(self) -> pl.Series:
        return pl.Series(pl.from_arrow(self.to_arrow()))

    def to_list(self) -> list[str]:
        return self.to_arrow().to_pylist()
