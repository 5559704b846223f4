"""Versions go live and back, started by hand from the launchpad or by a sensor. No training."""

from collections.abc import Iterator

import dagster as dg

from going_live.releases import Moved, ReleaseError, Releases
from orchestration.dagster_internals import PRIORITY_TAG
from orchestration.feed import lists as feed
from orchestration.policies import TRANSIENT
from orchestration.resources import Platform
from storage.operations import releases


class RollbackConfig(dg.Config):
    """Why the live version goes.

    Attributes:
        expected: the version that goes; when another is live, nothing moves. None: the live one.
        automatic: decided by a guardrail: with no earlier champion the heuristic answers.
    """

    reason: str = "by hand"
    expected: str | None = None
    automatic: bool = False


class ActivateConfig(dg.Config):
    """Which version goes live, and why.

    Attributes:
        force: also if it was withdrawn, which takes the withdrawal back.
    """

    version: str
    reason: str = "by hand"
    force: bool = False


LIVE = dg.Out(dg.Nothing, "live", is_required=False)


def _said(context: dg.OpExecutionContext, moved: Moved) -> Iterator[dg.Output[None]]:
    context.log.warning(moved.note)
    context.add_output_metadata({"live_version": moved.version or "none", "note": moved.note})
    if moved.done:  # else the sensor `pending_rollbacks` finishes it, and `ready_lists` follows
        yield dg.Output(None, "live")


# Not retried: what was noted is finished by the sensor `pending_rollbacks`.
@dg.op(out={"live": LIVE})
def roll_back(
    context: dg.OpExecutionContext, config: RollbackConfig, platform: Platform
) -> Iterator[dg.Output[None]]:
    """Make the previous champion the champion again; workers follow within seconds."""
    actor = "guardrails" if config.automatic else "Dagster"
    try:
        moved = Releases.of(platform.settings, platform.url).rollback(
            actor=actor,
            reason=f"{config.reason} (run {context.run_id})",
            expected=config.expected,
            automatic=config.automatic,
        )
    except ReleaseError as error:
        if error.kind != "not_live" or not config.automatic:
            raise dg.Failure(str(error)) from error
        context.log.warning(str(error))
        return
    yield from _said(context, moved)


@dg.op(out={"live": LIVE})
def put_live(
    context: dg.OpExecutionContext, config: ActivateConfig, platform: Platform
) -> Iterator[dg.Output[None]]:
    """Make this version the champion; workers follow within seconds."""
    try:
        moved = Releases.of(platform.settings, platform.url).activate(
            config.version,
            actor="Dagster",
            reason=f"{config.reason} (run {context.run_id})",
            force=config.force,
        )
    except ReleaseError as error:
        raise dg.Failure(str(error)) from error
    yield from _said(context, moved)


@dg.op(ins={"live": dg.In(dg.Nothing)}, retry_policy=TRANSIENT)
def rank_anew(context: dg.OpExecutionContext, platform: Platform) -> None:
    """Make all ready lists anew with the version that is live now."""
    if platform.registry.champion() is None:
        with platform.connect() as conn:
            gone = releases.delete_withdrawn_lists(conn)
        context.log.warning("no champion: deleted %d recommendations of withdrawn versions", gone)
        return
    lists, report = feed.refresh_recommendations(platform)
    if not report.success:
        raise dg.Failure(f"lists were not published: {report.summary}")
    context.log.info("%d recommendations", len(lists))


@dg.job(
    name="rollback",
    description="Put the previous champion back, withdraw the live version for good, and rank the "
    "ready lists anew. No training.",
    tags={"feedwright/kind": "release", PRIORITY_TAG: "10"},  # before whatever waits in the queue
)
def rollback_job() -> None:
    rank_anew(roll_back())


@dg.job(
    name="activate",
    description="Put a version live by its number, and rank the ready lists anew. No training.",
    tags={"feedwright/kind": "release"},
)
def activate_job() -> None:
    rank_anew(put_live())


@dg.job(
    name="rescore",
    description="Rank all ready lists anew with the live version. No training.",
    tags={"feedwright/kind": "release"},
)
def rescore_job() -> None:
    rank_anew()


RELEASE_JOBS = [rollback_job, activate_job, rescore_job]
