"""Flags: switches for a share of the users, of every environment or of one."""

from __future__ import annotations

import psycopg

from storage.events.telemetry import write_audit
from storage.operations import experiments as stored
from storage.operations.experiments import EVERYWHERE, FlagRow


def set_flag(
    conn: psycopg.Connection,
    name: str,
    *,
    enabled: bool,
    share: float = 1.0,
    environment: str = EVERYWHERE,
    actor: str,
) -> FlagRow:
    """Make or change a flag; workers go by it within seconds.

    Args:
        share: of the users, in [0, 1], for whom it is on if ``enabled``.
    """
    row = stored.set_flag(conn, name, environment, enabled, share)
    detail = {"flag": name, "environment": environment, "enabled": enabled, "share": share}
    write_audit(conn, actor, "flag.set", detail)
    return row


def unset_flag(
    conn: psycopg.Connection, name: str, *, environment: str = EVERYWHERE, actor: str
) -> bool:
    """Remove a flag, and go by the one of every environment, or by what is built in. Returns
    whether there was one."""
    gone = stored.unset_flag(conn, name, environment)
    if gone:
        write_audit(conn, actor, "flag.unset", {"flag": name, "environment": environment})
    return gone
