"""Snapshots come back as they were saved, and damaged ones are refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from models.catalogue.live import LiveCatalogue
from models.catalogue.snapshots.nearest import Nearest, build
from models.catalogue.snapshots.snapshot import FEATURES, MANIFEST, NEAREST, Snapshot, SnapshotError
from models.data.feature_set import FeatureSet
from models.data.ids import IdIndex
from models.data.ragged import Ragged
from models.data.texts import Texts
from models.profile.interaction_types import DEFAULT_TYPES
from tests.models.worlds import catalogue_of, dataset_of, interactions_frame, snapshot_of


def assert_equal(one: object, other: object) -> None:
    if isinstance(one, IdIndex):
        assert isinstance(other, IdIndex)
        assert one.to_list() == other.to_list()
    elif isinstance(one, Texts):
        assert isinstance(other, Texts)
        assert one.to_list() == other.to_list()
    elif isinstance(one, Ragged):
        for mine, theirs in zip(one, other, strict=True):  # type: ignore[call-overload]
            assert_equal(mine, theirs)
    else:
        assert isinstance(one, np.ndarray)
        assert isinstance(other, np.ndarray)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


NAMES = FeatureSet(["city:Graz", "tag:Drama"], ["category:Film"])


@pytest.fixture
def folder(snapshot: Snapshot, tmp_path: Path) -> Path:
    return snapshot.save(tmp_path / "7")


@pytest.fixture
def featured(snapshot: Snapshot, tmp_path: Path) -> Path:
    """One of a model that was trained on ``NAMES``."""
    named = replace(snapshot, manifest=replace(snapshot.manifest, features=NAMES.digest))
    return named.save(tmp_path / "7", files={FEATURES: NAMES.to_bytes()})


def test_round_trip(snapshot: Snapshot, folder: Path) -> None:
    loaded = Snapshot.load(folder)
    assert loaded.manifest == snapshot.manifest
    assert loaded.has_model
    for part in ("items", "users"):
        for name, value in vars(getattr(snapshot, part)).items():
            assert_equal(value, getattr(getattr(loaded, part), name))
    for name in ("owners", "owner_quality", "popular", "tag_items"):
        assert_equal(getattr(snapshot, name), getattr(loaded, name))
    assert loaded.folder == folder
    assert snapshot.folder is None


@pytest.mark.parametrize(
    ("users", "items"), [([], []), ([{"id": "u"}], []), ([], [{"id": "😀'\"", "tags": []}])]
)
def test_round_trip_of_next_to_nothing(users: list, items: list, tmp_path: Path) -> None:
    made = snapshot_of(dataset_of(catalogue_of(users, items), interactions_frame([])))
    loaded = Snapshot.load(made.save(tmp_path / "new" / "1"))
    assert loaded.items.ids.to_list() == [item["id"] for item in items]
    assert loaded.users.vectors.shape == (len(users), 0)


def test_saving_again_replaces_the_folder(snapshot: Snapshot, folder: Path) -> None:
    (folder / "left over").write_text("")
    renamed = replace(snapshot, manifest=replace(snapshot.manifest, model_version="8"))
    assert renamed.save(folder) == folder
    assert Snapshot.load(folder).manifest.model_version == "8"
    assert not (folder / "left over").exists()
    assert [entry.name for entry in folder.parent.iterdir()] == ["7"]


def test_one_of_an_earlier_release_loads(snapshot: Snapshot, folder: Path) -> None:
    (folder / "items.fold.npy").unlink()
    content = json.loads((folder / MANIFEST).read_text())
    del content["fold_weighted"]
    (folder / MANIFEST).write_text(json.dumps(content))
    loaded = Snapshot.load(folder)
    assert loaded.items.fold.shape == (snapshot.items.rows, 0)
    assert_equal(loaded.items.vectors, snapshot.items.vectors)


def test_a_mapped_snapshot_outlives_its_folder(snapshot: Snapshot, folder: Path) -> None:
    loaded = Snapshot.load(folder)
    for file in folder.iterdir():
        file.unlink()
    assert_equal(loaded.items.vectors, snapshot.items.vectors)


def test_what_is_written_into_it_reaches_neither_the_file_nor_another(folder: Path) -> None:
    one, other = Snapshot.load(folder), Snapshot.load(folder)
    one.items.published[:] = False
    one.items.tags[-1] = 7
    one.users.lat[:] = 0
    for untouched in (other, Snapshot.load(folder)):
        assert untouched.items.published.any()
        assert (untouched.items.tags[-1] == -1).all()
        assert untouched.users.lat.any()


def test_there_is_room_for_new_items(snapshot: Snapshot) -> None:
    items, known = snapshot.items, len(snapshot.items.ids)
    assert items.rows == known + 1_024
    assert len(items.titles) == known
    assert not items.published[known:].any()
    assert (items.tags[known:] == -1).all()
    assert np.isnan(items.lat[known:]).all()
    assert (items.neighbours[known:] == -1).all()
    assert not items.vectors[known:].any()


def test_an_index_comes_along(snapshot: Snapshot, tmp_path: Path) -> None:
    items = snapshot.items
    rows = np.flatnonzero(items.published).astype(np.int32)
    index = build(items.vectors, items.bias, rows, sample_queries=snapshot.users.vectors, count=9)
    folder = snapshot.save(tmp_path / "7", nearest=index)
    assert len(Nearest.open(folder / NEAREST)) == len(rows)


def overwrite(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        file = folder / f"{name}.npy"
        changed = change(np.load(file).copy())
        file.unlink()
        np.save(file, changed)

    return damage


def set_nan(array: np.ndarray) -> np.ndarray:
    array.flat[-1] = np.nan
    return array


def truncate(name: str, size: int) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:size])

    return damage


def write(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def manifest(**change: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        content = json.loads((folder / MANIFEST).read_text()) | change
        (folder / MANIFEST).write_text(json.dumps(content))

    return damage


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no manifest": (remove(MANIFEST), MANIFEST),
    "manifest cut off": (truncate(MANIFEST, 40), "column"),
    "manifest is a list": (write(MANIFEST, b"[]"), "list"),
    "manifest is no text": (write(MANIFEST, b"\xff\xff"), "utf-8"),
    "other format": (manifest(format=1), "format 1, this release reads 2"),
    "no format": (write(MANIFEST, b"{}"), "format None"),
    "unknown field": (manifest(colour="red"), "colour"),
    "column missing": (remove("items.bias.npy"), "items.bias.npy is missing"),
    "ids missing": (remove("users.ids.data.npy"), "users.ids.data.npy"),
    "owners missing": (remove("owners.ids.offsets.npy"), "owners.ids.offsets.npy"),
    "column cut off": (truncate("items.vectors.npy", 200), "items.vectors.npy"),
    "column empty": (truncate("items.lat.npy", 0), "items.lat.npy"),
    "column is noise": (write("users.lat.npy", bytes(range(256))), "users.lat.npy"),
    "column is a pickle": (
        overwrite("users.lat", lambda _: np.array([SimpleNamespace()], object)),
        "users.lat.npy",
    ),
    "column is one number": (overwrite("items.lat", lambda _: np.array(1.0)), "items.lat.npy"),
    "column too short": (overwrite("items.lat", lambda lat: lat[:-1]), "items.lat: 1423 rows"),
    "tags too short": (overwrite("items.tags", lambda a: a[:-1]), "items.tags: 1423 rows"),
    "tags flat": (overwrite("items.tags", lambda a: a[:, 0]), "items.tags"),
    "title lost": (overwrite("items.titles.offsets", lambda a: a[:-1]), "items.titles"),
    "titles cut off": (overwrite("items.titles.data", lambda a: a[:-1]), "items.titles"),
    "no offsets": (overwrite("items.titles.offsets", lambda a: a[:0]), "items.titles"),
    "no rows": (overwrite("users.seen.indptr", lambda a: a[:0]), "users.seen"),
    "popular too short": (overwrite("popular", lambda a: a[:-1]), "popular: 399 rows"),
    "popular of no item": (overwrite("popular", lambda a: a + 1), "popular"),
    "tag lost": (overwrite("tag_items.indptr", lambda a: a[:-1]), "tag_items"),
    "items of a tag lost": (overwrite("tag_items.indices", lambda a: a[:-1]), "tag_items"),
    "quality lost": (overwrite("owner_quality", lambda a: a[:-1]), "owner_quality"),
    "preferences too short": (
        overwrite("users.max_distance_km", lambda a: a[:-1]),
        "users.max_distance_km: 299 rows",
    ),
    "column too long": (
        overwrite("users.city", lambda city: np.append(city, city[:1])),
        "users.city: 301 rows",
    ),
    "ragged too short": (overwrite("users.tags.indptr", lambda a: a[:-1]), "users.tags"),
    "entries lost": (overwrite("users.seen.indices", lambda a: a[:-1]), "users.seen"),
    "values lost": (overwrite("users.liked.values", lambda a: a[:-1]), "users.liked"),
    "text lost": (overwrite("items.ids.data", lambda a: a[:-1]), "items.ids"),
    "vectors of NaN": (overwrite("items.vectors", set_nan), "items.vectors: a value is not finite"),
    "user vectors of NaN": (overwrite("users.vectors", set_nan), "users.vectors"),
    "bias of NaN": (overwrite("items.bias", set_nan), "items.bias"),
    "widths differ": (overwrite("users.vectors", lambda a: a[:, :-1]), "users.vectors"),
    "vectors flat": (overwrite("users.vectors", lambda a: a[:, 0]), "users.vectors"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named(folder: Path, damage: str) -> None:
    do, named = DAMAGES[damage]
    do(folder)
    with pytest.raises(SnapshotError, match="snapshot 7 does not load: ") as caught:
        Snapshot.load(folder)
    assert named in str(caught.value)


def test_features_are_those_of_the_version(featured: Path) -> None:
    loaded = Snapshot.load(featured)
    loaded.check_features(NAMES.digest)
    other = replace(NAMES, users=NAMES.users[::-1])
    assert other.digest != NAMES.digest  # the order counts
    with pytest.raises(SnapshotError, match=rf"{other.digest}.*2 of users \(city:Graz, tag:Dr"):
        loaded.check_features(other.digest)


def test_a_snapshot_without_features_is_not_that_of_a_version_with_some(folder: Path) -> None:
    loaded = Snapshot.load(folder)
    loaded.check_features(None)
    with pytest.raises(SnapshotError, match="features do not match"):
        loaded.check_features(NAMES.digest)


FEATURE_DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "changed": (write(FEATURES, replace(NAMES, items=["tag:War"]).to_bytes()), "tag:War"),
    "no list": (write(FEATURES, b"\xff"), "no list of features"),
    "missing": (remove(FEATURES), FEATURES),
    "other types": (manifest(interaction_types=["click", "view"]), "recent_types"),
}


@pytest.mark.parametrize("damage", FEATURE_DAMAGES)
def test_other_features_are_refused_by_name(featured: Path, damage: str) -> None:
    do, named = FEATURE_DAMAGES[damage]
    do(featured)
    with pytest.raises(SnapshotError, match=named):
        Snapshot.load(featured)


@pytest.mark.parametrize("names", [None, DEFAULT_TYPES.names[:-1], DEFAULT_TYPES.names[::-1]])
def test_types_are_known_by_name(featured: Path, names: Sequence[str] | None) -> None:
    manifest(interaction_types=names)(featured)
    live = LiveCatalogue(Snapshot.load(featured))
    known = list(names or DEFAULT_TYPES.names)
    assert list(live.types) == known
    assert [live.types.add(name) for name in [*known, "purchase"]] == list(range(len(known) + 1))


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match=r"manifest\.json"):
        Snapshot.load(tmp_path / "none")


def test_any_byte_of_a_header_may_be_wrong(folder: Path, rng: np.random.Generator) -> None:
    """Whatever numpy makes of it, it loads or is a SnapshotError."""
    file = folder / "items.lat.npy"
    content = file.read_bytes()
    for place in range(128):
        changed = bytearray(content)
        changed[place] = rng.integers(0, 256)
        file.unlink()
        file.write_bytes(changed)
        with suppress(SnapshotError):
            Snapshot.load(folder)
