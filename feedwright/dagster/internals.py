"""What Dagster's own servers need of Dagster that it does not call public. Ruff refuses
``dagster._…`` elsewhere.

- `WorkspaceProcessContext`, the targets of `load_target`, `configure_loggers`: the web server on a
  Unix socket, which `dagster-webserver` cannot.
- `CodeLocationEntry`, `GrpcServerCodeLocation`, `ManagedGrpcPythonEnvCodeLocationOrigin`,
  `DagsterUserCodeUnreachableError`: the code servers that it starts, and never looks at again.
- `InstigatorState`, `InstigatorType`: when schedules and sensors were last asked, for a clock that
  was set back.
"""

from collections.abc import Sequence

from dagster._core.definitions.run_request import InstigatorType
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin
from dagster._core.remote_representation.code_location import GrpcServerCodeLocation
from dagster._core.scheduler.instigation import InstigatorState
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import (
    ModuleTarget,
    WorkspaceFileTarget,
    WorkspaceLoadTarget,
)
from dagster._core.workspace.workspace import CodeLocationEntry
from dagster._utils.log import configure_loggers

__all__ = [
    "CodeLocationEntry",
    "DagsterUserCodeUnreachableError",
    "GrpcServerCodeLocation",
    "InstigatorState",
    "InstigatorType",
    "ManagedGrpcPythonEnvCodeLocationOrigin",
    "ModuleTarget",
    "WorkspaceFileTarget",
    "WorkspaceLoadTarget",
    "WorkspaceProcessContext",
    "configure_loggers",
    "run_daemon",
]


def run_daemon(arguments: Sequence[str]) -> None:
    """``dagster-daemon`` in this process. Its import takes 0.7 s, for the daemon alone."""
    from dagster._daemon.cli import run_command

    run_command.main(list(arguments), prog_name="dagster-daemon", standalone_mode=False)
