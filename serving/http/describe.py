"""How a declared call is described in OpenAPI 3.1."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode

from serving.http.endpoints import Answer, Body, Endpoint

Described = dict[str, Any]
PROBLEMS = {
    400: "The body is not JSON.",
    401: "No key, or one that is not known; see `SECURITY.md`.",
    403: "The key may not do this, or the user token is of somebody else.",
    404: "There is no such user, item or owner.",
    409: "It cannot be done as things are; `detail` says why.",
    412: "What is there is not what `If-Match` or `If-None-Match` asks for.",
    413: "The body is larger than 8 MiB, or has more than 100,000 objects and lists.",
    415: "The body is not said to be JSON.",
    422: "Something given is wrong; `errors` names each field and the fix.",
    429: "Too many calls, or too much waits to be written; `Retry-After` tells when to come again.",
    503: "The database does not answer in time; try again.",
}
REQUEST_ID_EXAMPLE = "5f0c3f6b3c1f4f0e9a57d7a1a5b9a2a1"


def operation(endpoint: Endpoint) -> Described:
    """One operation. But for those of operators, each answer has an ``X-Request-Id``."""
    described: Described = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "tags": [endpoint.tag],
    }
    if endpoint.description:
        described["description"] = endpoint.description
    versioned = _is_versioned_read(endpoint)
    parameters = [
        *endpoint.parameters,
        *(query(endpoint.query) if endpoint.query else ()),
        *([IF_NONE_MATCH] if versioned else ()),
        *([REQUEST_ID] if _has_request_id(endpoint) else ()),
    ]
    if parameters:
        described["parameters"] = parameters
    if endpoint.body:
        described["requestBody"] = _body(endpoint.body)
    answers = [*endpoint.answers, *([NOT_CHANGED] if versioned else ())]
    headers = ANSWERED_ID if _has_request_id(endpoint) else {}
    responses = {answer.status: _answer(answer, headers) for answer in answers}
    responses |= {status: _problem(status, text) for status, text in problems_of(endpoint).items()}
    described["responses"] = {str(status): responses[status] for status in sorted(responses)}
    return described


def problems_of(endpoint: Endpoint) -> dict[int, str]:
    """What a call may be refused with: what it declares, what its access, its body, its path, its
    query and ``If-Match`` bring along."""
    problems = dict(endpoint.problems)
    if endpoint.body:
        problems = dict.fromkeys((400, 413, 415, 422)) | problems
    if endpoint.query or any(parameter["in"] == "path" for parameter in endpoint.parameters):
        problems = dict.fromkeys((422,)) | problems
    if IF_MATCH in endpoint.parameters:
        problems = dict.fromkeys((412,)) | problems
    if _has_request_id(endpoint):
        problems = dict.fromkeys((401, 403, 429)) | problems
    return {status: text or PROBLEMS[status] for status, text in problems.items()}


def shapes_of(endpoint: Endpoint) -> Iterator[tuple[type[BaseModel], JsonSchemaMode]]:
    """What the operation refers to."""
    if endpoint.body:
        yield endpoint.body.shape, "validation"
    for answer in endpoint.answers:
        if answer.shape:
            yield answer.shape, "serialization"


def _is_versioned_read(endpoint: Endpoint) -> bool:
    return endpoint.method == "GET" and any(answer.versioned for answer in endpoint.answers)


def _has_request_id(endpoint: Endpoint) -> bool:
    return endpoint.scope not in ("public", "metrics")


def _body(body: Body) -> Described:
    content = {"schema": _ref(body.shape), "example": body.example}
    media_types = ("application/json", *body.also)
    return {"required": body.required, "content": dict.fromkeys(media_types, content)}


def _answer(answer: Answer, headers: Described) -> Described:
    described: Described = {"description": answer.description}
    content: Described = {}
    if answer.shape is not None:
        content["schema"] = _ref(answer.shape)
    if answer.example is not None:
        content["example"] = _with_request_id(answer)
    if content or answer.media_type:
        described["content"] = {answer.media_type or "application/json": content}
    if answer.versioned:
        tag = {"description": "Version of the content.", "schema": {"type": "string"}}
        headers = {**headers, "ETag": tag}
    if headers:
        described["headers"] = headers
    return described


def _with_request_id(answer: Answer) -> Any:
    if answer.shape is None or "request_id" not in answer.shape.model_fields:
        return answer.example
    return {**answer.example, "request_id": REQUEST_ID_EXAMPLE}


def _problem(status: int, description: str) -> Described:
    headers = dict(ANSWERED_ID)
    if status in (429, 503):
        headers["Retry-After"] = {"description": "Seconds.", "schema": {"type": "integer"}}
    return {
        "description": description,
        "headers": headers,
        "content": {
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
        },
    }


def _ref(shape: type[BaseModel]) -> Described:
    return {"$ref": f"#/components/schemas/{shape.__name__}"}


def query(shape: type[BaseModel]) -> list[Described]:
    """The fields of ``shape`` as parameters of the query."""
    schema = shape.model_json_schema()
    return [
        {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", []),
            "description": spec.pop("description", ""),
            "schema": _without_null(spec),
        }
        for name, spec in schema["properties"].items()
    ]


def _without_null(schema: Described) -> Described:
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


def path_number(name: str, description: str) -> Described:
    return {**path_id(name, description), "schema": {"type": "integer", "minimum": 0}}


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
NOT_CHANGED = Answer("Not changed since", status=304, versioned=True)
