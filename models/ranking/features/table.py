"""A table of features: named columns in one order, with a digest of the names."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.data.feature_set import digest_of


class FeatureMismatch(ValueError):
    """The features given are not those that the ranker was trained on."""


@dataclass(frozen=True)
class Table:
    """
    Attributes:
        names: of the columns, in their order.
        values: float32, shape (rows, len(names)).
    """

    names: tuple[str, ...]
    values: NDArray[np.float32]

    @classmethod
    def of(cls, columns: Mapping[str, ArrayLike], rows: int) -> Self:
        """Columns by name: each of shape (rows,), or one number for all."""
        values = np.empty((rows, len(columns)), np.float32)
        for number, column in enumerate(columns.values()):
            values[:, number] = column
        return cls(tuple(columns), values)

    @property
    def digest(self) -> str:
        """Of the names in their order."""
        return digest(self.names)


def digest(names: Sequence[str]) -> str:
    return digest_of(json.dumps(list(names), ensure_ascii=False).encode())


def check_made(trained: Iterable[str], made: Collection[str]) -> None:
    """
    Raises:
        FeatureMismatch: a feature that the ranker was trained on is not made; the message names it.
    """
    missing = [name for name in trained if name not in made]
    if missing:
        raise FeatureMismatch(
            f"the ranker was trained on features that are not made: {', '.join(missing)}. Train it "
            "again."
        )


def check_names(trained: Sequence[str], given: Sequence[str]) -> None:
    """
    Raises:
        FeatureMismatch: a name is missing, is new, or stands elsewhere; the message names it.
    """
    if list(trained) == list(given):
        return
    missing = [name for name in trained if name not in given]
    new = [name for name in given if name not in trained]
    what = "; ".join(
        f"{label}: {', '.join(names)}"
        for label, names in (("missing", missing), ("not trained on", new))
        if names
    )
    raise FeatureMismatch(
        f"the ranker was trained on other features ({digest(trained)}) than it is given "
        f"({digest(given)}): {what or 'the same names in another order'}. Train it again."
    )
