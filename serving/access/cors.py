"""Which web pages of other origins may call (CORS): those that the settings name."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

DAY_SECONDS = 86_400


def cors(origins: Sequence[str]) -> list[Middleware]:
    """The middleware, or none where no origin is allowed. No cookies: there are none of ours."""
    if not origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "HEAD", "POST", "PATCH"],
            # Any: tracing adds its own, and an origin of the list may send ours anyway.
            allow_headers=["*"],
            expose_headers=["ETag", "RateLimit", "RateLimit-Policy", "Retry-After",
                            "X-Request-Id"],
            max_age=DAY_SECONDS,
        )
    ]  # fmt: skip
