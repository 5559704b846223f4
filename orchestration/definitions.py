"""The one object that ``workspace.yaml`` names: what each domain has, put together."""

from __future__ import annotations

import dagster as dg

from orchestration import alerts, daily
from orchestration.data import privacy
from orchestration.feed import lists, refresh, tables
from orchestration.releases import experiments, guardrails, jobs, sensors
from orchestration.resources import HandedOn, Platform
from orchestration.runs.heartbeat import beating_executor
from orchestration.training import drift, search

defs = dg.Definitions(
    assets=[*daily.ASSETS, *search.ASSETS, *tables.ASSETS],
    jobs=[
        daily.daily_job,
        search.search_job,
        lists.engagement_job,
        lists.trending_job,
        tables.tables_job,
        guardrails.guardrails_job,
        drift.drift_job,
        guardrails.off_policy_job,
        *jobs.RELEASE_JOBS,
        refresh.refresh_job,
        privacy.privacy_job,
        experiments.experiments_job,
    ],
    schedules=[
        daily.daily_at_two,
        lists.hourly_engagement,
        lists.quarter_hourly_trending,
        tables.hourly_tables,
        guardrails.ten_minutely_guardrails,
        guardrails.hourly_off_policy,
        drift.hourly_drift,
        privacy.daily_privacy,
        experiments.ten_minutely_experiments,
    ],
    sensors=[
        daily.retraining,
        refresh.waiting_lists,
        *sensors.RELEASE_SENSORS,
        *alerts.ALERT_SENSORS,
    ],
    resources={
        "platform": Platform(),
        "io_manager": HandedOn(),
    },
    # A process for each step costs seconds of imports; the assets are coarse.
    executor=beating_executor,
)
