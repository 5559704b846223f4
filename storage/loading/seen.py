"""Which keys came before, over millions of rows in little memory."""

from __future__ import annotations

from tempfile import SpooledTemporaryFile

import numpy as np
import polars as pl
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
MERGED = 2_000_000  # keys of one run at most: merging two holds three of its size
IN_MEMORY = 32 << 20  # bytes of runs; more are in a file


class Seen:
    """Hashes of keys, and of the content of the first row of each, in sorted runs.

    Runs of like length are merged up to ``MERGED`` keys. Memory holds a few of them; the others
    are in a temporary file, 16 bytes a key.
    """

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 - it goes with this object
        self._runs: list[tuple[int, int]] = []  # where each begins, and how many keys it has

    def content_of(self, keys: pl.Series) -> pl.Series:
        """Hash of the first row with each key; null where the key is new."""
        hashes = keys.to_numpy()
        contents = np.zeros(len(hashes), dtype=np.uint64)
        is_seen = np.zeros(len(hashes), dtype=bool)
        order = np.argsort(hashes)  # sorted keys are looked up several times as fast
        wanted = hashes[order]
        for begin, length in self._runs:
            run, content = self._read(begin, length)
            indices = np.minimum(np.searchsorted(run, wanted), length - 1)
            here = run[indices] == wanted
            contents[order[here]] = content[indices[here]]
            is_seen[order[here]] = True
        return pl.Series(contents).set(pl.Series(~is_seen), None)

    def add(self, keys: pl.Series, content: pl.Series) -> None:
        """Remember keys that are new, with their rows' hashes."""
        if keys.is_empty():
            return
        run = _sorted(keys.to_numpy(), content.to_numpy())
        while self._runs and self._runs[-1][1] <= min(2 * len(run[0]), MERGED - len(run[0])):
            other = self._read(*self._runs.pop())
            run = _sorted(np.concatenate([other[0], run[0]]), np.concatenate([other[1], run[1]]))
        begin = sum(length for _, length in self._runs) * 16
        self._runs.append((begin, len(run[0])))
        self._file.seek(begin)
        for column in run:
            self._file.write(column.data)

    def _read(self, begin: int, length: int) -> tuple[Hashes, Hashes]:
        self._file.seek(begin)
        both = np.frombuffer(self._file.read(length * 16), dtype=np.uint64)
        return both[:length], both[length:]


def _sorted(keys: Hashes, content: Hashes) -> tuple[Hashes, Hashes]:
    order = np.argsort(keys)
    return keys[order], content[order]
