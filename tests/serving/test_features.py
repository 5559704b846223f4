"""A snapshot of other features than its version was trained on is not served."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from models.catalogue.snapshots.snapshot import FEATURES
from models.data.feature_set import FeatureSet
from serving.versions.background import Background
from serving.versions.champion import AliasSnapshot
from serving.versions.registry import NamedVersion
from tests.serving.worlds import make_snapshot

NAMES = FeatureSet(["city:Graz"], ["category:Film"])


def never(*_: object) -> Background:
    pytest.fail("nothing is to be fetched")


@pytest.mark.parametrize("tag", [None, NAMES.digest, "0123456789abcdef"])
def test_the_tag_and_the_snapshot_must_agree(tmp_path: Path, tag: str | None) -> None:
    made = make_snapshot(users=20, items=20)
    named = replace(made, manifest=replace(made.manifest, features=NAMES.digest))
    version = named.manifest.model_version
    assert version is not None
    named.save(tmp_path / version, files={FEATURES: NAMES.to_bytes()})
    follower = AliasSnapshot("champion", tmp_path, never, never)
    follower.follow(NamedVersion(version, None, None, tag))
    if tag in (None, NAMES.digest):
        assert follower.problem is None
        assert follower.loaded is not None
    else:
        assert follower.problem == "model_load_failed"
        assert follower.loaded is None
        assert "trained on 0123456789abcdef" in (follower.detail or "")
        assert "1 of users (city:Graz), 1 of items (category:Film)" in (follower.detail or "")
