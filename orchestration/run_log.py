"""What a training did, read from its log in Dagster, whichever process ran it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg

from orchestration.dagster_internals import StepFailureData
from orchestration.data.checks import REJECTED, holds
from orchestration.runs import going as runs

LOOK_SECONDS = 1.0
MARKED = re.compile(r"Detected run worker status \w+: (['\"])(?P<why>.*)\1\. Marking run")
"""What Dagster says of a run that ``runs/launcher.py`` found dead, with that one's words."""
FROM_OUTSIDE = "marked as failed from outside"
"""What it says of a run whose process its code server found dead."""
OUR_ERRORS = re.compile(r"^(data_checks|going_live|models|orchestration|storage)[\w.]*: ")
"""The class before the words of an error of ours, which speak for themselves."""
TOLD = {dg.DagsterEventType.STEP_SUCCESS}
MATERIALIZED = {dg.DagsterEventType.ASSET_MATERIALIZATION}
CHECKED = {dg.DagsterEventType.ASSET_CHECK_EVALUATION}
FAILED = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}


def as_it_grows(instance: dg.DagsterInstance, run_id: str) -> Iterator[dg.EventLogEntry]:
    """The steps that a run finished and finishes, until it is over."""
    cursor = None
    while True:
        run = instance.get_run_by_id(run_id)
        page = instance.get_records_for_run(run_id, cursor=cursor, of_type=TOLD)
        cursor = page.cursor
        for record in page.records:
            yield record.event_log_entry
        if run is None or run.is_finished:
            return
        if not page.records:
            time.sleep(LOOK_SECONDS)
            runs.end_dead_runs(instance, run.job_name)


def say_outcome(instance: dg.DagsterInstance, run_id: str) -> int:
    """Print what came of a training that is over; its exit status."""
    run = instance.get_run_by_id(run_id)
    for warned in _warnings(instance, run_id):
        print(f"Warning: {warned}"[:1000], flush=True)
    if run is not None and run.is_success:
        print(_became(instance, run_id), flush=True)
        return 0
    if run is not None and run.status is dg.DagsterRunStatus.CANCELED:
        print("Failed: it was cancelled", flush=True)
        return 1
    why = causes(instance, run_id)
    sentences = [str(cause) for cause in why] or ["see the run in Dagster"]
    if any(cause.refused_rows for cause in why):
        sentences.append("see `feedwright rejected`")
    print(f"Failed: {'; '.join(sentences)}"[:1000], flush=True)
    return 1


def _became(instance: dg.DagsterInstance, run_id: str) -> str:
    """What the new version is, in a line."""
    metadata: dict[str, object] = {}
    for entry in instance.all_logs(run_id, of_type=MATERIALIZED):
        made = entry.asset_materialization
        if made is not None and made.asset_key == dg.AssetKey("champion"):
            metadata = {name: of.value for name, of in made.metadata.items()}
    if not metadata:
        return "No new version: the run made other assets alone"
    quality = ", ".join(
        f"{name} {value:.4f}" for name, value in metadata.items() if name.startswith("ndcg")
    )
    became = str(metadata["became"]).removeprefix(f"version {metadata['candidate']} is ")
    line = f"Version {metadata['candidate']}: {became}, {quality}"
    if metadata["live_version"] == metadata["candidate"]:
        return line
    why = "" if metadata["refused"] == "no" else f" ({metadata['refused']})"
    return f"{line}{why}; version {metadata['live_version']} stays live"


@dataclass(frozen=True)
class Cause:
    """One thing that made a run fail.

    Attributes:
        step: whose; None: the run itself, as when its process died.
        check: the data check that failed; None: it was something else.
        message: in a sentence.
        is_ours: whether it says by itself what is missing, and what to do.
    """

    step: str | None
    check: str | None
    message: str
    is_ours: bool = False

    @property
    def refused_rows(self) -> bool:
        """Whether rows were refused, which are kept: of other checks there are none to see."""
        return self.check is not None and self.check.endswith(f"/{REJECTED}")

    def __str__(self) -> str:
        if self.is_ours:
            return self.message
        where = f"check {self.check}" if self.check else self.step
        return f"{where}: {self.message}" if where else self.message


def causes(instance: dg.DagsterInstance, run_id: str) -> list[Cause]:
    """Why a run failed: the checks that did not pass, or else what the failed steps raised."""
    known = []
    for step, check in _evaluated(instance, run_id):
        if not holds(check) and check.blocking:
            name = f"{check.asset_key.to_user_string()}/{check.check_name}"
            known.append(Cause(step, name, check.description or "it did not pass"))
    if known:
        return known
    for entry in instance.all_logs(run_id, of_type=FAILED):
        event = entry.get_dagster_event()
        if event.is_step_failure:
            known.append(_of_step(event.step_key, event.step_failure_data))
        elif event.is_run_failure and not known:
            message = event.message or "see the run in Dagster"
            if FROM_OUTSIDE in message:
                message = "its process died"
            marked = MARKED.search(message)
            known.append(Cause(None, None, marked["why"] if marked else message))
    return known


def _of_step(step: str | None, failure: StepFailureData) -> Cause:
    """``dg.Failure`` is how an asset says in a sentence why it stops."""
    raised = failure.user_failure_data
    if raised is not None and raised.description:
        return Cause(step, None, raised.description, is_ours=True)
    error = failure.error
    while error is not None and error.cause is not None:
        error = error.cause
    lines = error.message.splitlines() if error else []
    message = next((line.strip() for line in lines if line.strip()), "no message")
    return Cause(step, None, OUR_ERRORS.sub("", message))


def passed(instance: dg.DagsterInstance, run_id: str) -> tuple[set[str], set[str]]:
    """The steps and the data checks that a run passed."""
    steps = {str(entry.step_key) for entry in instance.all_logs(run_id, of_type=TOLD)}
    checks = {
        f"{evaluation.asset_key.to_user_string()}/{evaluation.check_name}"
        for _, evaluation in _evaluated(instance, run_id)
        if holds(evaluation)
    }
    return steps, checks


def _warnings(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """What the checks of a run warn of."""
    return [
        check.description or check.check_name
        for _, check in _evaluated(instance, run_id)
        if not check.passed and holds(check)
    ]


def _evaluated(
    instance: dg.DagsterInstance, run_id: str
) -> list[tuple[str | None, dg.AssetCheckEvaluation]]:
    """The data checks of a run, each with its step."""
    return [
        (entry.step_key, entry.get_dagster_event().asset_check_evaluation_data)
        for entry in instance.all_logs(run_id, of_type=CHECKED)
    ]
