"""What must hold of users, ``feed.users``."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from data_checks.suites import parts
from models.profile.schema import Profile


def users_suite(profile: Profile, *, tolerated_share: float = 0.0) -> ExpectationSuite:
    """Columns id, lat, lon, created_at.

    Args:
        tolerated_share: of rows that may break a rule for which the quarantine leaves the
            row out; they are still counted and shown.
    """
    mostly = 1 - tolerated_share
    return parts.suite(
        "users",
        [
            *parts.rows(),
            *parts.key("id"),
            *parts.bounds("users", profile.checks, mostly),
            *parts.place(mostly),
        ],
        row_id=["id"],
    )
