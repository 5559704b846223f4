"""What is printed of a training, from its log in Dagster."""

from __future__ import annotations

import dagster as dg
import pytest
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus

from feedwright.local import training
from models.profile.training_sections import Checks
from models.versions.version import RegistryError
from orchestration import run_log as run_log
from orchestration.data import checks

EMPTY = dg.GraphDefinition(name="daily")


@pytest.mark.parametrize(
    ("rejected", "suite", "said"),
    [
        ({"user_id is empty": 900}, True, ["900 of 1,000 rows rejected", "`feedwright rejected`"]),
        ({}, False, ["check users/suite: 3 of 9 failed"]),
    ],
    ids=["rows were refused", "nothing was refused"],
)
def test_refused_rows_are_pointed_to_where_there_are_some(
    capsys: pytest.CaptureFixture[str], rejected: dict[str, int], suite: bool, said: list[str]
) -> None:
    @dg.asset(check_specs=checks.source_specs("users", "users"))
    def users() -> dg.MaterializeResult:
        sentence = "" if suite else "3 of 9 failed"
        return dg.MaterializeResult(
            check_results=[
                checks.rejected_result("users", rejected, 100, Checks()),
                dg.AssetCheckResult(check_name=checks.SUITE, passed=suite, description=sentence),
            ]
        )

    with dg.DagsterInstance.ephemeral() as instance:
        run = dg.materialize([users], instance=instance, raise_on_error=False)
        assert run_log.say_outcome(instance, run.run_id) == 1
    line = capsys.readouterr().out
    assert all(part in line for part in said)
    assert ("feedwright rejected" in line) == bool(rejected)


def test_what_a_check_warns_of_is_said_and_fails_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    @dg.asset(check_specs=[checks.strays_spec("interactions")])
    def interactions() -> dg.MaterializeResult:
        warned = dg.AssetCheckResult(
            check_name=checks.STRAYS,
            passed=False,
            severity=dg.AssetCheckSeverity.WARN,
            description="8,256 of 107,825 interactions are of unknown users",
        )
        return dg.MaterializeResult(check_results=[warned])

    with dg.DagsterInstance.ephemeral() as instance:
        run = dg.materialize([interactions], instance=instance)
        assert run_log.say_outcome(instance, run.run_id) == 0
        assert run_log.causes(instance, run.run_id) == []
        assert run_log.passed(instance, run.run_id)[1] == {"interactions/unknown_share"}
    (line,) = [one for one in capsys.readouterr().out.splitlines() if "8,256 of 107,825" in one]
    assert training.TOLD.match(line)  # `feedwright train` shows it


def test_what_failed_is_told_in_our_words() -> None:
    @dg.asset
    def likes() -> None:
        raise dg.Failure("There is nothing to learn from yet.", allow_retries=False)

    @dg.asset
    def champion() -> None:
        raise RegistryError("the files of version 2 are gone")

    @dg.asset
    def other() -> None:
        raise KeyError("price")

    with dg.DagsterInstance.ephemeral() as instance:
        run = dg.materialize([likes, champion, other], instance=instance, raise_on_error=False)
        told = {cause.step: str(cause) for cause in run_log.causes(instance, run.run_id)}
    assert told == {
        "likes": "There is nothing to learn from yet.",
        "champion": "champion: the files of version 2 are gone",
        "other": "other: KeyError: 'price'",
    }


def test_a_run_whose_process_died_is_told_in_our_words() -> None:
    said = CheckRunHealthResult(WorkerStatus.FAILED, "no sign of life for 60 s: its process died")
    with dg.DagsterInstance.ephemeral() as instance:
        run = instance.create_run_for_job(dg.JobDefinition(name="daily", graph_def=EMPTY))
        # as Dagster's run monitoring does
        message = f"Detected run worker status {said}. Marking run {run.run_id} as failed."
        instance.report_run_failed(run, message)
        (cause,) = run_log.causes(instance, run.run_id)
    assert str(cause) == "no sign of life for 60 s: its process died"


def test_a_run_that_its_code_server_found_dead_is_told_so() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run = instance.create_run_for_job(dg.JobDefinition(name="daily", graph_def=EMPTY))
        instance.report_run_failed(run)
        (cause,) = run_log.causes(instance, run.run_id)
    assert cause.message == "its process died"
