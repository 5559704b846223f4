"""How the operations of the API are described in OpenAPI 3.1: parts that every group uses."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

Described = dict[str, Any]
PROBLEMS = {
    400: "The body is not JSON.",
    401: "No key, or one that is not known; see `SECURITY.md`.",
    403: "The key may not do this, or the user token is of somebody else.",
    404: "There is no such user, item or owner.",
    409: "It cannot be done as things are; `detail` says why.",
    412: "What is there is not what `If-Match` or `If-None-Match` asks for.",
    413: "The body is larger than 8 MiB.",
    415: "The body is not said to be JSON.",
    422: "Something given is wrong; `errors` names each field and the fix.",
    429: "Too many calls, or too much waits to be written; `Retry-After` tells when to come again.",
    503: "The database does not answer in time; try again.",
}
ACCESS = (401, 403, 429)
"""What any call may be refused with, by who calls and how often."""
BODY_PROBLEMS = (400, 413, 415, 422)


def ref(shape: type[BaseModel]) -> Described:
    return {"$ref": f"#/components/schemas/{shape.__name__}"}


def operation(
    name: str,
    summary: str,
    tag: str,
    answers: dict[int, Described],
    *,
    description: str = "",
    parameters: list[Described] | None = None,
    body: Described | None = None,
    problems: tuple[int, ...] = (),
) -> Described:
    """One operation; each answer has an ``X-Request-Id``, each problem is a problem document."""
    described: Described = {"operationId": name, "summary": summary, "tags": [tag]}
    if description:
        described["description"] = description
    described["parameters"] = [*(parameters or []), REQUEST_ID]
    if body:
        described["requestBody"] = body
    for answer in answers.values():
        answer["headers"] = {**ANSWERED_ID, **answer.get("headers", {})}
    described["responses"] = {
        str(status): answer
        for status, answer in sorted(
            {**answers, **{s: problem(s) for s in (*problems, *ACCESS)}}.items()
        )
    }
    return described


def problem(status: int) -> Described:
    headers = dict(ANSWERED_ID)
    if status in (429, 503):
        headers["Retry-After"] = {"description": "Seconds.", "schema": {"type": "integer"}}
    return {
        "description": PROBLEMS[status],
        "headers": headers,
        "content": {
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
        },
    }


def answer(
    description: str,
    shape: type[BaseModel] | None = None,
    example: Any = None,
    *,
    versioned: bool = False,
) -> Described:
    """One answer; ``versioned``: it has an ETag."""
    described: Described = {"description": description}
    if shape is not None:
        content: Described = {"schema": ref(shape)}
        if example is not None:
            content["example"] = example
        described["content"] = {"application/json": content}
    if versioned:
        described["headers"] = {
            "ETag": {"description": "Version of the content.", "schema": {"type": "string"}}
        }
    return described


def json_body(
    shape: type[BaseModel], example: Any, media_type: str = "application/json"
) -> Described:
    return {"required": True, "content": {media_type: {"schema": ref(shape), "example": example}}}


def query(shape: type[BaseModel]) -> list[Described]:
    """The fields of ``shape`` as parameters of the query."""
    schema = shape.model_json_schema()
    return [
        {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", []),
            "description": spec.pop("description", ""),
            "schema": without_null(spec),
        }
        for name, spec in schema["properties"].items()
    ]


def without_null(schema: Described) -> Described:
    """A query parameter is there or not; it is never null."""
    kept = {key: value for key, value in schema.items() if key not in ("anyOf", "title")}
    for option in schema.get("anyOf", []):
        if option != {"type": "null"}:
            kept |= option
    if kept.get("default") is None:
        kept.pop("default", None)
    return kept


def path_id(name: str, description: str) -> Described:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    }


def header(name: str, description: str) -> Described:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": {"type": "string"},
    }


REQUEST_ID = header(
    "X-Request-Id",
    "1 to 128 printable ASCII characters; comes back. Anything else is replaced by a new id.",
)
ANSWERED_ID = {
    "X-Request-Id": {
        "description": "The id by which the logs know the request.",
        "schema": {"type": "string"},
    }
}
IF_MATCH = header("If-Match", "Do it only if this ETag is still the content's.")
IF_NONE_MATCH = header("If-None-Match", "An ETag known already: 304 if it is still the content's.")
CREATE_ONLY = header("If-None-Match", "`*`: only if there is nothing yet.")
