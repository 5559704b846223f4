"""How recommenders are kept: a folder of arrays and ``recommender.json``, no pickle."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from scipy import sparse

FORMAT = 1
MANIFEST = "recommender.json"
Arrays = dict[str, Any]
"""NumPy arrays and CSR matrices by name."""


class RecommenderFileError(RuntimeError):
    """A folder that does not hold the recommender that is asked for; the message says why."""


def write(folder: Path, name: str, settings: Mapping[str, Any], arrays: Arrays) -> None:
    """Write to ``folder``, which appears whole or not at all; what is there is replaced."""
    content = {
        "format": FORMAT,
        "recommender": name,
        "settings": dict(settings),
        "arrays": {key: isinstance(value, sparse.csr_array) for key, value in arrays.items()},
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for key, value in arrays.items():
            if isinstance(value, sparse.csr_array):
                sparse.save_npz(draft / f"{key}.npz", value, compressed=False)
            else:
                np.save(draft / f"{key}.npy", value, allow_pickle=False)
        (draft / MANIFEST).write_text(json.dumps(content), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def read(folder: Path, name: str) -> tuple[dict[str, Any], Arrays]:
    """Settings and arrays of the recommender ``name``. Dense arrays are memory-mapped.

    Raises:
        RecommenderFileError: nothing whole is there, or it is another recommender or format.
    """
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        held = content["format"], content["recommender"]
        if held != (FORMAT, name):
            raise RecommenderFileError(
                f"{folder.name} holds {held[1]} in format {held[0]}, not {name} in format "
                f"{FORMAT}: load it by its own class, or train it again"
            )
        arrays = {
            key: sparse.load_npz(folder / f"{key}.npz")
            if is_sparse
            else np.load(folder / f"{key}.npy", mmap_mode="c", allow_pickle=False)
            for key, is_sparse in content["arrays"].items()
        }
        return content["settings"], arrays
    except (OSError, ValueError, KeyError, TypeError, AttributeError, BadZipFile) as error:
        raise RecommenderFileError(
            f"recommender {folder.name} does not load ({error}): train it again"
        ) from error
