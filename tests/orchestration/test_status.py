"""What the status says of assets and of the feed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest

from feedwright.local import status as state
from orchestration import status


def test_a_check_that_was_only_planned_says_nothing(
    trained, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run plans all its checks, and does not come to those behind one that failed."""
    wrong = False

    @dg.asset
    def first() -> None:
        if wrong:
            raise ValueError("on purpose")

    @dg.asset(deps=[first], check_specs=[dg.AssetCheckSpec("rows", asset="second")])
    def second() -> dg.MaterializeResult:
        return dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=True)])

    made = dg.Definitions([first, second], jobs=[dg.define_asset_job("both", "*")])
    monkeypatch.setattr(status, "defs", made)
    job = made.resolve_job_def("both")

    def checked() -> Any:
        return {one["key"]: one["checks_passed"] for one in status.asset_status()}["second"]

    wrong = True
    job.execute_in_process(instance=instance, raise_on_error=False)
    assert checked() is None
    wrong = False
    job.execute_in_process(instance=instance)
    assert checked() is True
    wrong = True
    job.execute_in_process(instance=instance, raise_on_error=False)
    assert checked() is True


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
