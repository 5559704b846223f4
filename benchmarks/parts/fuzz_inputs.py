"""Inputs that a service must bear, as described and hostile, each as the bytes that are sent."""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as hypothesis_settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.result import Ok

Headers = list[tuple[bytes, bytes]]

KINDS = ("described", "breaking", "mangled")
LEFT_OUT = ("content-length", "connection", "transfer-encoding", "x-schemathesis-testcaseid")
"""Headers of a drawn request: those that we write, and one that is another each time."""

TEXTS = [
    "\0",
    "\ud83d",
    "a" * 10_000,
    "é\u202e\u0301" * 50,
    "🦊",
    "'; DROP TABLE feed.users; --",
    "",
    " ",
    "\r\nX-Injected: 1",
    "../../etc/passwd",
    "%00",
    "null",
    "-0",
    "u0007",
    "\U0010ffff",
    "{}",
]
NUMBERS = [
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "1e308",
    "-0",
    "9" * 400,
    "0x10",
    "1_000",
    "-1",
    "9223372036854775808",
    "0.1e-400",
]
PATHS = [
    b"//",
    b"/../",
    b"/%2e%2e/",
    b"%2F",
    b"%00",
    b"%ED%A0%80",
    b"%zz",
    b"%",
    b";a=b",
    b"/.",
    b"%0a",
    b"%FF%FE",
    b"\\",
    b"/export",
    b"a" * 9_000,
    b"%F0%9F%A6%8A" * 200,
    b"%252F",
    b"#x",
    b":bulk",
]
QUERIES = [
    b"user_id=u0007&user_id=u0008",
    b"limit=-1&offset=99999999999999999999",
    b"&&&=&=",
    b"%zz=%",
    b"lat=NaN&lon=Infinity",
    b"x=" + b"a" * 20_000,
    b"weights=model:1e999",
    b"user_id=%00",
    b"&".join(b"p%d=1" % n for n in range(1_000)),
    b"feed_id=" + b"f" * 32,
    b"user_id=%ED%A0%80",
    b"limit=1e3",
    b"offset=1000&limit=100&user_id=u0007",
    b"key=x&token=a.b.c",
]
TYPES = [
    b"",
    b"text/plain",
    b"application/xml",
    b"multipart/form-data",
    b"application/json; charset=utf-16",
    b"application/x-www-form-urlencoded",
    b"application/vnd.api+json",
    b"/",
    b"a" * 5_000,
    b"application/merge-patch+json",
    b"application/json, text/html",
    b"\xff",
]
METHODS = [
    "GET",
    "HEAD",
    "OPTIONS",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "TRACE",
    "CONNECT",
    "FOO",
    "get",
]
JUNK: Headers = [
    (b"If-Match", b'"\xff",*, W/"x"'),
    (b"If-None-Match", b"*" * 5_000),
    (b"Range", b"bytes=9-1,-"),
    (b"Host", b"evil.example"),
    (b"Authorization", b"Bearer a.b.c"),
    (b"Authorization", b"Basic \xff"),
    (b"X-Api-Key", b"fw_admin_00000000_" + b"x" * 43),
    (b"X-User-Token", b"eyJhbGciOiJub25lIn0.e30."),
    (b"X-Request-Id", b"\x01" * 200),
    (b"Content-Encoding", b"gzip"),
    (b"Expect", b"100-continue"),
    (b"Upgrade", b"websocket"),
    (b"Upgrade", b"h2c"),
    (b"X-HTTP-Method-Override", b"DELETE"),
    (b"Accept-Encoding", b"gzip;q=x, *;q=-1"),
    (b"Origin", b"null"),
    (b"X-Forwarded-For", b"::::"),
    (b"User-Agent", b"\xf0\x9f" * 300),
    (b"traceparent", b"00-" + b"0" * 32 + b"-x-"),
    (b"A" * 300, b""),
    (b"Cookie", b"a=b;" * 1_000),
    (b"Content-Length", b"-1"),
    (b"Transfer-Encoding", b"gzip, chunked"),
]


@dataclass(frozen=True)
class Input:
    """One request. ``route``: the described call that it was made of; ``kind``: what was done to
    it. ``length``: of the body as it is announced; None: it is sent in chunks. ``whole``: all of
    it is sent; else a server may wait for more."""

    route: str
    method: str
    target: bytes
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    length: int | None = 0
    kind: str = "as described"
    whole: bool = True

    def encoded(self) -> bytes:
        lines = [b"%s %s HTTP/1.1" % (self.method.encode(), self.target)]
        lines += [b"%s: %s" % header for header in self.headers]
        if self.length is None:
            lines.append(b"Transfer-Encoding: chunked")
        elif self.body or self.length:
            lines.append(b"Content-Length: %d" % self.length)
        return b"\r\n".join([*lines, b"Connection: close", b"", b""]) + self.body


def inputs(schema: schemathesis.BaseSchema, count: int, number: int) -> list[Input]:
    """``count`` inputs over all calls of an OpenAPI schema, in a random order: a third as
    described, a third in breach of it, a third hostile in other ways.

    Args:
        number: seeds them. What schemathesis draws may differ all the same.
    """
    rng = random.Random(number)
    calls = [call.ok() for call in schema.get_all_operations() if isinstance(call, Ok)]
    made: list[Input] = []
    for call, kinds in zip(calls, _shares(len(calls), count, rng), strict=True):
        if not kinds:
            continue
        described = list(_drawn(call, kinds["described"], GenerationMode.POSITIVE, number))
        breaking = list(_drawn(call, kinds["breaking"], GenerationMode.NEGATIVE, number))
        whole = [*described, *breaking] or list(_drawn(call, 1, GenerationMode.POSITIVE, number))
        more = kinds.total() - len(described) - len(breaking)
        made += [*described, *breaking, *(_mangled(rng.choice(whole), rng) for _ in range(more))]
    rng.shuffle(made)
    return made


def _shares(calls: int, count: int, rng: random.Random) -> list[Counter[str]]:
    """Of each call how many inputs of each kind: as many of one call as of another, and of one
    kind as of another."""
    first = [rng.randrange(len(KINDS)) for _ in range(calls)]
    order = rng.sample(range(calls), calls)
    shares = [Counter[str]() for _ in range(calls)]
    for place in range(count):
        turn, at = divmod(place, calls)
        call = order[at]
        shares[call][KINDS[(first[call] + turn) % len(KINDS)]] += 1
    return shares


def _drawn(call: Any, count: int, mode: GenerationMode, number: int) -> Iterator[Input]:
    if not count:
        return
    route = f"{call.method.upper()} {call.path}"
    drawn: list[Input] = []

    @seed(number)
    @hypothesis_settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=call.as_strategy(generation_mode=mode))
    def collect(case: schemathesis.Case) -> None:
        asked = requests.Request(**_requested(case)).prepare()
        body = asked.body or b""
        body = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
        assert isinstance(body, bytes)
        place = urlsplit(asked.url or "")
        target = place.path + (f"?{place.query}" if place.query else "")
        headers = [(b"Host", b"127.0.0.1")]
        for name, value in asked.headers.items():
            if name.lower() not in LEFT_OUT:
                headers.append((_bytes(name), _bytes(value)))
        kind = "as described" if mode is GenerationMode.POSITIVE else "in breach"
        drawn.append(Input(route, case.method, target.encode(), headers, body, len(body), kind))

    # Of some calls nothing can be in breach.
    with suppress(Unsatisfiable, schemathesis.errors.SchemathesisError):
        collect()
    yield from drawn[:count]


def _requested(case: schemathesis.Case) -> dict[str, Any]:
    kwargs = case.as_transport_kwargs(base_url="http://127.0.0.1")
    names = ("method", "url", "headers", "files", "data", "params", "auth", "cookies", "json")
    return {name: value for name, value in kwargs.items() if name in names}


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1", "replace")


def _mangled(base: Input, rng: random.Random) -> Input:
    change = rng.choice(CHANGES)
    changed = change(base, rng)
    if rng.random() < 0.3:
        changed = rng.choice(CHANGES)(changed, rng)
    return replace(changed, kind=change.__name__.strip("_"))


def _odd_path(base: Input, rng: random.Random) -> Input:
    path, mark, query = base.target.partition(b"?")
    at = rng.randrange(len(path) + 1)
    target = path[:at] + rng.choice(PATHS) + path[at:] + mark + query
    return replace(base, target=target if target.startswith(b"/") else b"/" + target)


def _odd_query(base: Input, rng: random.Random) -> Input:
    return replace(base, target=base.target.partition(b"?")[0] + b"?" + rng.choice(QUERIES))


def _odd_text(base: Input, rng: random.Random) -> Input:
    """A text of the body, or all of it, is another; as JSON escapes it."""
    return _with_json(base, _put(_json(base), json.dumps(rng.choice(TEXTS)), rng))


def _odd_number(base: Input, rng: random.Random) -> Input:
    return _with_json(base, _put(_json(base), rng.choice(NUMBERS), rng))


def _other_type(base: Input, rng: random.Random) -> Input:
    wrong = rng.choice(
        ["null", "[]", "{}", "true", "[[]]", '{"a":{"b":null}}', '""', "1", "[null]"]
    )
    return _with_json(base, _put(_json(base), wrong, rng))


def _deep(base: Input, rng: random.Random) -> Input:
    depth = rng.choice([100, 1_000, 100_000])
    left, right = rng.choice([("[", "]"), ('{"a":', "}")])
    deep = left * depth + ("1" if left != "[" else "") + right * depth
    return _with_json(base, rng.choice([deep, left * depth, _put(_json(base), deep, rng)]))


def _many(base: Input, rng: random.Random) -> Input:
    name = rng.choice(["interactions", "items", "users", "item_ids", "user_ids", "tags"])
    entry = rng.choice(["null", "{}", '"a"', '{"id":"a"}', "1"])
    listed = f"[{','.join([entry] * rng.choice([1, 1_001, 20_000]))}]"
    return _with_json(base, rng.choice([listed, f'{{"{name}":{listed}}}']))


def _twice(base: Input, rng: random.Random) -> Input:
    """A member of the body is given twice."""
    text = _json(base)
    return _with_json(base, text[:-1] + "," + text[1:] if text.startswith("{") else text + text)


def _odd_type(base: Input, rng: random.Random) -> Input:
    kept = [header for header in base.headers if header[0].lower() != b"content-type"]
    return replace(base, headers=[*kept, (b"Content-Type", rng.choice(TYPES))])


def _odd_encoding(base: Input, rng: random.Random) -> Input:
    text = _json(base)
    body: bytes = rng.choice(
        [
            text.encode("utf-16", "surrogatepass"),
            b"\xef\xbb\xbf" + text.encode("utf-8", "replace"),
            text.encode("latin-1", "replace"),
            gzip.compress(text.encode("utf-8", "replace")),
            b"\xff\xfe\x00",
            bytes(rng.randrange(256) for _ in range(200)),
            text.encode("utf-32", "replace"),
        ]
    )
    return replace(base, body=body, length=len(body))


def _odd_headers(base: Input, rng: random.Random) -> Input:
    return replace(base, headers=[*base.headers, *rng.sample(JUNK, rng.randint(1, 3))], whole=False)


def _many_headers(base: Input, rng: random.Random) -> Input:
    size = rng.choice([10, 1_000])
    more = [(b"X-%d" % number, b"a" * size) for number in range(rng.choice([50, 500]))]
    return replace(base, headers=[*base.headers, *more])


def _odd_method(base: Input, rng: random.Random) -> Input:
    return replace(base, method=rng.choice(METHODS))


def _chunked(base: Input, rng: random.Random) -> Input:
    body = base.body or b"{}"
    at = rng.randrange(len(body))
    parts = [part for part in (body[:at], body[at:]) if part]
    sent = b"".join(b"%x;a=b\r\n%s\r\n" % (len(part), part) for part in parts)
    end = rng.choice([b"0\r\n\r\n", b"0\r\nX-Trailer: 1\r\n\r\n", b"", b"zz\r\n", b"-1\r\n"])
    return replace(base, body=sent + end, length=None, whole=False)


def _partial(base: Input, rng: random.Random) -> Input:
    body = base.body or b'{"a": 1}'
    return replace(base, body=body[: rng.randrange(len(body))], length=len(body), whole=False)


def _wrong_length(base: Input, rng: random.Random) -> Input:
    return replace(base, length=rng.choice([0, 1, 10**9, 10**30]), whole=False)


CHANGES: list[Callable[[Input, random.Random], Input]] = [
    _odd_path,
    _odd_path,
    _odd_query,
    _odd_text,
    _odd_text,
    _odd_number,
    _other_type,
    _other_type,
    _deep,
    _many,
    _twice,
    _odd_type,
    _odd_encoding,
    _odd_headers,
    _many_headers,
    _odd_method,
    _chunked,
    _partial,
    _wrong_length,
]


def _json(base: Input) -> str:
    return base.body.decode("utf-8", "replace") or "{}"


def _with_json(base: Input, text: str) -> Input:
    kept = [header for header in base.headers if header[0].lower() != b"content-type"]
    body = text.encode("utf-8", "surrogatepass")
    headers = [*kept, (b"Content-Type", b"application/json")]
    return replace(base, headers=headers, body=body, length=len(body))


def _put(text: str, value: str, rng: random.Random) -> str:
    """JSON with one value of it replaced by the text ``value``."""
    mark = "\u0001here\u0001"
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError):
        return value
    places: list[tuple[Any, Any]] = []
    waiting = [tree] if isinstance(tree, dict | list) else []
    while waiting:
        node = waiting.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node))
        places += [(node, key) for key in keys]
        waiting += [node[key] for key in keys if isinstance(node[key], dict | list)]
    if not places:
        return value
    node, key = rng.choice(places)
    node[key] = mark
    return json.dumps(tree).replace(json.dumps(mark), value)
