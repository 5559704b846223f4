"""The one exception of the client."""

from __future__ import annotations

from typing import Any

import httpx


class FeedwrightError(Exception):
    """A call failed.

    Attributes:
        status: of the answer; None: there was none (no connection, timeout).
        problem: the problem document (RFC 9457) of the answer, {} when there is none.
        request_id: names the call in the server's log.
    """

    def __init__(
        self, message: str, status: int | None = None, problem: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.problem = problem or {}

    @property
    def errors(self) -> list[dict[str, str]]:
        """What is wrong with the request: ``field`` and ``message`` of each error."""
        return self.problem.get("errors") or []

    @property
    def request_id(self) -> str | None:
        return self.problem.get("request_id")

    @property
    def is_temporary(self) -> bool:
        """Whether the same call may succeed later."""
        return self.status is None or self.status in (408, 429) or self.status >= 500

    @classmethod
    def of_answer(cls, answer: httpx.Response) -> FeedwrightError:
        try:
            problem = answer.json()
        except ValueError:
            problem = {}
        if not isinstance(problem, dict):
            problem = {}
        said = problem.get("detail") or answer.reason_phrase or "no reason given"
        return cls(f"{answer.status_code}: {said}", answer.status_code, problem)

    @classmethod
    def of_connection(cls, url: str, error: Exception) -> FeedwrightError:
        return cls(f"{url} does not answer: {str(error) or type(error).__name__}")
