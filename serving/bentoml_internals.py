"""What we take of BentoML that it does not call public. Ruff refuses ``bentoml._internal``
elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import bentoml

if TYPE_CHECKING:  # slow to import, and only where traces are wanted
    from opentelemetry.sdk.trace import TracerProvider

SWAGGER_UI = Path(bentoml.__file__).parent / "_internal" / "server" / "static_content"
"""The files of Swagger UI that it ships: ours would be a copy of them."""


def trace_with(provider: TracerProvider) -> None:
    """Have BentoML's middleware make its spans by ``provider``; its settings know exporters only
    by name, and no sampler of ours."""
    from bentoml._internal.configuration.containers import BentoMLContainer

    BentoMLContainer.tracer_provider.set(provider)
