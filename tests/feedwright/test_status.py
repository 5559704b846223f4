"""What the status says of the feed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from feedwright.local import status as state


@pytest.fixture
def document() -> Callable[[Any], dict[str, Any]]:
    def make(feed: dict[str, Any] | None) -> dict[str, Any]:
        services = {"feed": {"url": "", "ready": True}}
        return {"services": services, "champion": {"version": "8"}, "feed": feed, "assets": []}

    return make


@pytest.mark.parametrize(
    ("feed", "healthy"),
    [
        ({"model_version": "8", "fallback_reason": None, "detail": None}, True),
        ({"model_version": None, "fallback_reason": "model_load_failed", "detail": "gone"}, False),
        (None, False),
    ],
)
def test_a_live_version_must_be_served(document, feed: Any, healthy: bool) -> None:
    assert state.is_healthy(document(feed)) is healthy
