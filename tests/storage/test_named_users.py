"""Whom a refused row names, however it is written."""

from __future__ import annotations

from typing import Any

import pytest

from storage.loading.values.columns import MAX_ID_BYTES, Entity
from storage.privacy.named_users import users_in

DEEP: Any = {"user_id": "anna"}
for _ in range(900):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({"user_id": "José", "type": "?"}, ["José"]),
        ({"user_id": 'tab\t"\\\n'}, ['tab\t"\\\n']),
        ({"userId": "anna"}, ["anna"]),
        ({"User-ID": "anna", "uid": "ben"}, ["anna", "ben"]),
        ({"user_id": "anna", "userid": "anna"}, ["anna"]),
        ({"user_id": 196}, ["196"]),
        ({"user_id": 196.0}, ["196"]),
        ({"metadata": {"user_id": "ben"}, "user_id": "anna"}, ["anna"]),
        ({"metadata": {"user_id": "ben"}, "item_id": "anna"}, ["ben"]),
        ({"user": {"id": "anna", "name": "Anna"}, "item": {"id": "i"}}, ["anna"]),
        ({"events": [{"user_id": "anna"}, {"user_id": "ben"}]}, ["anna", "ben"]),
        ([{"user_id": "anna"}], ["anna"]),
        (DEEP, ["anna"]),
        ({"id": "anna", "item_id": "anna", "event_id": "anna"}, []),
        ({"user_id": None, "user": True, "uid": float("nan"), "client": 1.5}, []),
        ({"user_id": "nul\0"}, []),
        ({"user_id": "half \ud800"}, []),
        ({"user_id": "x" * (MAX_ID_BYTES + 1)}, []),
        ({"user_id": 10**4_000}, []),
        ({"user_id": ""}, []),
        ("anna", []),
        (None, []),
    ],
)
def test_an_interaction(row: Any, named: list[str]) -> None:
    assert users_in("interactions", row) == named


@pytest.mark.parametrize(("entity", "named"), [("users", ["anna"]), ("items", []), ("owners", [])])
def test_the_id_of_a_row_is_a_users_among_users(entity: Entity, named: list[str]) -> None:
    assert users_in(entity, {"id": "anna", "lat": 91}) == named
    assert users_in(entity, {"id": "i", "user_id": "ben"})[-1] == "ben"
