"""Fetch a version's snapshot, or its refreshed tables, from MLflow into a folder that workers map.

Run by a worker as a command of its own: ``python -m serving.versions.download``.
"""

from __future__ import annotations

import argparse
import fcntl
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from models.catalogue.snapshots import refreshed
from models.catalogue.snapshots.snapshot import MANIFEST, Snapshot, SnapshotError
from storage.large_imports import expect_large_imports

GONE = "please ensure that the path is correct"
"""What MLflow says of files that are not there, whatever its store; it gives no error code."""


def download(
    tracking: str,
    run_id: str,
    artifact: str,
    folder: Path,
    *,
    replace: bool = False,
    load: Callable[[Path], object] = Snapshot.load,
) -> None:
    """Fetch ``runs:/run_id/artifact`` to ``folder``, which appears whole or not at all.

    Several processes at once are safe: one fetches, the others find it done.

    Args:
        replace: fetch although the folder is there, because it does not load.
        load: what is fetched; it raises SnapshotError where that is not whole.

    Raises:
        SnapshotError: what came does not load.
        mlflow.exceptions.MlflowException: MLflow or its store does not give it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / f".{folder.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        there = (folder / MANIFEST).exists() or (folder / refreshed.MANIFEST).exists()
        if there and (not replace or _loads(folder, load)):
            return
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            from mlflow.artifacts import download_artifacts

            fetched = Path(
                download_artifacts(
                    artifact_uri=f"runs:/{run_id}/{artifact}",
                    dst_path=str(draft),
                    tracking_uri=tracking,
                )
            )
            load(fetched)
            if folder.exists():
                folder.rename(draft / "damaged")
            fetched.rename(folder)
            if load is not Snapshot.load:
                refreshed.remove_older(folder.parent)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _loads(folder: Path, load: Callable[[Path], object]) -> bool:
    try:
        load(folder)
    except SnapshotError:
        return False
    return True


def _sentence(error: Exception) -> str:
    """Why nothing came, for people."""
    if isinstance(error, SnapshotError):
        return str(error)
    message = " ".join(str(error).split())
    if GONE in message:
        return (
            "its files are gone from MLflow's store; bring them back, or choose another version "
            "(`feedwright models list`)"
        )
    return f"MLflow does not give its files ({type(error).__name__}: {message})"


if __name__ == "__main__":
    expect_large_imports()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tracking")
    parser.add_argument("run_id")
    parser.add_argument("artifact")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--replace", action="store_true")
    parser.add_argument(
        "--tables",
        dest="load",
        action="store_const",
        const=refreshed.RefreshedTables.load,
        default=Snapshot.load,
        help="refreshed tables, not a snapshot",
    )
    try:
        download(**vars(parser.parse_args()))
    except Exception as error:  # the worker logs the one line
        sys.exit(_sentence(error))
