"""A new version that ranks as badly as another is good: ``… .inverted register 2``.

It has the vectors of version 2 with their signs turned. Prints the new version as JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from models.catalogue.snapshots.snapshot import FEATURES, Snapshot
from models.evaluation.drift import DRIFT
from storage.settings import get_settings


def register(version: str) -> str:
    """Register the inverted version; it is not live."""
    from storage.registry.registry import Registry

    settings = get_settings()
    registry = Registry(settings.mlflow_address, settings.model_name)
    good = registry.get(version)
    source = str(registry.client.get_model_version(settings.model_name, version).source)
    run = registry.client.create_run(registry.experiment_id(), run_name=f"{version}, inverted")
    bad = registry.register(run.info.run_id, source, good.tags)
    with tempfile.TemporaryDirectory() as folder:
        original = settings.snapshots / version
        copy = inverted(Snapshot.load(original), bad.version)
        beside = {name: (original / name).read_bytes() for name in (FEATURES, DRIFT)}
        registry.add_snapshot(bad, copy.save(Path(folder) / bad.version, files=beside))
    registry.client.set_terminated(run.info.run_id)
    return bad.version


def inverted(snapshot: Snapshot, version: str) -> Snapshot:
    """The snapshot of ``version``, whose scores are those of this one times -1."""
    items = replace(snapshot.items, vectors=-snapshot.items.vectors, bias=-snapshot.items.bias)
    return replace(
        snapshot, items=items, manifest=replace(snapshot.manifest, model_version=version)
    )


def main(arguments: Sequence[str]) -> int:
    _, version = arguments
    print(json.dumps(register(version)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
