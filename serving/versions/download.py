"""Fetch a version's snapshot from MLflow into the folder that workers map.

Run by a worker as a command of its own: ``python -m serving.versions.download``.
"""

from __future__ import annotations

import argparse
import fcntl
import shutil
import sys
import tempfile
from pathlib import Path

from models.catalogue.snapshots.snapshot import MANIFEST, Snapshot, SnapshotError
from storage.large_imports import expect_large_imports

GONE = "please ensure that the path is correct"
"""What MLflow says of files that are not there, whatever its store; it gives no error code."""


def download(tracking: str, run_id: str, artifact: str, folder: Path, *, replace: bool) -> None:
    """Fetch ``runs:/run_id/artifact`` to ``folder``, which appears whole or not at all.

    Several processes at once are safe: one fetches, the others find it done.

    Args:
        replace: fetch although the folder is there, because it does not load.

    Raises:
        SnapshotError: what came is not a snapshot.
        mlflow.exceptions.MlflowException: MLflow or its store does not give it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / f".{folder.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / MANIFEST).exists() and (not replace or _loads(folder)):
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
            Snapshot.load(fetched)
            if folder.exists():
                folder.rename(draft / "damaged")
            fetched.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _loads(folder: Path) -> bool:
    try:
        Snapshot.load(folder)
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
    try:
        download(**vars(parser.parse_args()))
    except Exception as error:  # the worker logs the one line
        sys.exit(_sentence(error))
