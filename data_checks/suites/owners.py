"""What must hold of owners, ``feed.owners``. There may be none."""

from __future__ import annotations

from great_expectations import ExpectationSuite

from data_checks.suites import parts
from models.profile.schema import Profile


def owners_suite(profile: Profile, *, tolerated_share: float = 0.0) -> ExpectationSuite:
    """Columns id, average_rating, completion_rate, finished_jobs; see ``users_suite``."""
    return parts.suite(
        "owners",
        [*parts.key("id"), *parts.bounds("owners", profile.checks, 1 - tolerated_share)],
        row_id=["id"],
    )
