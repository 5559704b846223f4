"""What people are told about exceptions."""

from __future__ import annotations

import errno

import psycopg
import pytest

from feedwright.errors import FeedwrightError, explain
from models.profile.schema import ProfileError
from storage.postgres.database import DatabaseError


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left", "/data/x"), "The disk is full (/data/x)."),
        (PermissionError(errno.EACCES, "Permission denied", "/data"), "FEEDWRIGHT_HOME"),
        (DatabaseError("No such host: check\nthe spelling."), "No such host: check the spelling."),
        (ProfileError("lightfm.dims: too many"), "lightfm.dims"),
        (psycopg.OperationalError("gone"), "The database failed: gone."),
        (FeedwrightError("Cause.", "Fix."), "Cause. Fix."),
        (KeyError("x"), "Unexpected KeyError"),
    ],
)
def test_cause_and_fix_in_one_line(error: Exception, expected: str) -> None:
    said = str(explain(error))
    assert expected in said
    assert "\n" not in said
