"""The page ``/docs``: Swagger UI from BentoML's own files. Nothing comes from elsewhere."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from serving.bentoml_internals import SWAGGER_UI
from serving.http.endpoints import Endpoints

FILES = ("swagger-ui.css", "swagger-ui-bundle.js")
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:"
}
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>Feedwright API</title>
  <link rel="icon" href="data:,">
  <link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
  <main id="api"></main>
  <noscript>The API is described in <a href="/api/v1/openapi.json">openapi.json</a>.</noscript>
  <script src="/docs/swagger-ui-bundle.js"></script>
  <script src="/docs/start.js"></script>
</body>
</html>
"""
START = """SwaggerUIBundle({
  url: "/api/v1/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  tryItOutEnabled: true,
  validatorUrl: null,
});
"""


endpoints = Endpoints(tag="pages", scope="public")


@endpoints.declare("GET /docs")
async def page(request: Request) -> Response:
    return Response(PAGE, media_type="text/html", headers=HEADERS)


@endpoints.declare("GET /docs/start.js")
async def start(request: Request) -> Response:
    return Response(START, media_type="text/javascript", headers=HEADERS)


async def asset(request: Request) -> Response:
    return FileResponse(SWAGGER_UI / request.url.path.rpartition("/")[2], headers=HEADERS)


for _file in FILES:
    endpoints.declare(f"GET /docs/{_file}")(asset)
