"""Who answers, and why it is not the champion."""

from __future__ import annotations

from typing import Literal

Variant = Literal["champion", "challenger", "heuristic", "time"]


FallbackReason = Literal[
    "no_catalogue",
    "catalogue_damaged",
    "no_model",
    "snapshot_missing",
    "model_load_failed",
    "model_stale",
    "model_withdrawn",
    "challenger_unavailable",
    "switched_off",
    "database_unavailable",
    "anonymous",
    "unknown_user",
    "personalization_off",
    "model_error",
    "time_budget_exceeded",
]
