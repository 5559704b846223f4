"""Calls of the feed from the command line, and what people are told where one fails."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import httpx

from feedwright.errors import FeedwrightError
from feedwright.local.status import feed_client
from storage.settings import Settings

SHOWN = 300
"""Characters of an answer that is an error."""


def call(
    settings: Settings, method: str, path: str, *, scope: str, seconds: float = 10.0, **sent: Any
) -> dict[str, Any]:
    """The server's answer.

    Args:
        scope: what a key needs for it.
        sent: as httpx takes it: ``params``, ``json``.

    Raises:
        FeedwrightError: the server is down, or refuses.
    """
    address = settings.feed_address
    try:
        with feed_client(settings, seconds) as client:
            answer = client.request(method, path, **sent)
    except httpx.HTTPError as error:
        raise FeedwrightError(
            f"The feed at {address} does not answer ({type(error).__name__}).",
            "Start it with: feedwright up",
        ) from error
    if answer.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise FeedwrightError(
            f"The feed at {address} wants a key of scope {scope}.",
            f"Make one, feedwright keys make --scope {scope} --name shell, and set it as "
            "FEEDWRIGHT_API_KEY.",
        )
    if not answer.is_success:
        raise FeedwrightError(
            f"The feed answered {answer.status_code}: {_detail(answer)[:SHOWN]}",
            "See: feedwright logs feed",
        )
    return answer.json()


def _detail(answer: httpx.Response) -> str:
    """What a problem document says, else the text of the answer."""
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return " ".join(answer.text.split())
