"""Connections to Dagster's own tables."""

import dagster as dg

RECYCLE = 30
"""Seconds after which a connection is opened anew: no firewall closes one that is idle so
shortly, and a database that was started again is soon found."""
MOST_AT_ONCE = 20


def hold_connections(instance: dg.DagsterInstance) -> None:
    """Keep connections open, as Dagster's web server does. Left to itself an instance opens one
    for each statement, of which a run has thousands, and Postgres starts a process for each."""
    instance.optimize_for_webserver(
        statement_timeout=0,  # none, as before
        pool_recycle=RECYCLE,
        max_overflow=MOST_AT_ONCE,
    )
