"""What is printed of a training, from its log in Dagster."""

from __future__ import annotations

import dagster as dg
import pytest

from models.profile.schema import Checks
from orchestration import checks, run_log


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
