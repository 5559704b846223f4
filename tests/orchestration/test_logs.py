"""What our own modules log in a run carries the run's id."""

from __future__ import annotations

import logging
from pathlib import Path

import dagster as dg

from feedwright.dagster.home import configuration
from storage.settings import Settings


def test_a_line_of_our_own_is_kept_with_its_run(tmp_path: Path) -> None:
    @dg.op
    def says() -> None:
        logging.getLogger("storage.privacy.retention").info("a month was dropped")

    @dg.job
    def saying() -> None:
        says()

    settings = Settings(_env_file=None, home=tmp_path / "home")
    logs = {"python_logs": configuration(settings)["python_logs"]}
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides=logs) as instance:
        run = saying.execute_in_process(instance=instance)
        (line,) = (
            one
            for one in instance.all_logs(run.run_id)
            if one.user_message == "a month was dropped"
        )
    assert line.run_id == run.run_id
    assert line.step_key == "says"
