"""The operator's own port: health, readiness, metrics, the console's page, and the API for people once this operator
acts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib import resources

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from litevoice_contracts.control import HEALTH_PATH, METRICS_PATH, READY_PATH

PAGE_PATH = "/console"
PAGE_FILES = {"": "text/html", "/console.css": "text/css", "/console.js": "text/javascript"}
"""What the page consists of, under PAGE_PATH. It has no data: those come from the API, for those who may see them."""
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
CLOSING_SECONDS = 5.0
"""How long answers under way may take once it is closed."""


class Door:
    """Attributes:
    inside: answers what is under `/v1`; None while this operator does not act.
    acting: the pod that does, as far as it is known.
    """

    def __init__(self) -> None:
        self.inside: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None
        self.acting: Callable[[], str] = str

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if self.inside is not None:
            return await self.inside(request)
        message = "this operator does not act: ask the one that does"
        return web.json_response({"error": {"message": message, "acting": self.acting()}}, status=503)


async def serve(port: int, waits_for: Callable[[], str], door: Door) -> web.AppRunner:
    """Serves until the runner is cleaned up. `waits_for`: why the operator is not ready; empty when it is."""

    async def health(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readiness(_: web.Request) -> web.Response:
        if why := waits_for():
            return web.Response(status=503, text=f"{why}\n")
        return web.Response(text="ok\n")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    page = {PAGE_PATH + name: (_page_file(name), kind) for name, kind in PAGE_FILES.items()}

    async def page_file(request: web.Request) -> web.Response:
        body, kind = page[request.path]
        return web.Response(body=body, content_type=kind, charset="utf-8", headers=PAGE_HEADERS)

    app = web.Application()
    app.add_routes([web.get(path, page_file) for path in page])
    app.add_routes([web.get(HEALTH_PATH, health), web.get(READY_PATH, readiness), web.get(METRICS_PATH, metrics)])
    app.add_routes([web.route(method, "/v1/{path:.*}", door.handle) for method in ("GET", "POST", "DELETE")])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSING_SECONDS)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", port).start()
    return runner


def _page_file(name: str) -> bytes:
    return (resources.files("litevoice_operator") / "console" / (name.lstrip("/") or "console.html")).read_bytes()
