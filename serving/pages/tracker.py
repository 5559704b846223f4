"""The tracker for browsers: the built files of ``assets/tracker``, for pages of any origin.

``GET /tracker/files.json`` lists them, each with an address that never changes its content and
the hash for ``integrity``. The sources are in ``tracker``; ``tools/tracker.sh`` builds them.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

import orjson
from starlette.requests import Request
from starlette.responses import Response

from serving.http.endpoints import Endpoints

ASSETS = Path(__file__).parents[1] / "assets" / "tracker"
MEDIA_TYPES = {".js": "text/javascript", ".ts": "text/plain"}
HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Vary": "Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
}
FOREVER = "public, max-age=31536000, immutable"
ASK_EACH_TIME = "no-cache"


@dataclass(frozen=True)
class TrackerFile:
    """One file, as it is and gzipped, both kept in memory.

    Attributes:
        version: of the content; ``?v=`` with it makes an address that can be kept for ever.
        integrity: for the attribute of that name of a script tag.
    """

    body: bytes
    gzipped: bytes
    media_type: str
    version: str
    integrity: str

    @classmethod
    def read(cls, path: Path) -> TrackerFile:
        body = path.read_bytes()
        return cls(
            body,
            gzip.compress(body, mtime=0),
            MEDIA_TYPES[path.suffix],
            hashlib.sha256(body).hexdigest()[:12],
            f"sha384-{base64.b64encode(hashlib.sha384(body).digest()).decode()}",
        )

    async def respond(self, request: Request) -> Response:
        current = request.query_params.get("v") == self.version
        etag = f'W/"{self.version}"'  # weak: the same for both encodings
        headers = {**HEADERS, "ETag": etag, "Cache-Control": FOREVER if current else ASK_EACH_TIME}
        etags = request.headers.get("if-none-match", "")
        if etag in (tag.strip() for tag in etags.split(",")):
            return Response(status_code=304, headers=headers)
        body = self.body
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            body = self.gzipped
        return Response(body, media_type=self.media_type, headers=headers)


FILES = {
    path.name: TrackerFile.read(path)
    for path in sorted(ASSETS.iterdir())
    if path.suffix in MEDIA_TYPES
}
LISTING = orjson.dumps(
    {
        name: {
            "url": f"/tracker/{name}?v={file.version}",
            "integrity": file.integrity,
            "bytes": len(file.body),
            "gzipped": len(file.gzipped),
        }
        for name, file in FILES.items()
    }
)
endpoints = Endpoints(tag="pages", scope="public")


@endpoints.declare("GET /tracker/files.json")
async def index(request: Request) -> Response:
    headers = {**HEADERS, "Cache-Control": ASK_EACH_TIME}
    return Response(LISTING, media_type="application/json", headers=headers)


for _name, _file in FILES.items():
    endpoints.declare(f"GET /tracker/{_name}")(_file.respond)
