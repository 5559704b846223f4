"""``/admin/user-tokens``: a product's server asks for a token, and hands it to a browser."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.access.caller import TOKEN_SCOPES, TokenScope
from serving.access.middleware import AUDIT_DETAIL, Access
from serving.access.tokens import make_token
from serving.http import describe
from serving.http.answers import RETRY_SECONDS, answer_json
from serving.http.fields import Id
from serving.http.inputs import parse, read_object
from serving.http.problems import problem
from serving.postgres.database import DatabaseAway

PATH = "/api/v1/admin/user-tokens"


class UserTokenBody(BaseModel):
    """Whom the token is for, and for how long."""

    model_config = ConfigDict(extra="forbid")

    user_id: Id
    hours: float = Field(default=1.0, gt=0, le=24)
    scopes: list[TokenScope] = Field(default=list(TOKEN_SCOPES), min_length=1, max_length=3)


class UserToken(BaseModel):
    """A signed user token."""

    token: str
    user_id: str
    scopes: list[TokenScope]
    expires_at: datetime
    request_id: str


def routes(access: Access) -> list[Route]:
    async def post(request: Request) -> Response:
        asked = parse(UserTokenBody, await read_object(request))
        try:
            secret = await access.ring.signing()
        except DatabaseAway as error:
            return problem(
                request,
                503,
                f"The database does not answer: {error}. Try again.",
                headers={"Retry-After": str(RETRY_SECONDS)},
            )
        token, expires_at = make_token(secret, asked.user_id, asked.hours, asked.scopes)
        request.scope.get(AUDIT_DETAIL, {})["user_sha256"] = hashlib.sha256(
            asked.user_id.encode()
        ).hexdigest()
        return answer_json(
            request,
            {
                "token": token,
                "user_id": asked.user_id,
                "scopes": asked.scopes,
                "expires_at": expires_at,
            },
            201,
        )

    return [Route(PATH, post, methods=["POST"])]


SHAPES = [(UserToken, "serialization"), (UserTokenBody, "validation")]
PATHS: dict[str, Any] = {
    PATH: {
        "post": describe.operation(
            "makeUserToken",
            "A signed token that binds a browser to one user",
            "admin",
            {
                201: describe.answer(
                    "The token",
                    UserToken,
                    {
                        "token": "eyJhbGciOiJIUzI1NiIsImtpZCI6IjEiLCJ0eXAiOiJKV1QifQ.eyJ….X2s…",
                        "user_id": "196",
                        "scopes": ["track", "read"],
                        "expires_at": "2026-05-17T10:30:00+00:00",
                        "request_id": "5f0c3f6b3c1f4f0e9a57d7a1a5b9a2a1",
                    },
                )
            },
            description="For a product's own server, which knows who is signed in. The browser "
            "sends the token as `Authorization: Bearer …`, or as `X-User-Token` beside a key.",
            body=describe.json_body(
                UserTokenBody, {"user_id": "196", "hours": 1, "scopes": ["track", "read"]}
            ),
            problems=(503, *describe.BODY_PROBLEMS),
        )
    }
}
