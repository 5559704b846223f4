"""What a request brings: its path, its query and its body, checked."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request

from serving.http.fields import IdOnly
from serving.http.json_bodies import (
    MOST_NESTED,
    decode,
    find_unfit,
    is_overfull,
    may_hold_no_number,
)
from serving.http.problems import InvalidParameters

MAX_BODY_BYTES = 8 * 2**20
MAX_ERRORS = 50
"""Errors of one request that are reported."""
SHOWN_FIELD = 100
"""Characters of a field's name that an error repeats."""

Error = dict[str, str]
Shape = TypeVar("Shape", bound=BaseModel)


def id_in(request: Request, name: str = "id") -> str:
    """The id in the path.

    Raises:
        InvalidParameters: it cannot be an id.
    """
    return parse(IdOnly, {"id": request.path_params[name]}).id


def parse_query(shape: type[Shape], query: QueryParams) -> Shape:
    """The typed query; names that ``shape`` does not know are ignored.

    Raises:
        InvalidParameters: a value is wrong, or given twice.
    """
    repeated = [name for name in shape.model_fields if len(query.getlist(name)) > 1]
    if repeated:
        raise InvalidParameters(
            [{"field": name, "message": "given more than once: give it once"} for name in repeated]
        )
    return parse(shape, {name: query[name] for name in shape.model_fields if name in query})


def parse(shape: type[Shape], values: Any) -> Shape:
    """``values`` as ``shape``.

    Raises:
        InvalidParameters: they do not fit; each field is named.
    """
    try:
        return shape.model_validate(values)
    except ValidationError as error:
        raise InvalidParameters(errors_of(error)) from error


def errors_of(error: ValidationError) -> list[Error]:
    """What pydantic found, as fields (``tags.3``; ``body`` for all of it) and messages."""
    return [
        {
            "field": ".".join(str(part)[:SHOWN_FIELD] for part in problem["loc"]) or "body",
            "message": "no such field"
            if problem["type"] == "extra_forbidden"
            else problem["msg"].removeprefix("Value error, "),
        }
        for problem in error.errors(include_url=False, include_input=False)[:MAX_ERRORS]
    ]


def conflicts(values: Mapping[str, Any], touched: Collection[str]) -> list[Error]:
    """Fields that do not go together, where one of them is ``touched``."""
    errors = []
    for field, other in (("lat", "lon"), ("lon", "lat")):
        if (
            {field, other} & set(touched)
            and values.get(field) is None
            and values.get(other) is not None
        ):
            errors.append(_error(field, f"goes with {other}: give both, or neither"))
    for low, high in (
        ("price_min", "price_max"),
        ("preferred_price_min", "preferred_price_max"),
    ):
        least, most = values.get(low), values.get(high)
        if (
            {low, high} & set(touched)
            and isinstance(least, int | float)
            and isinstance(most, int | float)
            and least > most
        ):
            errors += [_error(low, f"is above {high}"), _error(high, f"is below {low}")]
    wanted, blocked = "preferred_tags", "blocked_tags"
    both = sorted({*(values.get(wanted) or ())} & {*(values.get(blocked) or ())})
    if both and {wanted, blocked} & set(touched):
        shown = ", ".join(both[:3])
        errors += [
            _error(wanted, f"has what {blocked} has: {shown}"),
            _error(blocked, f"has what {wanted} has: {shown}"),
        ]
    return errors


def refuse(errors: list[Error]) -> None:
    """Raise ``InvalidParameters`` if there are errors."""
    if errors:
        raise InvalidParameters(errors)


def _error(field: str, message: str) -> Error:
    return {"field": field, "message": message}


def merged(old: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """JSON merge patch (RFC 7396): null takes a member away, objects merge."""
    result = dict(old)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            below = result.get(name)
            result[name] = merged(below if isinstance(below, dict) else {}, value)
        else:
            result[name] = value
    return result


def refuse_unless_json(request: Request, also: Collection[str] = ()) -> None:
    """
    Args:
        also: media types that are read as JSON too; "" is a body without a type.

    Raises:
        HTTPException: 415, the body is said to be something else, or is compressed.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json") and kind not in also:
        raise HTTPException(415, f"Send JSON with Content-Type: application/json, not {kind!r}.")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "Send the body as it is, without Content-Encoding.")


async def read_object(request: Request, *, all_fit: bool = True) -> dict[str, Any]:
    """The body, a JSON object.

    Args:
        all_fit: refuse what ``unfit`` finds, and what nests too deeply; else whoever reads it must.

    Raises:
        HTTPException: 415 not said to be JSON, 413 larger than ``MAX_BODY_BYTES``; see ``decoded``.
        InvalidParameters: JSON, but no object, or with something unfit, whose field is named.
    """
    refuse_unless_json(request)
    body = decoded(await _read(request))
    if not isinstance(body, dict):
        raise InvalidParameters([{"field": "body", "message": "must be a JSON object"}])
    if all_fit:
        _refuse_unfit(body)
    return body


def decoded(body: bytes | bytearray) -> Any:
    """What the JSON of a request says.

    Raises:
        HTTPException: 413 more objects and lists than any call needs, 400 no JSON.
    """
    if is_overfull(body):
        raise HTTPException(
            413, f"The body has more than {MOST_NESTED:,} objects and lists: send less at once."
        )
    try:
        return decode(body)
    except orjson.JSONDecodeError as error:
        raise HTTPException(400, f"The body is not JSON: {error}.") from error


def _refuse_unfit(body: dict[str, Any]) -> None:
    try:
        text = orjson.dumps(body)  # goes less deep than reading
    except orjson.JSONEncodeError as error:
        refuse(unfit(body))
        raise HTTPException(400, f"The body cannot be taken: {error}.") from error
    if may_hold_no_number(text):
        refuse(unfit(body))


def unfit(value: Any) -> list[Error]:
    """An error for the first thing in ``value`` that no JSON may hold, if there is one."""
    problem = find_unfit(value)
    return [_error(problem[0][:SHOWN_FIELD] or "body", problem[1])] if problem else []


async def _read(request: Request) -> bytes:
    size = request.headers.get("content-length", "0")
    body = bytearray()
    if size.isdecimal() and int(size) <= MAX_BODY_BYTES:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                break
        else:
            return bytes(body)
    raise HTTPException(413, f"The body is larger than {MAX_BODY_BYTES // 2**20} MiB: send less.")
