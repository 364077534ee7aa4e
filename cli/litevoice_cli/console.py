"""`litevoice console`: the operator's page for the browser of this machine.

A server on the loopback address hands the page and what it asks for through to the operator, with a token that it makes
and renews: the browser never has one. It gets a key that only this server takes, for a code in the fragment of the
address: that is sent nowhere, and good once, so who reads the address later (a history, a list of processes) has
nothing. The key travels in a header that no other site can set, and requests under another name than this server's own
are refused.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from litevoice_cli.reach import CannotAsk, Reach
from litevoice_contracts.operator_api import CONSOLE_PATH, SESSIONS_PATH, TOKEN_HEADER

PAGES = ("/console", "/console/console.css", "/console/console.js")
KEY_PATH = "/key"
KEPT_HEADERS = (
    "Content-Type",
    "Content-Security-Policy",
    "X-Content-Type-Options",
    "Referrer-Policy",
    "Cross-Origin-Opener-Policy",
    "Cross-Origin-Resource-Policy",
    "Cache-Control",
)
MAX_AT_ONCE = 16
MAX_CODE_BYTES = 100
IDLE_SECONDS = 30


class Console(ThreadingHTTPServer):
    """`port` 0: any that is free. Raises OSError when it cannot be had."""

    daemon_threads = True

    def __init__(self, reach: Reach, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.reach = reach
        self.code = secrets.token_urlsafe(32)
        self.key = secrets.token_urlsafe(32)
        self.once = threading.Lock()
        self.slots = threading.Semaphore(MAX_AT_ONCE)
        self.names = tuple(f"{host}:{self.server_port}" for host in ("127.0.0.1", "localhost"))

    def address(self, query: Mapping[str, str]) -> str:
        """Good for one browser."""
        asked = f"?{urlencode(query)}" if query else ""
        return f"http://{self.names[0]}{PAGES[0]}{asked}#code={self.code}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that has left is no error."""


class _Handler(BaseHTTPRequestHandler):
    server: Console
    timeout = IDLE_SECONDS

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        data = url.path == CONSOLE_PATH or url.path.startswith(f"{SESSIONS_PATH}/")
        if not data and url.path not in PAGES:
            return self._say(404, "there is no such path")
        if not self._at_home():
            return None
        if data and not secrets.compare_digest(self.headers.get(TOKEN_HEADER, "").encode(), self.server.key.encode()):
            return self._say(401, "this page is of another litevoice console: open the address that it has printed")
        if not self.server.slots.acquire(blocking=False):
            return self._say(429, f"{MAX_AT_ONCE} requests are under way already: close a tab")
        try:
            return self._hand_through(url.path, dict(parse_qsl(url.query)))
        finally:
            self.server.slots.release()

    def do_POST(self) -> None:
        """The key, for the code."""
        length = self.headers.get("Content-Length", "")
        if self.path != KEY_PATH or not length.isdigit() or int(length) > MAX_CODE_BYTES:
            return self._say(404, "there is no such path")
        if not self._at_home():
            return None
        given = self.rfile.read(int(length))
        with self.server.once:
            good = bool(self.server.code) and secrets.compare_digest(given, self.server.code.encode())
            if good:
                self.server.code = ""
        if not good:
            return self._say(403, "the code is not good any more")
        return self._answer(200, {"Content-Type": "text/plain", "Cache-Control": "no-store"}, self.server.key.encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Nothing: paths have session ids."""

    def _at_home(self) -> bool:
        """Whether it was asked under its own name, by its own page: somebody else's name that leads here is none."""
        names, origin = self.server.names, self.headers.get("Origin")
        if self.headers.get("Host") in names and (origin is None or origin.removeprefix("http://") in names):
            return True
        self._say(403, f"expected http://{self.server.names[0]}")
        return False

    def _hand_through(self, path: str, query: Mapping[str, str]) -> None:
        try:
            stream = self.server.reach.stream(path, query)
        except CannotAsk as error:
            return self._say(502, str(error))
        self.send_response(stream.status)
        for name in KEPT_HEADERS:
            if value := stream.headers.get(name.lower()):
                self.send_header(name, value)
        self.end_headers()
        try:
            for chunk in stream.chunks:
                self.wfile.write(chunk)
        except OSError:
            pass  # one of both has left: the connection's end says so
        finally:
            getattr(stream.chunks, "close", lambda: None)()
        return None

    def _say(self, status: int, message: str) -> None:
        body = json.dumps({"error": {"message": message}}).encode()
        self._answer(status, {"Content-Type": "application/json"}, body)

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
