"""Every benchmark runs at a tiny size and prints one document of the schema."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from benchmarks import clone_to_feed, feed, report, train
from serving.launch import ROOT

TINY = ["--users", "50", "--items", "200", "--interactions", "2000", "--seconds", "1"]
ROW = {"name", "value", "unit", "baseline", "baseline_value", "ratio"}


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
    )


def rows_of(done: subprocess.CompletedProcess[str], name: str) -> dict[str, dict[str, Any]]:
    """Rows by name, the schema checked."""
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert set(document) == {"name", "machine", "rows"}
    assert document["name"] == name
    assert document["machine"]["cores"] >= 1
    for row in document["rows"]:
        assert set(row) == ROW
        assert row["value"] >= 0
        if row["baseline_value"]:
            assert row["ratio"] == pytest.approx(row["value"] / row["baseline_value"], rel=0.01)
        else:
            assert row["ratio"] is None
    rows = {row["name"]: row for row in document["rows"]}
    assert len(rows) == len(document["rows"])
    return rows


def test_feed() -> None:
    rows = rows_of(run("feed", *TINY, "--workers", "1"), "feed")
    for way, clients in product(("ranked anew", "as visited"), (1, 32)):
        for what in ("p50", "p99", "throughput"):
            row = rows[f"{what} ({way}, workers=1, clients={clients})"]
            assert row["baseline"] == "a constant answer of the same bytes"
            assert row["value"] > 0
            assert row["baseline_value"] > 0
    assert rows["stage: whole"]["value"] > rows["stage: encoding"]["value"]


def test_train() -> None:
    rows = rows_of(run("train", *TINY), "train")
    for name in ("interaction matrix", "LightFM, all", "evaluate, heuristic", "lists"):
        assert rows[name]["baseline"] == "all stages"
        assert rows[name]["unit"] == "s"
    assert rows["peak memory, all stages"]["value"] > 50
    assert rows["ndcg@10, lightfm_hybrid"]["baseline"] == "popularity"


def test_clone_to_feed_names_what_is_no_repository(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        clone_to_feed.main([*TINY, "--source", str(tmp_path)])
    assert ended.value.code == 2
    assert "no git repository" in capsys.readouterr().err


@pytest.mark.parametrize("benchmark", [feed, train, clone_to_feed])
def test_a_wrong_size_is_refused(benchmark: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        benchmark.main(["--users", "0"])
    assert ended.value.code == 2
    assert "--users" in capsys.readouterr().err


def test_a_failure_is_an_error_and_no_stack_trace(capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> list[report.Row]:
        raise report.BenchmarkError("the server is away")

    assert report.run("feed", fails) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == "error: the server is away\n"
