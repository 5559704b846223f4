"""Columns of a snapshot as files: ``.npy`` arrays, mapped copy-on-write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from models.data.ids import IdIndex
from models.data.ragged import Ragged
from models.data.texts import Texts


class SnapshotError(RuntimeError):
    """A folder that is not a whole, usable snapshot; the message says what is wrong."""


def save_column(folder: Path, name: str, value: Texts | Ragged | np.ndarray) -> None:
    if isinstance(value, Texts):
        parts = {".offsets": value.offsets, ".data": value.data}
    elif isinstance(value, Ragged):
        parts = {f".{part}": array for part, array in value._asdict().items()}
    else:
        parts = {"": value}
    for suffix, array in parts.items():
        np.save(folder / f"{name}{suffix}.npy", np.ascontiguousarray(array))


def load_column(folder: Path, name: str, type: Any) -> Any:
    def array(suffix: str = "") -> np.ndarray:
        file = folder / f"{name}{suffix}.npy"
        try:
            mapped = np.load(file, mmap_mode="c")
        except FileNotFoundError:
            raise SnapshotError(f"{file.name} is missing") from None
        except Exception as error:  # numpy raises many kinds for a damaged file
            raise SnapshotError(f"{file.name}: {error}") from error
        if mapped.ndim == 0 or (suffix == ".offsets" and len(mapped) == 0):
            raise SnapshotError(f"{file.name}: not an array of rows")
        # A plain view: np.memmap pays for its subclass on every slice.
        return mapped.view(np.ndarray)

    if type in ("IdIndex", "Texts"):
        return (IdIndex if type == "IdIndex" else Texts)(array(".offsets"), array(".data"))
    if type == "Ragged":
        return Ragged(*(array(f".{part}") for part in Ragged._fields))
    return array()
