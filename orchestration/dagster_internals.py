"""What we take of Dagster that it does not call public. Ruff refuses ``dagster._…`` elsewhere.

- `InMemoryJob`, `core_execute_in_process`: `execute_in_process` would not take our executor.
- `InProcessExecutor`, `PlanOrchestrationContext`, `ExecutionPlan`, `RetryMode`: an executor,
  which gives signs of life while its steps run.
- `check_captured_interrupt`: whether the run was asked to end, which steps look at.
- `CheckRunHealthResult`, `WorkerStatus`: what Dagster's monitoring asks a launcher.
- `StepFailureData`: why a step failed; public events carry it without its type.
- the names of tags: documented, but not exported.

What its servers need is in ``feedwright/dagster/internals.py``.
"""

from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.execute_in_process import core_execute_in_process
from dagster._core.execution.plan.objects import StepFailureData
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.in_process import InProcessExecutor
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._core.storage.tags import MAX_RETRIES_TAG, MAX_RUNTIME_SECONDS_TAG, PRIORITY_TAG
from dagster._utils.interrupts import check_captured_interrupt

__all__ = [
    "MAX_RETRIES_TAG",
    "MAX_RUNTIME_SECONDS_TAG",
    "PRIORITY_TAG",
    "CheckRunHealthResult",
    "ExecutionPlan",
    "InMemoryJob",
    "InProcessExecutor",
    "PlanOrchestrationContext",
    "RetryMode",
    "StepFailureData",
    "WorkerStatus",
    "check_captured_interrupt",
    "core_execute_in_process",
]
