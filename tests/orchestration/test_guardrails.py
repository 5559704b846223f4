"""Who is compared with whom, and what is kept of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from models.profile import Guardrails
from storage.database import connect
from storage.telemetry import VariantRates, open_breach

END = datetime.now(UTC)
GOOD = VariantRates("champion", "1", 1000, 100, 30, 300)
LIMITS = Guardrails(min_impressions=200, max_ctr_drop=0.5, max_conversion_drop=0.5)


@pytest.fixture
def judge(trained, database: str):
    from orchestration.assets.feed import _judge

    def judge(*rates: VariantRates, live: str | None = "2") -> dict[object, object]:
        with connect(database) as conn:
            reports = _judge(conn, list(rates), live, END - timedelta(days=7), END, LIMITS)
            breach = live is not None and open_breach(conn, live) is not None
        found = {one["model_version"]: one["status"] for one in reports}
        assert breach == (found.get(live) == "breach")
        return found

    return judge


def test_the_live_version_is_held_against_other_versions(judge) -> None:
    assert judge(GOOD, VariantRates("champion", "2", 1000, 90, 0, 0))["2"] == "ok"
    assert judge(GOOD, VariantRates("champion", "2", 1000, 40, 0, 0))["2"] == "breach"


def test_a_version_that_is_not_live_never_breaches(judge) -> None:
    bad = VariantRates("champion", "2", 1000, 0, 0, 0)
    assert judge(GOOD, bad, live="1") == {"1": "ok", "2": "ok"}
    assert judge(GOOD, bad, live=None) == {"1": "ok", "2": "ok"}


def test_what_no_version_showed_is_no_baseline(judge) -> None:
    poor = VariantRates("champion", "2", 1000, 40, 0, 0)
    others = [
        VariantRates("unknown", None, 10, 5000, 0, 0),  # clicks of a log without impressions
        VariantRates("heuristic", None, 10_000, 9000, 0, 0),
    ]
    assert judge(poor, *others)["2"] == "not_enough_data"


def test_conversion_needs_as_many_clicks_as_ctr_needs_impressions(judge) -> None:
    few = VariantRates("champion", "2", 1000, 100, 0, 100)
    many = VariantRates("champion", "2", 3000, 300, 10, 300)
    assert judge(GOOD, few)["2"] == "ok"
    assert judge(GOOD, many)["2"] == "breach"


def test_no_rates_no_reports(judge) -> None:
    assert judge() == {}
