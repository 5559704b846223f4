"""``/admin/audit``, ``/admin/alerts``, ``/admin/guardrails``: what happened, newest first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from going_live.guardrails import evaluate
from serving.admin.parts import with_connection
from serving.http.answers import answer_json
from serving.http.endpoints import Answer, Endpoints, Handler
from serving.http.inputs import parse_query
from serving.postgres.database import Database
from serving.versions.live_state import LiveState
from storage.operations import records
from storage.operations.records import Page
from storage.settings import Settings


class PageAsked(BaseModel):
    """Which rows."""

    limit: Annotated[int, Field(ge=1, le=200)] = Field(default=50, description="Rows at most.")
    before: Annotated[int | None, Field(ge=1, lt=2**63)] = Field(
        default=None, description="Only rows before this id: `next_before` of the last page."
    )


class AuditLine(BaseModel):
    id: int
    occurred_at: datetime
    actor: str
    action: str
    detail: dict[str, Any]


class Alert(BaseModel):
    id: int
    raised_at: datetime
    kind: str
    severity: Literal["info", "warning", "critical"]
    title: str
    detail: dict[str, Any]
    attempts: int
    delivered_at: datetime | None
    given_up_at: datetime | None
    last_error: str | None


class GuardrailReport(BaseModel):
    id: int
    computed_at: datetime
    window_start: datetime
    window_end: datetime
    variant: str
    model_version: str | None
    experiment: str | None
    arm: str | None
    impressions: int
    clicks: int
    applies: int
    ctr: float | None
    conversion: float | None
    status: Literal["ok", "breach", "not_enough_data"]
    detail: dict[str, Any]


_BEFORE: Any = Field(description="`before` of the next page; null on the last one.")


class AuditPage(BaseModel):
    """Lines of the audit log, the newest first."""

    lines: list[AuditLine]
    next_before: int | None = _BEFORE
    request_id: str


class AlertPage(BaseModel):
    """Alerts, the newest first."""

    alerts: list[Alert]
    next_before: int | None = _BEFORE
    request_id: str


class GuardrailPage(BaseModel):
    """Verdicts, the newest first."""

    reports: list[GuardrailReport]
    next_before: int | None = _BEFORE
    request_id: str


class Evaluated(BaseModel):
    """Verdicts of now, which are kept too."""

    reports: list[dict[str, Any]]
    request_id: str


Read = Callable[[Any, int, int | None], Awaitable[Page]]
endpoints = Endpoints(tag="admin", scope="admin", problems=(503,))


def _page(call: str, shape: type[BaseModel]) -> Callable[[Handler], Handler]:
    return endpoints.declare(
        f"GET /api/v1/admin/{call}",
        Answer("The newest first", shape),
        audited=False,
        compressed=True,
        query=PageAsked,
    )


class RecordCalls:
    def __init__(
        self, settings: Settings, database: Database, state: Callable[[], LiveState]
    ) -> None:
        self._settings = settings
        self._database = database
        self._state = state

    @_page("audit", AuditPage)
    async def find_audit(self, request: Request) -> Response:
        """Who did what."""
        return await self._page(request, "lines", records.audit_lines)

    @_page("alerts", AlertPage)
    async def find_alerts(self, request: Request) -> Response:
        """Alerts that were raised."""
        return await self._page(request, "alerts", records.alerts)

    @_page("guardrails", GuardrailPage)
    async def find_guardrails(self, request: Request) -> Response:
        """Verdicts of guardrails."""
        return await self._page(request, "reports", records.guardrail_reports)

    @endpoints.declare(
        "POST /api/v1/admin/guardrails/evaluate",
        Answer("The verdicts", Evaluated),
        compressed=True,
    )
    async def evaluate_guardrails(self, request: Request) -> Response:
        """Look at the guardrails now.

        What follows from a breach is done by the pipeline, within a minute.
        """
        state, now = self._state(), datetime.now(UTC)
        work = partial(evaluate, profile=state.profile, live=state.model_version, now=now)
        reports = await with_connection(self._settings, work)
        return answer_json(request, {"reports": [asdict(report) for report in reports]})

    async def _page(self, request: Request, name: str, read: Read) -> Response:
        asked = parse_query(PageAsked, request.query_params)
        page = await self._database.run(lambda c: read(c, asked.limit, asked.before))
        return answer_json(request, {name: page.rows, "next_before": page.before})
