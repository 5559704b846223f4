"""Every alert rule fires when it should, and only then, as Prometheus' own tool finds."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.test_files import ALERTS

UP = {'up{job="feed", instance="a"}': "1+0x60"}
LIVE = {'feedwright_model_version_info{alias="champion", version="7", instance="a"}': "1+0x60"}


def requests(bad: str, good: str, kind: str, **labels: str) -> dict[str, str]:
    """Counters that grow each minute by ``bad`` with those labels, and by ``good``."""
    named = ", ".join(f'{name}="{value}"' for name, value in labels.items())
    plain = ", ".join(f'{name}=""' for name in labels)
    return {f"{kind}{{{named}}}": f"0+{bad}x60", f"{kind}{{{plain}}}": f"0+{good}x60"}


def seconds(kind: str, slow: int) -> dict[str, str]:
    """A histogram in which so many of 100 a minute take longer than 0.05 s, and 20 s."""
    return {
        f'{kind}_bucket{{le="0.05"}}': f"0+{100 - slow}x60",
        f'{kind}_bucket{{le="20"}}': "0+100x60",
        f'{kind}_bucket{{le="+Inf"}}': "0+100x60",
    }


# Alert -> series with which it fires after an hour, and much the same with which it does not.
CASES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "FeedDown": ({'up{job="feed", instance="a"}': "0+0x60"}, UP),
    "FeedErrors": (
        requests("3", "97", "feedwright_http_requests_total", status="503"),
        requests("50", "50", "feedwright_http_requests_total", status="404"),
    ),
    "FeedSlow": (seconds("feedwright_feed_seconds", 5), seconds("feedwright_feed_seconds", 0)),
    "FeedFallsBack": (
        requests("30", "70", "feedwright_feed_requests_total", fallback_reason="model_error"),
        requests("90", "10", "feedwright_feed_requests_total", fallback_reason="anonymous"),
    ),
    "FeedWithoutModel": (UP, UP | LIVE),
    "ModelStale": (
        {'feedwright_model_age_seconds{alias="champion"}': "180000+60x60"},
        {
            'feedwright_model_age_seconds{alias="champion"}': "80000+60x60",
            'feedwright_model_age_seconds{alias="challenger"}': "999999+60x60",
        },
    ),
    "ChampionWithdrawn": (
        {"feedwright_rollbacks_pending": "1+0x60"},
        {"feedwright_rollbacks_pending": "1+0x58 0 0 0"},
    ),
    "EventsLate": (
        seconds("feedwright_event_applied_seconds", 50),
        seconds("feedwright_event_applied_seconds", 0),
    ),
    "CatalogueLate": (
        {'feedwright_catalogue_read_timestamp_seconds{instance="a"}': "0+0x60"},
        {'feedwright_catalogue_read_timestamp_seconds{instance="a"}': "0+60x60"},
    ),
    "SpoolNotEmpty": (
        {'feedwright_ingest_spool_age_seconds{instance="a"}': "0+60x60"},
        {'feedwright_ingest_spool_age_seconds{instance="a"}': "0+0x60"},
    ),
    "WorkersDie": (
        {'feedwright_worker_deaths_total{instance="a",signal="SIGABRT"}': "0+1x60"},
        {'feedwright_worker_deaths_total{instance="a",signal="SIGKILL"}': "0+0x30 1+0x30"},
    ),
    "AlertsUndelivered": (
        {"feedwright_alerts_waiting_seconds": "0+60x60", "feedwright_alerts_given_up": "0+0x60"},
        {"feedwright_alerts_waiting_seconds": "30+0x60", "feedwright_alerts_given_up": "0+0x60"},
    ),
}


def case(alert: str, series: dict[str, str], fires: bool) -> dict[str, Any]:
    expected = [{"labels": f'{{alertname="{alert}"}}', "value": 1}] if fires else []
    return {
        "name": f"{alert} {'fires' if fires else 'is quiet'}",
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": "count by (alertname)"
                f' (ALERTS{{alertname="{alert}", alertstate="firing"}})',
                "eval_time": "1h",
                "exp_samples": expected,
            }
        ],
    }


def test_every_alert_fires_and_is_quiet(tmp_path: Path) -> None:
    rules = [
        rule["alert"]
        for group in yaml.safe_load(ALERTS.read_text())["groups"]
        for rule in group["rules"]
    ]
    assert rules == list(CASES)
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool: tools/test_programs.sh promtool")
    file = tmp_path / "cases.yml"
    tests = [
        case(alert, series, fires)
        for alert, both in CASES.items()
        for series, fires in zip(both, (True, False), strict=True)
    ]
    file.write_text(
        yaml.safe_dump(
            {"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": tests},
            sort_keys=False,
        )
    )
    done = subprocess.run([promtool, "test", "rules", file], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
