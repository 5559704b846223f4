"""Public data sets as they are published load with the mapping that is proposed."""

from __future__ import annotations

from pathlib import Path

import pytest

from feedwright.local.loading import proposed
from models.profile.schema import load_profile
from storage.loading.values.validation import validate
from tests.storage.published import SETS
from tests.storage.published_others import OTHERS

ALL = SETS | OTHERS
TYPES = load_profile("marketplace").interaction_types


@pytest.mark.parametrize("name", ALL)
def test_a_proposal_loads_as_it_is(name: str, tmp_path: Path) -> None:
    right = ALL[name]
    for file, content in right.files.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    proposal, log = proposed(tmp_path, TYPES)
    found = {entity: validate(log, entity) for entity in log.entities}
    assert all(len(one.good) for one in found.values()), proposal
    interactions = found["interactions"]
    assert (len(interactions.good), len(interactions.rejected)) == (right.rows, 0), proposal
    *ids, occurred_at = interactions.good.select("user_id", "item_id", "type", "occurred_at").row(0)
    moment = occurred_at.strftime("%Y-%m-%dT%H:%M:%SZ") if right.first[3] else None
    assert (*ids, moment) == right.first, proposal
    for part in right.said:
        assert part in proposal
    for column, values in (("title", right.titles), ("tags", right.tags)):
        if values:
            items = dict(found["items"].good.select("id", column).iter_rows())
            assert {item: items.get(item) for item in values} == values, proposal
