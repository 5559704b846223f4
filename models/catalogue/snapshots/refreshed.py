"""The tables of a version as they are by now, kept up to date since its training.

A folder beside those of the snapshot, which appears whole or not at all: whoever serves the version
puts its tables in the place of the snapshot's.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import polars as pl

from models.catalogue.snapshots.columns import SnapshotError, load_column, save_column
from models.catalogue.snapshots.snapshot import Snapshot
from models.catalogue.tables.scores import ScoreTable
from models.catalogue.tables.stored import (
    check_tables,
    read_tables,
    table_arrays,
    table_settings,
)
from models.data.texts import Texts

FOLDER = "refreshed"
"""Below a snapshot's folder, and among the artifacts of its version's run."""
MANIFEST = "refreshed.json"
FORMAT = 1
KEPT = 2
"""Tables of one version on a disk, and in MLflow: the newest, and those before for who is slow."""


@dataclass(frozen=True)
class RefreshedTables:
    """
    Attributes:
        version: that they are of. stamp: names them among those of the version; later ones are
            higher.
        tables: in the place of the version's, by name.
        added: items that came since the training, in the rows behind the others.
    """

    version: str
    stamp: str
    tables: Mapping[str, ScoreTable]
    added: Sequence[str] = ()

    def save(self, snapshot: Path) -> Path:
        """Write beside the snapshot in that folder. Returns the folder."""
        folder = folder_of(snapshot, self.stamp)
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        content = {
            "format": FORMAT,
            "version": self.version,
            "stamp": self.stamp,
            "tables": {name: table_settings(table) for name, table in self.tables.items()},
        }
        try:
            for name, array in table_arrays(self.tables).items():
                save_column(draft, name, array)
            save_column(draft, "added", Texts.in_order(pl.Series(self.added, dtype=pl.String)))
            (draft / MANIFEST).write_text(json.dumps(content), encoding="utf-8")
            shutil.rmtree(folder, ignore_errors=True)
            draft.rename(folder)
            remove_older(folder.parent)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return folder

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Map what ``save`` wrote.

        Raises:
            SnapshotError: nothing whole is there.
        """
        try:
            content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            if content["format"] != FORMAT:
                raise SnapshotError(f"format {content['format']}, this release reads {FORMAT}")
            tables = read_tables(
                content["tables"], lambda name: load_column(folder, name, "Floats")
            )
            added = load_column(folder, "added", "Texts").to_list()
            return cls(content["version"], content["stamp"], tables, added)
        except (OSError, ValueError, TypeError, KeyError, SnapshotError) as error:
            raise SnapshotError(f"refreshed tables {folder.name} do not load: {error}") from error

    def instead_of(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with these tables.

        Raises:
            SnapshotError: they are not of its version, or do not fit its items.
        """
        of, unknown = snapshot.manifest.model_version, self.tables.keys() - snapshot.tables.keys()
        if self.version != of or unknown:
            raise SnapshotError(
                f"refreshed tables {self.stamp} are of version {self.version}"
                + (f" and name {sorted(unknown)[0]}" if unknown else "")
                + f", the snapshot is of version {of}"
            )
        try:
            check_tables(self.tables, len(snapshot.items.ids) + len(self.added), 0)
        except ValueError as error:
            raise SnapshotError(f"refreshed tables {self.stamp}: {error}") from error
        tables = {**snapshot.tables, **self.tables}
        return replace(snapshot, tables=tables, refreshed=self.stamp, added=self.added)


def folder_of(snapshot: Path, stamp: str) -> Path:
    """Where the tables of that stamp are, beside the snapshot in a folder."""
    return snapshot / FOLDER / stamp


def remove_older(parent: Path) -> None:
    """Remove all but the newest ``KEPT`` of the tables in a folder. Who has mapped some of them
    goes on reading them."""
    stamps = sorted(entry.name for entry in parent.iterdir() if not entry.name.startswith("."))
    for stamp in stamps[:-KEPT]:
        shutil.rmtree(parent / stamp, ignore_errors=True)


def load_refreshed(snapshot: Path, stamp: str | None) -> Snapshot:
    """Map the snapshot in that folder, with the tables of the stamp; None: with its own.

    Raises:
        SnapshotError: one of the two is not whole, or they do not fit together.
    """
    loaded = Snapshot.load(snapshot)
    if stamp is None:
        return loaded
    return RefreshedTables.load(folder_of(snapshot, stamp)).instead_of(loaded)
