"""Each call is declared once: routes, access rules and the description are made from that."""

from __future__ import annotations

import json
import re
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving import openapi
from serving.access.rules import UNDECLARED, UNDECLARED_ADMIN, Rules
from serving.app import FeedApp
from serving.http.endpoints import Answer, Endpoints
from storage.settings import Settings


def test_no_call_is_without_a_declaration_and_no_declaration_without_a_call(
    tmp_path: Path,
) -> None:
    app = FeedApp(Settings(home=tmp_path))
    routes = [route for route in app.asgi.routes if isinstance(route, Route)]
    assert len(routes) == len(app.asgi.routes)
    assert routes.pop().path == "/{path:path}"
    routed = [
        (method, route.path) for route in routes for method in (route.methods or set()) - {"HEAD"}
    ]
    declared = [(one.method, one.path) for one in openapi.ENDPOINTS if one.handler is not None]
    assert sorted(routed) == sorted(declared)
    assert len(set(declared)) == len(declared)
    described = {path for method, path in declared if path.startswith("/api/")}
    assert described == {one.path for one in openapi.ENDPOINTS if one.name and one.handler} - {
        "/metrics"
    }


def test_a_call_is_found_by_its_rule_and_what_is_not_declared_needs_an_admin_key() -> None:
    rules = Rules(openapi.ENDPOINTS)
    for one in openapi.ENDPOINTS:
        rule, _ = rules.find(one.method, re.sub("{[^}]*}", "7", one.path))
        assert (rule.scope, rule.user, rule.audited) == (one.scope, one.user, one.audited)
        parameters = {each["name"] for each in one.parameters if each["in"] == "path"}
        assert parameters == set(re.findall(r"{(\w+)", one.path)), one.path
        assert one.user != "path" or parameters
    assert rules.find("POST", "/api/v1/nothing") == (UNDECLARED, "")
    assert rules.find("TRACE", "/api/v1/feed") == (UNDECLARED, "")
    assert rules.find("PUT", "/api/v1/admin/a/b") == (UNDECLARED_ADMIN, "a")


def test_the_description_names_each_operation_once_and_refers_to_nothing_that_is_not_there() -> (
    None
):
    document = openapi.document()
    ids = [one["operationId"] for each in document["paths"].values() for one in each.values()]
    assert len(set(ids)) == len(ids)
    referred = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(document)))
    assert referred == document["components"]["schemas"].keys()


def test_what_a_new_call_needs_to_say() -> None:
    endpoints = Endpoints(tag="feed", scope="read")

    @endpoints.declare("GET /api/v1/new/{id:id}", Answer("It"), problems=(404,))
    async def get_new(request: Request) -> Response:
        """Something new.

        Told in
        two lines.
        """
        return Response()

    [route] = endpoints.routes()
    assert (route.path, route.methods) == ("/api/v1/new/{id:id}", {"GET", "HEAD"})
    assert Rules(endpoints).find("HEAD", "/api/v1/new/x%2Fy")[1] == "x/y"
    described = openapi.document(endpoints)["paths"]["/api/v1/new/{id}"]["get"]
    assert (described["operationId"], described["summary"]) == ("getNew", "Something new")
    assert described["description"] == "Told in two lines."
    assert described["responses"].keys() == {"200", "401", "403", "404", "429"}
