"""The snapshot: the immutable bundle that one model version serves from.

A folder of ``.npy`` arrays and a ``manifest.json``. Arrays are memory-mapped, so
loading takes milliseconds and workers share the pages. A snapshot without a model
(vectors of width 0) is the catalogue that the heuristic serves from.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from models.ids import IdIndex
from models.ragged import Ragged

FORMAT = 1
MANIFEST = "manifest.json"
Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


class SnapshotError(RuntimeError):
    """A folder that is not a whole, usable snapshot; the message says what is wrong."""


@dataclass(frozen=True)
class Manifest:
    """What the snapshot is. Times are RFC 3339 in UTC."""

    model_version: str | None
    recommender: str | None
    trained_at: str | None
    built_at: str
    profile: dict[str, Any]
    tags: list[str]
    categories: list[str]
    cities: list[str]
    format: int = FORMAT


@dataclass(frozen=True)
class Items:
    """One entry (row) an item, in the order of ``ids``. Times are epoch seconds, NaN if unset."""

    ids: IdIndex
    vectors: Floats  # (n, dims)
    bias: Floats  # (n,)
    published: NDArray[np.bool_]
    created_at: NDArray[np.float64]
    publish_at: NDArray[np.float64]
    starts_at: NDArray[np.float64]
    lat: Floats  # degrees, NaN if unknown
    lon: Floats
    price_min: Floats
    price_max: Floats
    capacity: Ints  # -1: unlimited
    applied: Ints  # applications so far
    owner: Ints  # index into owners, -1: none
    owner_quality: Floats  # [0, 1], NaN if unknown
    category: Ints  # index into manifest.categories, -1: none
    city: Ints
    engagement: Floats  # [0, 1]
    trending: Floats  # [0, 1]
    tags: Ragged  # indices into manifest.tags
    neighbours: Ints  # (n, k) items, -1 where fewer
    neighbour_scores: Floats  # (n, k)


@dataclass(frozen=True)
class Users:
    """One entry (row) a user, in the order of ``ids``."""

    ids: IdIndex
    vectors: Floats  # (n, dims)
    lat: Floats
    lon: Floats
    city: Ints
    owner: Ints  # the owner that this user is, -1: none
    tags: Ragged  # explicit interests
    seen: Ragged  # items touched, value = weight of the pair
    liked: Ragged  # items with a positive weight, value = log1p of it
    applied: Ragged
    neighbours: Ints  # (n, k) users, -1 where fewer
    neighbour_scores: Floats


@dataclass(frozen=True)
class Snapshot:
    """Items, users and owners of one model version, in one order."""

    manifest: Manifest
    items: Items
    users: Users
    owners: IdIndex

    @property
    def has_model(self) -> bool:
        return self.manifest.model_version is not None

    def save(self, folder: Path) -> Path:
        """Write to ``folder``, which appears whole or not at all. Returns the folder.

        A folder that is there already is replaced.
        """
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            for part in ("items", "users"):
                for name, value in vars(getattr(self, part)).items():
                    _save_column(draft, f"{part}.{name}", value)
            _save_column(draft, "owners.ids", self.owners)
            (draft / MANIFEST).write_text(json.dumps(asdict(self.manifest)), encoding="utf-8")
            draft.chmod(0o755)
            shutil.rmtree(folder, ignore_errors=True)
            draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return folder

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Map the snapshot in ``folder``.

        Raises:
            SnapshotError: a file is missing or damaged, columns do not agree in length,
                a vector is not finite, or another format version wrote it.
        """
        try:
            content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            written = content.get("format")
            if written != FORMAT:
                raise SnapshotError(f"format {written}, this release reads {FORMAT}")
            snapshot = cls(
                Manifest(**content),
                Items(**_load_part(folder, "items", Items)),
                Users(**_load_part(folder, "users", Users)),
                _load_column(folder, "owners.ids", "IdIndex"),
            )
            snapshot.check()
        except (OSError, ValueError, TypeError, AttributeError, SnapshotError) as error:
            raise SnapshotError(f"snapshot {folder.name} does not load: {error}") from error
        return snapshot

    def check(self) -> None:
        """Refuse columns that do not fit together.

        Raises:
            SnapshotError: names the column.
        """
        for part, columns in (("items", self.items), ("users", self.users)):
            rows = len(columns.ids)
            for name, value in vars(columns).items():
                length = value.rows if isinstance(value, Ragged) else len(value)
                if length != rows:
                    raise SnapshotError(f"column {part}.{name}: {length} rows, expected {rows}")
                if isinstance(value, Ragged) and not (
                    value.indptr[-1] == len(value.indices) == len(value.values)
                ):
                    raise SnapshotError(f"column {part}.{name}: its entries do not fit its rows")
        for name, ids in (
            ("items.ids", self.items.ids),
            ("users.ids", self.users.ids),
            ("owners.ids", self.owners),
        ):
            if ids.offsets[-1] != len(ids.data):
                raise SnapshotError(f"column {name}: its text does not fit its offsets")
        shapes = self.items.vectors.shape, self.users.vectors.shape
        if {len(shape) for shape in shapes} != {2} or shapes[0][1] != shapes[1][1]:
            raise SnapshotError(f"items.vectors and users.vectors differ in width: {shapes}")
        for name, vectors in (
            ("items.vectors", self.items.vectors),
            ("items.bias", self.items.bias),
            ("users.vectors", self.users.vectors),
        ):
            if not np.isfinite(vectors).all():
                raise SnapshotError(f"column {name}: a value is not finite")


def _save_column(folder: Path, name: str, value: IdIndex | Ragged | np.ndarray) -> None:
    if isinstance(value, IdIndex):
        parts = {".offsets": value.offsets, ".data": value.data}
    elif isinstance(value, Ragged):
        parts = {f".{part}": array for part, array in value._asdict().items()}
    else:
        parts = {"": value}
    for suffix, array in parts.items():
        np.save(folder / f"{name}{suffix}.npy", np.ascontiguousarray(array))


def _load_part(folder: Path, part: str, kind: type[Items] | type[Users]) -> dict[str, Any]:
    return {
        field.name: _load_column(folder, f"{part}.{field.name}", field.type)
        for field in fields(kind)
    }


def _load_column(folder: Path, name: str, type: Any) -> Any:
    def array(suffix: str = "") -> np.ndarray:
        file = folder / f"{name}{suffix}.npy"
        try:
            mapped = np.load(file, mmap_mode="r")
        except FileNotFoundError:
            raise SnapshotError(f"{file.name} is missing") from None
        except Exception as error:  # numpy raises many kinds for a damaged file
            raise SnapshotError(f"{file.name}: {error}") from error
        if mapped.ndim == 0:
            raise SnapshotError(f"{file.name}: not an array of rows")
        # A plain view: np.memmap pays for its subclass on every slice.
        return mapped.view(np.ndarray)

    if type == "IdIndex":
        return IdIndex(array(".offsets"), array(".data"))
    if type == "Ragged":
        return Ragged(*(array(f".{part}") for part in Ragged._fields))
    return array()
