"""The API for people and their tools, on the operator's port: who may ask, what they ask, the answer.

See `litevoice_contracts.operator_api`. It asks the API server whose token it got, and whether that user may see
sessions, or may change what becomes of them; it stores no tokens: what the API server said is remembered for some
seconds under the token's hash.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Protocol

import msgspec
from aiohttp import web

from litevoice_broker.waiting import set_within
from litevoice_contracts import control, operator_api
from litevoice_contracts.errors import InvalidField
from litevoice_contracts.names import SESSION_ID
from litevoice_contracts.operator_api import (
    AUDIENCE,
    CONSOLE_PATH,
    DOCTOR_PATH,
    DRAINS_PATH,
    MAX_LISTED,
    ORPHANS_PATH,
    PARTITIONS_PATH,
    SESSIONS_PATH,
    SORTS,
    TOKEN_HEADER,
    ConsoleState,
)
from litevoice_operator.adapters.cluster import ClusterError, User
from litevoice_operator.reconcile.acts import Acts, CannotAct, Wish
from litevoice_operator.reconcile.console import LOOK_SECONDS, Console, TooMany, Watch
from litevoice_operator.reconcile.inquiries import Inquiries, Question

REMEMBERED_SECONDS = 10.0
MAX_REMEMBERED = 256
MAX_TOKEN_BYTES = 16 * 1024
WRITE_SECONDS = 5.0
"""How long who watches may take to read, before it is given up."""
STREAM_HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
READ, WRITE = "get", "update"
"""Verbs of `voicegateways/sessions`: what the API server is asked about."""
_ACT_QUERY = ("namespace", "gateway", "dry_run", "force")
_QUERY = ("namespace", "gateway", "client", "principal", "since", "sort", "offset", "limit")


class Reviewer(Protocol):
    """What is needed of `Cluster`."""

    async def reviewed(self, token: str, audience: str) -> User | None: ...

    async def may(self, user: User, namespace: str, verb: str, resource: str, subresource: str) -> bool: ...


class Refusal(Exception):  # noqa: N818 - reads as what it is
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Guard:
    """Who may see, or change, the sessions of which namespace."""

    def __init__(self, reviewer: Reviewer, clock: Callable[[], float] = time.monotonic) -> None:
        self._reviewer = reviewer
        self._clock = clock
        self._remembered: dict[tuple[bytes, str, str], tuple[float, User | Refusal]] = {}

    async def check(self, token: str, namespace: str, verb: str = READ) -> User:
        """Whose token it is. Raises Refusal; ClusterError when nobody can tell."""
        if not token or len(token) > MAX_TOKEN_BYTES:
            raise Refusal(401, f"a token of the audience {AUDIENCE} is missing: expected {TOKEN_HEADER}: TOKEN")
        key, now = (hashlib.sha256(token.encode()).digest(), namespace, verb), self._clock()
        until, found = self._remembered.get(key, (0.0, None))
        if found is None or now >= until:
            found = await self._review(token, namespace, verb)
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = now + REMEMBERED_SECONDS, found
        if isinstance(found, Refusal):
            raise found
        return found

    async def _review(self, token: str, namespace: str, verb: str) -> User | Refusal:
        user = await self._reviewer.reviewed(token, AUDIENCE)
        if user is None:
            return Refusal(401, f"the token is not valid, or not for the audience {AUDIENCE}")
        if await self._reviewer.may(user, namespace, verb, "voicegateways", "sessions"):
            return user
        where = f"in namespace {namespace}" if namespace else "in all namespaces: name one"
        return Refusal(403, f"{user.name} may not {verb} voicegateways/sessions.litevoice.dev {where}")


class AdminApi:
    """Everything under `/v1`."""

    def __init__(self, guard: Guard, inquiries: Inquiries, acts: Acts, console: Console) -> None:
        self._guard = guard
        self._inquiries = inquiries
        self._acts = acts
        self._console = console
        self._closing = asyncio.Event()
        self._streams: set[asyncio.Future[None]] = set()
        """Each is done when its stream has ended."""

    async def close(self) -> None:
        """Ends what is streamed, while all that it asks is still there."""
        self._closing.set()
        if self._streams:
            await asyncio.wait(self._streams, timeout=WRITE_SECONDS)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        token = token_of(request.headers)
        answer: msgspec.Struct | None
        try:
            if request.method == "GET":
                question = read_question(request.query)
                await self._guard.check(token, question.namespace)
                if request.path == CONSOLE_PATH:
                    with self._console.watch(question.namespace, question.gateway) as watch:
                        return await self._stream(request, watch, token, question.namespace)
                answer = await self._answer(request.path, question)
            else:
                wish = read_wish(request.query)
                user = await self._guard.check(token, wish.namespace, WRITE)
                answer = await self._act(request.method, request.path, replace(wish, by=user.name))
        except CannotAct as error:
            return problem(409 if error.known else 404, str(error))
        except TooMany as error:
            return problem(429, str(error))
        except InvalidField as error:
            return problem(400, str(error))
        except Refusal as refusal:
            return problem(refusal.status, str(refusal))
        except ClusterError as error:
            return problem(503, f"the API server does not say whether you may, or who is told of it: {error}")
        if answer is None:
            return problem(404, "there is no VoiceGateway to ask, or no such path")
        return web.Response(body=msgspec.json.encode(answer), content_type="application/json")

    async def _stream(self, request: web.Request, watch: Watch, token: str, namespace: str) -> web.StreamResponse:
        """Until who watches has left or may not watch any more. Only the latest state is ever waiting to be read."""
        response = web.StreamResponse(headers=STREAM_HEADERS)
        ended = asyncio.get_running_loop().create_future()
        self._streams.add(ended)
        try:
            await response.prepare(request)
            why = await self._watched(response, watch, token, namespace)
            await _write(response, "end", json.dumps({"message": why}).encode())
        except (ConnectionError, TimeoutError):
            pass  # who watches has left, or does not read
        finally:
            self._streams.discard(ended)
            ended.set_result(None)
        return response

    async def _watched(self, response: web.StreamResponse, watch: Watch, token: str, namespace: str) -> str:
        """Why it is over."""
        try:
            while not self._closing.is_set():
                if (state := await self._unless_closing(watch.state())) is None:
                    break
                await _write(response, "state", msgspec.json.encode(state))
                await set_within(self._closing, LOOK_SECONDS)
                await self._guard.check(token, namespace)
        except (Refusal, ClusterError) as error:
            return str(error)
        return "this operator does not act any more"

    async def _unless_closing(self, asked: Coroutine[None, None, ConsoleState]) -> ConsoleState | None:
        """A broker may let it wait."""
        looking, closing = asyncio.create_task(asked), asyncio.create_task(self._closing.wait())
        try:
            await asyncio.wait({looking, closing}, return_when=asyncio.FIRST_COMPLETED)
            return looking.result() if looking.done() else None
        finally:
            looking.cancel()
            closing.cancel()

    async def _answer(self, path: str, question: Question) -> msgspec.Struct | None:
        inquiries = self._inquiries
        lists: Mapping[str, Callable[[Question], Awaitable[msgspec.Struct]]] = {
            SESSIONS_PATH: inquiries.sessions,
            PARTITIONS_PATH: inquiries.partitions,
            DRAINS_PATH: inquiries.drains,
            ORPHANS_PATH: inquiries.orphans,
            DOCTOR_PATH: inquiries.doctor,
        }
        if path in lists:
            return await lists[path](question)
        session_id = path.removeprefix(f"{SESSIONS_PATH}/")
        if session_id == path or "/" in session_id:
            return None
        return await self._inquiries.session(_session_id(session_id), question)

    async def _act(self, method: str, path: str, wish: Wish) -> msgspec.Struct | None:
        collection, _, rest = path.removeprefix("/v1/").partition("/")
        name, _, act = rest.partition("/")
        match method, f"/v1/{collection}", act:
            case "POST", operator_api.DRAINS_PATH, "":
                return await self._acts.drain(name, wish)
            case "DELETE", operator_api.DRAINS_PATH, "":
                return await self._acts.take_back(name, wish)
            case "POST", operator_api.SESSIONS_PATH, control.MOVE:
                return await self._acts.move(_session_id(name), wish)
            case "POST", operator_api.SESSIONS_PATH, control.HEAL:
                return await self._acts.heal(_session_id(name), wish)
        return None


def token_of(headers: Mapping[str, str]) -> str:
    """TOKEN_HEADER's, else the Authorization header's; "" for none."""
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    return headers.get(TOKEN_HEADER, "").strip() or (token.strip() if scheme.lower() == "bearer" else "")


def read_question(query: Mapping[str, str]) -> Question:
    """Raises InvalidField."""
    for name in query:
        if name not in _QUERY:
            raise InvalidField(name, f"one of {', '.join(_QUERY)}")
    sort = query.get("sort", "age")
    if sort not in SORTS:
        raise InvalidField("sort", f"one of {', '.join(SORTS)}, got {sort!r}")
    limit = _number(query, "limit", 100, least=1)
    offset = _number(query, "offset", 0, least=0)
    if offset + limit > MAX_LISTED:
        raise InvalidField("offset", f"at most {MAX_LISTED} together with limit, got {offset} and {limit}")
    return Question(
        namespace=query.get("namespace", ""),
        gateway=query.get("gateway", ""),
        client=query.get("client", ""),
        principal=query.get("principal", ""),
        since=str(_number(query, "since", 0, least=1)) if "since" in query else "",
        sort=sort,
        offset=offset,
        limit=limit,
    )


def read_wish(query: Mapping[str, str]) -> Wish:
    """Raises InvalidField."""
    for name in query:
        if name not in _ACT_QUERY:
            raise InvalidField(name, f"one of {', '.join(_ACT_QUERY)}")
    for name in ("dry_run", "force"):
        if query.get(name, "false") not in ("true", "false"):
            raise InvalidField(name, f"true or false, got {query[name]!r}")
    return Wish(
        namespace=query.get("namespace", ""),
        gateway=query.get("gateway", ""),
        by="",
        dry_run=query.get("dry_run") == "true",
        force=query.get("force") == "true",
    )


async def _write(response: web.StreamResponse, event: str, data: bytes) -> None:
    """Raises ConnectionError and TimeoutError."""
    async with asyncio.timeout(WRITE_SECONDS):
        await response.write(b"event: %s\ndata: %s\n\n" % (event.encode(), data))


def problem(status: int, message: str, **more: str) -> web.Response:
    return web.json_response({"error": {"message": message, **more}}, status=status)


def _session_id(text: str) -> str:
    if not SESSION_ID.fullmatch(text):
        raise InvalidField("session", f"1 to 64 of [A-Za-z0-9_-], got {text!r}")
    return text


def _number(query: Mapping[str, str], name: str, default: int, *, least: int) -> int:
    text = query.get(name, str(default))
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) < least:
        raise InvalidField(name, f"a whole number, {least} or more, got {text!r}")
    return int(text)
