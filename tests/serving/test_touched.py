"""The table of touched users, shared by the workers of a machine."""

from __future__ import annotations

import math
import multiprocessing
from pathlib import Path

import pytest

from serving.state.touched import SLOTS, Touched


def test_a_mark_is_seen_by_every_worker(tmp_path: Path) -> None:
    one, other = Touched(tmp_path), Touched(tmp_path)
    assert one.since("anna") == 0.0
    other.mark(["anna", "ben", "🦊\udc80"], 10.0)
    assert one.since("anna") == one.since("🦊\udc80") == 10.0
    assert Touched(tmp_path).since("anna") == 10.0  # a worker that starts later


def test_each_mark_differs_from_the_one_before(tmp_path: Path) -> None:
    """Also within one tick of the clock, and when it was set back."""
    touched = Touched(tmp_path)
    seen = []
    for now in (10.0, 10.0, 9.0, 11.0):
        touched.mark(["anna"], now)
        seen.append(touched.since("anna"))
    assert seen == sorted(set(seen))
    assert seen[-1] == 11.0
    assert math.isclose(seen[2], 10.0)


def test_everybody_can_be_marked(tmp_path: Path) -> None:
    touched = Touched(tmp_path)
    touched.mark_all(5.0)
    assert {touched.since(str(n)) for n in range(100)} == {5.0}
    assert (tmp_path / "touched").stat().st_size == SLOTS * 8


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        Touched(tmp_path / "file" / "below")


def _mark(folder: Path) -> None:
    Touched(folder).mark(["from another process"], 7.0)


def test_other_processes_too(tmp_path: Path) -> None:
    touched = Touched(tmp_path)
    process = multiprocessing.get_context("spawn").Process(target=_mark, args=(tmp_path,))
    process.start()
    process.join()
    assert touched.since("from another process") == 7.0
