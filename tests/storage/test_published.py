"""Public data sets as they are published load in two tries: `load`, or `map` and `load` with it."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from feedwright.cli.app import app
from storage.loading.mapping import load_mapping
from storage.loading.readers import read_log
from storage.loading.values.validation import validate
from tests.storage.published import SETS
from tests.storage.published_others import OTHERS

ALL = SETS | OTHERS


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout


@pytest.mark.parametrize("name", ALL)
def test_a_proposal_loads_as_it_is(name: str, tmp_path: Path) -> None:
    right = ALL[name]
    folder, mapping = tmp_path / "set", tmp_path / "mapping.yaml"
    folder.mkdir()
    for file, content in right.files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    status, said = run("map", str(folder), "--output", str(mapping))
    assert status == 0, said
    proposal = mapping.read_text(encoding="utf-8")
    status, printed = run("load", str(folder), "--mapping", str(mapping), "--dry-run", "--json")
    files = json.loads(printed)["files"]
    assert status == 0, (proposal, files)
    assert (files["interactions"]["good"], files["interactions"]["refused"]) == (right.rows, 0), (
        proposal
    )
    log = read_log(folder, mapping=load_mapping(mapping))
    good = validate(log, "interactions").good
    first = good.select("user_id", "item_id", "type", pl.col("occurred_at")).row(0)
    moment = first[3].strftime("%Y-%m-%dT%H:%M:%SZ") if right.first[3] else None
    assert (*first[:3], moment) == right.first, proposal
    for part in right.said:
        assert part in proposal
    if right.titles or right.tags:
        items = validate(log, "items").good
        titles = dict(items.select("id", "title").iter_rows())
        assert right.titles.items() <= titles.items(), proposal
        if right.tags:
            tags = dict(items.select("id", "tags").iter_rows())
            assert {item: tags.get(item) for item in right.tags} == right.tags, proposal
