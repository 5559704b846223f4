"""The one object that ``workspace.yaml`` names."""

from __future__ import annotations

import dagster as dg

from orchestration.alerts import ALERT_SENSORS
from orchestration.assets import (
    drift,
    features,
    feed,
    gate,
    guardrails,
    registry,
    search,
    sources,
    training,
)
from orchestration.heartbeat import beating_executor
from orchestration.jobs import JOBS
from orchestration.release_sensors import RELEASE_SENSORS
from orchestration.resources import HandedOn, Platform
from orchestration.schedules import SCHEDULES
from orchestration.sensors import SENSORS

defs = dg.Definitions(
    assets=[
        *sources.ASSETS,
        *features.ASSETS,
        *training.ASSETS,
        *registry.ASSETS,
        *gate.ASSETS,
        *search.ASSETS,
        *feed.ASSETS,
        *guardrails.ASSETS,
        *drift.ASSETS,
    ],
    jobs=JOBS,
    schedules=SCHEDULES,
    sensors=[*SENSORS, *RELEASE_SENSORS, *ALERT_SENSORS],
    resources={
        "platform": Platform(),
        "io_manager": HandedOn(),
    },
    # A process for each step costs seconds of imports; the assets are coarse.
    executor=beating_executor,
)
