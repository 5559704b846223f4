"""A run keeps its connections to Dagster's tables."""

from __future__ import annotations

import dagster as dg

from orchestration.runs.connections import hold_connections


def test_one_connection_answers_all_questions(installation, conn) -> None:
    def open_ones() -> set[int]:
        rows = conn.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid() AND query LIKE '%FROM runs%'"
        )
        return {pid for (pid,) in rows}

    with dg.DagsterInstance.get() as instance:
        hold_connections(instance)
        before = open_ones()
        instance.get_runs_count()
        held = open_ones() - before
        assert len(held) == 1
        for _ in range(5):
            instance.get_runs_count()
        assert open_ones() - before == held
