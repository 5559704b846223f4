"""Which keys came before: as a dictionary has it, whatever is in memory or in a file."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.loading import seen
from storage.loading.seen import Seen

KEYS = st.lists(st.lists(st.integers(0, 60), unique=True), max_size=20)


@given(KEYS, st.integers(1, 40), st.integers(1, 400))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_first_content_of_each_key(
    monkeypatch: pytest.MonkeyPatch, chunks: list[list[int]], merged: int, in_memory: int
) -> None:
    monkeypatch.setattr(seen, "MERGED", merged)
    monkeypatch.setattr(seen, "IN_MEMORY", in_memory)
    ours, known = Seen(), dict[int, int]()
    for nth, chunk in enumerate(chunks):
        keys = pl.Series(chunk, dtype=pl.UInt64)
        found = ours.content_of(keys)
        assert found.to_list() == [known.get(key) for key in chunk]
        new = {key: nth * 100 + key for key in chunk if key not in known}
        ours.add(
            pl.Series(list(new), dtype=pl.UInt64), pl.Series(list(new.values()), dtype=pl.UInt64)
        )
        known |= new
