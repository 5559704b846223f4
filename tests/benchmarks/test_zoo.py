"""The recommenders beside the bare libraries, at a tiny size."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from benchmarks import zoo
from benchmarks.common.stages import Run
from benchmarks.common.worlds import Size, World
from benchmarks.parts import zoo_stages
from models.recommenders.zoo import ZOO


def in_this_process(module: str, arguments: Sequence[str]) -> Run:
    """As ``watch``, without a process for each and what it would cost to start."""
    told = io.StringIO()
    with redirect_stdout(told):
        zoo_stages.run(
            World(Path(arguments[0])), arguments[1], arguments[2], scored_users=int(arguments[3])
        )
    run = Run()
    for line in map(json.loads, told.getvalue().splitlines()):
        if "end" in line:
            run.seconds[line["end"]], run.cpu[line["end"]] = line["seconds"], line["cpu"]
            run.peaks[line["end"]] = 1_000_000
    return run


NO_LIBRARY = (
    "blend", "transitions", "linear_transitions", "session_ease", "graph_filter", "pure_svd",
    "content", "taste", "groups", "popularity",
)  # fmt: skip


def test_every_recommender_beside_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "watch", in_this_process)
    names = [name for name in ZOO if name != "heuristic"]
    rows = {row.name: row for row in zoo.measure(Size(200, 200, 4000), names, 20, 1)}
    for name in names:
        for what in ("train", "cpu of train", "peak memory of train", "score"):
            row = rows[f"{what}, {name}"]
            assert row.value > 0
            assert row.baseline == (None if name in NO_LIBRARY else "library alone")


def test_similarities_in_a_process_of_their_own() -> None:
    seconds, memory, exact = zoo.similarities(Size(200, 2_000, 19_000))
    assert seconds.value > 0
    assert memory.value > 50
    assert exact.value == 1
