"""Names and their indices, as columns hold them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from models.catalogue.viewers.viewer import Indices
from models.data.ids import IdIndex


class Vocabulary:
    """Names and their indices: those of the snapshot, then new ones as they come."""

    def __init__(self, base: IdIndex, names: Sequence[str] | None = None) -> None:
        """``names`` are those of ``base`` as a list, where there is one."""
        self._base = base
        self._names = base if names is None else names
        self._new: dict[str, int] = {}
        self._new_names: list[str] = []

    def __len__(self) -> int:
        return len(self._base) + len(self._new_names)

    def __getitem__(self, index: int) -> str:
        in_base = len(self._base)
        return self._names[index] if index < in_base else self._new_names[index - in_base]

    def __iter__(self) -> Iterator[str]:
        return (self[index] for index in range(len(self)))

    def find(self, name: str | None) -> int:
        """Its index, or -1. O(log n)."""
        if name is None:
            return -1
        index = self._new.get(name)
        if index is None:
            index = self._base.find(name)
        return -1 if index is None else index

    def add(self, name: str | None) -> int:
        """Its index, made if it is new; -1 for None."""
        index = self.find(name)
        if index < 0 and name is not None:
            index = self._new[name] = len(self)
            self._new_names.append(name)
        return index

    def indices(self, names: Iterable[str]) -> Indices:
        """Of each name, ascending and distinct; new ones are added."""
        return np.array(sorted({self.add(name) for name in names}), np.int32)
