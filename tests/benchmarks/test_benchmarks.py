"""Every benchmark runs at a tiny size and prints one document of the schema."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext, redirect_stdout
from importlib import import_module
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from benchmarks import clone_to_feed, feed, train
from benchmarks.common import report, servers

TINY = ["--users", "50", "--items", "200", "--interactions", "2000", "--seconds", "0.6"]
ROW = {"name", "value", "unit", "baseline", "baseline_value", "ratio"}


def run(name: str, *arguments: str) -> str:
    """What the benchmark prints, without a process of its own and what that would import."""
    told = io.StringIO()
    with redirect_stdout(told):
        assert import_module(f"benchmarks.{name}").main(arguments) == 0
    return told.getvalue()


def rows_of(printed: str, name: str) -> dict[str, dict[str, Any]]:
    """Rows by name, the schema checked."""
    document = json.loads(printed)
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


@pytest.fixture
def one_constant(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One constant server for all ways: a server takes seconds to start."""
    start = servers.constant_server
    with ExitStack() as stack:
        started: list[servers.Server] = []

        def shared(*given: Any) -> AbstractContextManager[servers.Server]:
            if not started:
                started.append(stack.enter_context(start(*given)))
            return nullcontext(started[0])

        monkeypatch.setattr(servers, "constant_server", shared)
        yield


def test_feed(one_constant: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "ROUNDS", 1)
    monkeypatch.setattr(feed, "WARM_SECONDS", 0.2)
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


def test_train_hourly() -> None:
    rows = rows_of(run("train", *TINY, "--hourly"), "train")
    assert rows["hourly refresh"]["baseline"] == "full build"
    assert rows["weights that differ from a full build"]["value"] == 0


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
