"""Answers that list items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from models.catalogue.live import LiveCatalogue
from models.catalogue.viewers.viewer import Indices
from models.feed.reasons import Reason
from serving.http.answers import answer_row

Body = dict[str, Any]
"""A JSON object."""


def listed(
    live: LiveCatalogue, rows: Indices, why: Sequence[Reason], **columns: Sequence[Any]
) -> list[Body]:
    """One object an item of a page, with its rank, its reason, and a value of each column."""
    return [
        {
            "item_id": live.item_id(row),
            "rank": index,
            **dict(zip(columns, values, strict=True)),
            **reason_body(reason),
        }
        for index, (row, reason, *values) in enumerate(
            zip(rows.tolist(), why, *columns.values(), strict=True), 1
        )
    ]


def reason_body(reason: Reason) -> Body:
    return {
        "reason": reason.text,
        "reason_code": reason.code,
        "reason_parameters": reason.parameters,
    }


def answer_versioned(request: Request, body: Body) -> Response:
    """``body`` with an ETag; 304 when the caller has it already."""
    return answer_row(request, orjson.dumps(body).decode())
