"""The commands about experiments and flags."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from feedwright.cli.app import app
from storage.settings import get_settings

FILE = """
id: nearer
description: Does distance count for more?
share: 0.5
arms:
  - name: as-now
  - name: nearer
    ranked_by: heuristic
    settings: {scorer_weights: {location: 50}}
"""


@pytest.fixture(autouse=True)
def _installation(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEEDWRIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FEEDWRIGHT_DATABASE_URL", database)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def run(*arguments: str, status: int = 0) -> Result:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == status, result.output
    return result


def test_help_shows_an_example() -> None:
    for group, commands in (
        ("experiments", ("list", "show", "create", "start", "pause", "resume", "ramp", "end")),
        ("flags", ("list", "set", "unset")),
    ):
        for command in commands:
            shown = run(group, command, "--help").stdout
            assert f"feedwright {group} {command}" in re.sub(r"\s+", " ", shown)


def test_a_life_by_commands(tmp_path: Path) -> None:
    file = tmp_path / "nearer.yaml"
    file.write_text(FILE)
    assert "No experiment yet" in run("experiments", "list").stdout
    assert "Draft nearer" in run("experiments", "create", str(file)).stdout
    assert "another id" in run("experiments", "create", str(file), status=1).stderr
    assert "is running, with 50.0%" in run("experiments", "start", "nearer").stdout
    shown = run("experiments", "show", "nearer").stdout
    assert "Does distance count for more?" in shown
    assert "p = 1" in shown
    assert re.search(r"nearer .*ctr .*not enough data", shown)
    assert "95 % interval" in shown
    run("experiments", "ramp", "nearer", "--share", "0.25")
    assert "no step after" in run("experiments", "ramp", "nearer", status=1).stderr
    run("experiments", "pause", "nearer", "--reason", "sale")
    [listed] = json.loads(run("experiments", "list", "--json").stdout)
    assert (listed["status"], listed["share"], listed["held_because"]) == ("paused", 0.25, "sale")
    run("experiments", "resume", "nearer")
    assert "is no arm" in run("experiments", "end", "nearer", "--winner", "x", status=1).stderr
    assert "is ended" in run("experiments", "end", "nearer", "--winner", "nearer").stdout
    assert "There is no experiment" in run("experiments", "show", "nothing", status=1).stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- 1", "body: Input should be"),
        ("id: [", "not valid YAML"),
        (FILE.replace("location", "luck"), "settings.scorer_weights.luck"),
        (FILE.replace("share: 0.5", "share: 2026-05-04"), "share: Input should be a valid number"),
    ],
)
def test_a_file_that_cannot_be(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(text)
    assert told in run("experiments", "create", str(file), status=1).stderr


def test_flags() -> None:
    run("flags", "set", "new_cards", "--on", "--share", "0.5", "--environment", "staging")
    run("flags", "set", "ml_recommendations", "--off")
    known = {
        (flag["name"], flag["environment"]): (flag["enabled"], flag["share"])
        for flag in json.loads(run("flags", "list", "--json").stdout)
    }
    assert known["new_cards", "staging"] == (True, 0.5)
    assert known["ml_recommendations", "default"] == (False, 1.0)
    assert "ml_recommendations" in run("flags", "list").stdout
    assert "No flag was set" in run("flags", "set", "New Cards", "--on", status=1).stderr
    assert "no flag new_cards" in run("flags", "unset", "new_cards", status=1).stderr
    run("flags", "unset", "new_cards", "--environment", "staging")


def test_off_has_no_share() -> None:
    refused = run("flags", "set", "new_cards", "--off", "--share", "0.3", status=1).stderr
    assert "--off switches off for all" in refused
    assert "new_cards" not in run("flags", "list").stdout
    run("flags", "set", "new_cards", "--off")
    assert re.search(r"new_cards .* no +│ +│", run("flags", "list").stdout)
