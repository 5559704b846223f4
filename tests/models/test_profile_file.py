"""A profile's file may change while it is in use; a bad one changes nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from models.profile.file import ProfileFile
from models.profile.schema import SHIPPED, ProfileError

GOOD = yaml.safe_load((SHIPPED / "marketplace.yaml").read_text(encoding="utf-8"))


def write(file: Path, change: dict) -> None:
    """As an editor does: a new file in the place of the old one."""
    draft = file.with_suffix(".draft")
    draft.write_text(yaml.safe_dump(GOOD | change), encoding="utf-8")
    os.replace(draft, file)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write(tmp_path / "mine.yaml", {"name": "first"})
    return tmp_path / "mine.yaml"


def test_a_change_is_taken_up(file: Path) -> None:
    watched = ProfileFile(str(file))
    first = watched.profile
    assert watched.refresh() is None
    assert watched.profile is first
    write(file, {"name": "other"})  # as long as the first
    assert watched.refresh() is None
    assert (watched.profile.name, first.name) == ("other", "first")


@pytest.mark.parametrize(
    ("bad", "named"), [({"scorer_weights": {"tags": -1}}, "scorer_weights.tags"), (None, "read")]
)
def test_a_bad_change_keeps_the_old_one_and_says_why(
    file: Path, bad: dict | None, named: str
) -> None:
    watched = ProfileFile(str(file))
    if bad is None:
        file.unlink()
    else:
        write(file, bad)
    for _ in range(2):
        assert named in (watched.refresh() or "")
        assert watched.profile.name == "first"
    write(file, {"name": "mended"})
    assert watched.refresh() is None
    assert watched.problem is None
    assert watched.profile.name == "mended"


def test_one_that_ships_by_its_name() -> None:
    watched = ProfileFile("social")
    assert (watched.refresh(), watched.profile.name) == (None, "social")
    with pytest.raises(ProfileError, match="marketplaze"):
        ProfileFile("marketplaze")
