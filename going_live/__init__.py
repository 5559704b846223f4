"""Which version is live, who gets what, and what happens when it hurts.

Decisions over Postgres and MLflow that the pipeline, the service and the CLI share: releases
and rollback, guardrails, experiments, alerts.
"""
