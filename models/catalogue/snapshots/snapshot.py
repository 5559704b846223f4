"""The snapshot: the immutable bundle that one model version serves from.

A folder of ``.npy`` arrays and a ``manifest.json``. Arrays are memory-mapped, so
loading takes milliseconds and workers share the pages. They are mapped copy-on-write:
what a worker changes stays in its own memory, a page for what changed. The columns of items
have room for more rows than there are ids: a worker puts new items there. A snapshot without
a model (vectors of width 0) is the catalogue that the heuristic serves from.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from models.catalogue.snapshots.columns import SnapshotError as SnapshotError
from models.catalogue.snapshots.columns import load_column, save_column
from models.catalogue.snapshots.item_use import Use
from models.catalogue.snapshots.nearest import Nearest
from models.catalogue.tables.scores import ScoreTable
from models.catalogue.tables.stored import Blend, check_tables, read_tables, table_arrays
from models.data.feature_set import described, digest_of
from models.data.ids import IdIndex
from models.data.ragged import Ragged
from models.data.texts import Texts
from models.profile.interaction_types import DEFAULT_TYPES

FORMAT = 2
MANIFEST = "manifest.json"
NEAREST = "items.nearest"
FEATURES = "features.json"
RANKER = "ranker.json"
Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Manifest:
    """What the snapshot is. Times are RFC 3339 in UTC.

    Attributes:
        catalogue_position: where the change log of the catalogue stood when it was read;
            None: unknown.
        features: digest of the file ``features.json`` beside it, which names the features
            that the model was trained on, in their order; None: a snapshot without them.
        interaction_types: what ``users.recent_types`` counts; None: the defaults.
        train_seconds: what the model's training took.
        ranker: digest of the file ``ranker.json`` beside it; None: the recommender's own order
            is the feed's.
        fold_weighted: ``items.fold`` counts how much an item is liked; False: 1 for each.
        tables: the score tables by name: their kind and settings. blend: how they are weighed.
    """

    model_version: str | None
    recommender: str | None
    trained_at: str | None
    built_at: str
    profile: dict[str, Any]
    tags: list[str]
    categories: list[str]
    cities: list[str]
    catalogue_position: str | None = None
    train_seconds: float | None = None
    features: str | None = None
    interaction_types: list[str] | None = None
    ranker: str | None = None
    fold_weighted: bool = False
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    blend: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT


@dataclass(frozen=True)
class Items:
    """One row an item, in the order of ``ids``, then empty rows (unpublished) for new items.

    n is the number of all rows. Times are epoch seconds, NaN if unset.
    """

    ids: IdIndex
    titles: Texts  # of the rows that have an id; "" if it has none
    vectors: Floats  # (n, dims)
    bias: Floats  # (n,)
    fold: Floats  # (n, dims), what liking it adds to a user's vector; (n, 0): the model cannot tell
    published: NDArray[np.bool_]
    created_at: NDArray[np.float64]
    publish_at: NDArray[np.float64]
    starts_at: NDArray[np.float64]
    lat: Floats  # degrees, NaN if unknown
    lon: Floats
    price_min: Floats
    price_max: Floats
    price_band: NDArray[np.int8]  # see models/data/scorers.py, -1: unknown
    capacity: Ints  # -1: unlimited
    applied: Ints  # applications so far
    impressions: Ints
    clicks: Ints
    owner: Ints  # index into owners, -1: none
    owner_quality: Floats  # [0, 1], NaN if unknown
    category: Ints  # index into manifest.categories, -1: none
    city: Ints
    engagement: Floats  # [0, 1]
    trending: Floats  # [0, 1]
    tags: Ints  # (n, most tags), indices into manifest.tags, -1 where fewer
    neighbours: Ints  # (n, k) items, -1 where fewer
    neighbour_scores: Floats  # (n, k)

    @property
    def rows(self) -> int:
        return len(self.bias)


@dataclass(frozen=True)
class Users:
    """One row a user, in the order of ``ids``."""

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
    recent: Ints  # (n, r) items liked last, the newest first, -1 where fewer
    recent_types: NDArray[np.int8]  # (n, r) index into interaction_types
    neighbours: Ints  # (n, k) users, -1 where fewer
    neighbour_scores: Floats
    # preferences; NaN: none
    max_distance_km: Floats
    price_min: Floats
    price_max: Floats
    personalized: NDArray[np.bool_]  # false: the user does not want to be known
    preferred_tags: Ragged
    blocked_tags: Ragged
    blocked_owners: Ragged  # indices into owners


@dataclass(frozen=True)
class Snapshot:
    """Items, users and owners of one model version, in one order.

    Attributes:
        owner_quality: float32, shape (owners,), in [0, 1]; NaN if unknown.
        popular: int32, rows of items, the most popular first.
        tag_items: the most popular items of each tag, best first.
        folder: where it was loaded from.
        ranker: what puts the recommender's first items in order, as ``models.ranking.learned``
            reads it.
        tables: score tables beside the vectors, by name; none: the vectors alone rank.
        refreshed: which state of its tables these are; None: that of the training.
        added: items that came since, in the rows behind the others; only tables know of them.
    """

    manifest: Manifest
    items: Items
    users: Users
    owners: IdIndex
    owner_quality: Floats
    popular: Ints
    tag_items: Ragged
    folder: Path | None = None
    ranker: bytes | None = None
    tables: Mapping[str, ScoreTable] = field(default_factory=dict)
    refreshed: str | None = None
    added: Sequence[str] = ()

    @cached_property
    def blend(self) -> Blend:
        """How the tables are weighed."""
        return Blend(**self.manifest.blend)

    @cached_property
    def use(self) -> Use:
        return Use.counted(self.users.seen, self.items.rows)

    @property
    def personal(self) -> bool:
        """Whether the model tells users apart; popularity alone does not."""
        return bool(self.items.vectors.shape[1] or self.tables)

    @property
    def has_model(self) -> bool:
        return self.manifest.model_version is not None

    @property
    def interaction_types(self) -> list[str]:
        """What ``users.recent_types`` counts, by name: another profile may have others."""
        return self.manifest.interaction_types or list(DEFAULT_TYPES.names)

    def save(
        self,
        folder: Path,
        *,
        nearest: Nearest | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> Path:
        """Write to ``folder``, which appears whole or not at all. Returns the folder.

        A folder that is there already is replaced.

        Args:
            nearest: the index of its items, for catalogues that are too large to be searched
                whole.
            files: what else is kept beside it, by name. ``FEATURES`` must be among them when
                the manifest names features. ``RANKER`` is named by the manifest that is
                written; without it, the snapshot's own is kept.
        """
        files = dict(files or {})
        if self.ranker is not None:
            files.setdefault(RANKER, self.ranker)
        ranker = digest_of(files[RANKER]) if RANKER in files else None
        manifest = replace(self.manifest, ranker=ranker)
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            for part in ("items", "users"):
                for name, value in vars(getattr(self, part)).items():
                    save_column(draft, f"{part}.{name}", value)
            for name in ("owner_quality", "popular", "tag_items"):
                save_column(draft, name, getattr(self, name))
            save_column(draft, "owners.ids", self.owners)
            for name, array in table_arrays(self.tables).items():
                save_column(draft, name, array)
            if nearest is not None:
                nearest.save(draft / NEAREST)
            for name, content in files.items():
                (draft / name).write_bytes(content)
            (draft / MANIFEST).write_text(json.dumps(asdict(manifest)), encoding="utf-8")
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
                a vector is not finite, another format version wrote it, or its features or
                its ranker are not those that its manifest names.
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
                load_column(folder, "owners.ids", "IdIndex"),
                load_column(folder, "owner_quality", "Floats"),
                load_column(folder, "popular", "Ints"),
                load_column(folder, "tag_items", "Ragged"),
                folder,
                _read_ranker(folder, content.get("ranker")),
                read_tables(
                    content.get("tables", {}), lambda name: load_column(folder, name, "Floats")
                ),
            )
            snapshot.check()
            snapshot.check_features()
        except (OSError, ValueError, TypeError, AttributeError, SnapshotError) as error:
            raise SnapshotError(f"snapshot {folder.name} does not load: {error}") from error
        return snapshot

    def check(self) -> None:
        """Refuse columns that do not fit together.

        Raises:
            SnapshotError: names the column.
        """
        for part, columns, rows in (
            ("items", self.items, self.items.rows),
            ("users", self.users, len(self.users.ids)),
        ):
            for name, value in vars(columns).items():
                length = value.rows if isinstance(value, Ragged) else len(value)
                if isinstance(value, Texts):
                    length = rows if length == len(columns.ids) <= rows else length
                    if value.offsets[-1] != len(value.data):
                        raise SnapshotError(f"column {part}.{name}: texts do not fit offsets")
                if length != rows:
                    raise SnapshotError(f"column {part}.{name}: {length} rows, expected {rows}")
                if isinstance(value, Ragged):
                    _check_entries(f"{part}.{name}", value)
        for name, length, rows in (
            ("owner_quality", len(self.owner_quality), len(self.owners)),
            ("popular", len(self.popular), len(self.items.ids)),
            ("tag_items", self.tag_items.rows, len(self.manifest.tags)),
        ):
            if length != rows:
                raise SnapshotError(f"column {name}: {length} rows, expected {rows}")
        _check_entries("tag_items", self.tag_items)
        for name, indices in (("popular", self.popular), ("tag_items", self.tag_items.indices)):
            if len(indices) and not 0 <= indices.min() <= indices.max() < len(self.items.ids):
                raise SnapshotError(f"column {name}: not all of it is rows of items")
        most = self.users.recent_types.max(initial=-1)
        if most >= len(self.interaction_types):
            raise SnapshotError(
                f"column users.recent_types: a {most}, and the manifest names "
                f"{len(self.interaction_types)} interaction types"
            )
        if self.items.tags.ndim != 2:
            raise SnapshotError("column items.tags: not a matrix")
        if self.owners.offsets[-1] != len(self.owners.data):
            raise SnapshotError("column owners.ids: texts do not fit offsets")
        check_tables(self.tables, len(self.items.ids), len(self.users.ids))
        shapes = self.items.vectors.shape, self.users.vectors.shape
        if {len(shape) for shape in shapes} != {2} or shapes[0][1] != shapes[1][1]:
            raise SnapshotError(f"items.vectors and users.vectors differ in width: {shapes}")
        if self.items.fold.ndim != 2 or self.items.fold.shape[1] not in (0, shapes[0][1]):
            raise SnapshotError(f"column items.fold: shape {self.items.fold.shape}")
        for name, vectors in (
            ("items.vectors", self.items.vectors),
            ("items.fold", self.items.fold),
            ("items.bias", self.items.bias),
            ("users.vectors", self.users.vectors),
        ):
            if not np.isfinite(vectors).all():
                raise SnapshotError(f"column {name}: a value is not finite")

    def check_features(self, expected: str | None = None) -> None:
        """Refuse a snapshot of other features than its version was trained on.

        Args:
            expected: digest that the registry has of the version; None: it has none.

        Raises:
            SnapshotError: names the features.
        """
        named = self.manifest.features
        if named is None and expected is None:
            return
        content = (self.folder / FEATURES).read_bytes() if self.folder and named else b""
        actual = digest_of(content) if content else None
        if actual != named or expected not in (None, named):
            raise SnapshotError(
                f"features do not match: its version was trained on {expected or named}, the "
                f"manifest names {named}, {FEATURES} is {actual}: {described(content)}"
            )


def _read_ranker(folder: Path, named: str | None) -> bytes | None:
    if named is None:
        return None
    content = (folder / RANKER).read_bytes()
    if digest_of(content) != named:
        raise SnapshotError(f"{RANKER} is {digest_of(content)}, the manifest names {named}")
    return content


def _check_entries(name: str, column: Ragged) -> None:
    if not column.indptr[-1] == len(column.indices) == len(column.values):
        raise SnapshotError(f"column {name}: its entries do not fit its rows")


def _load_part(folder: Path, part: str, kind: type[Items] | type[Users]) -> dict[str, Any]:
    columns = {
        field.name: load_column(folder, f"{part}.{field.name}", field.type)
        for field in fields(kind)
        if field.name != "fold"
    }
    if kind is Items:  # snapshots of earlier releases have none
        there = (folder / "items.fold.npy").exists()
        without = np.zeros((len(columns["bias"]), 0), np.float32)
        columns["fold"] = load_column(folder, "items.fold", "Floats") if there else without
    return columns
