"""What we take of BentoML that it does not call public. Ruff refuses ``bentoml._internal``
elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import bentoml

if TYPE_CHECKING:  # slow to import, and only where traces are wanted
    from opentelemetry.sdk.trace import TracerProvider

SWAGGER_UI = Path(bentoml.__file__).parent / "_internal" / "server" / "static_content"
"""The files of Swagger UI that it ships: ours would be a copy of them."""


class WithoutFolder:
    """A service whose workers leave nothing behind when they are killed. BentoML gives each a
    client of itself, with a temporary folder for answers that are files. There are none."""

    _proxy: Any = None

    @property
    def __self_proxy__(self) -> Any:
        return self._proxy

    @__self_proxy__.setter
    def __self_proxy__(self, proxy: Any) -> None:
        proxy.to_async._temp_dir.cleanup()
        self._proxy = proxy


def trace_with(provider: TracerProvider) -> None:
    """Have BentoML's middleware make its spans by ``provider``; its settings know exporters only
    by name, and no sampler of ours."""
    from bentoml._internal.configuration.containers import BentoMLContainer

    BentoMLContainer.tracer_provider.set(provider)
