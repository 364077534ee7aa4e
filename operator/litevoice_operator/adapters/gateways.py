"""The admin API of gateways and workers: their status, their sessions, the gateways' drains."""

from __future__ import annotations

import asyncio
import json
import time
from asyncio.sslproto import SSLProtocol
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, Literal, Self, TypeVar
from urllib.parse import urlencode

import aiohttp
import msgspec

from litevoice_contracts.addresses import url_host
from litevoice_contracts.control import (
    DRAIN_PATH,
    HOLDINGS_PATH,
    SESSIONS_PATH,
    STATUS_PATH,
    ActRequest,
    DrainReport,
    DrainRequest,
    GatewayStatus,
    Holdings,
    SessionInfo,
    SessionList,
    WorkerSession,
    WorkerStatus,
)
from litevoice_contracts.watching import Question
from litevoice_operator.manifests.certificates import REMEMBERED, admin_certificate
from litevoice_operator.manifests.paths import ADMIN_TLS_PORT
from litevoice_operator.observe.clocks import clock_offset
from litevoice_operator.observe.pods import SEALED

TIMEOUT_SECONDS = 2.0
MAX_CONCURRENT = 16
KEPT_SECONDS = 60.0
"""Connections that nobody uses: longer than the pauses between passes."""
TLS_BUFFER_BYTES = 4 << 10
"""What a connection with TLS keeps for reading. asyncio's own 256 KiB, filled with zeros, would be more than all else
that the operator has in memory, with a thousand pods."""
MAX_CLOCKS = 10_000
MAX_ANSWER_BYTES = 6 << 20
"""As many as 100,000 session ids take."""

T = TypeVar("T")


@lru_cache(maxsize=REMEMBERED)
def _only(token: str) -> aiohttp.Fingerprint:
    """The same one each time: connections are kept for it."""
    return aiohttp.Fingerprint(admin_certificate(token).sha256)


@dataclass(frozen=True, slots=True)
class Told(Generic[T]):
    """`version`: of its status; "" from a pod that gives none. `status`: None: the one of that version, as before."""

    version: str
    status: T | None


class NotHere:
    """The pod answers, and does not hold the session."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Attributes:
    pod: that holds the session; "" when none says so.
    all_answered: also those that do not.
    """

    pod: str
    session: SessionInfo | None
    all_answered: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a gateway does not do what it was told to, in its words."""

    why: str


class Gateways:
    """Requests to gateway pods, a few at a time, each with a short timeout; those that wait for a change (`watch`) as
    many as are asked for. A pod that does not answer is left out: it may be starting, ending or cut off, and its
    readiness tells that already.

    An address is an IP, after SEALED where the pod speaks TLS (`Pod.address`). Then it must be the certificate that
    belongs to the token, or the token is not sent.
    """

    def __init__(self, admin_port: int, admin_tls_port: int = ADMIN_TLS_PORT) -> None:
        SSLProtocol.max_size = TLS_BUFFER_BYTES
        self._ports = {False: admin_port, True: admin_tls_port}
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(keepalive_timeout=KEPT_SECONDS),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS),
        )
        # Apart, or two connections to a pod would take turns, and neither be closed.
        self._watching = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEPT_SECONDS))
        self._slots = asyncio.Semaphore(MAX_CONCURRENT)
        self._openings = asyncio.Semaphore(MAX_CONCURRENT)
        self._clocks: dict[str, float] = {}  # by address

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        await self._watching.close()

    def clocks(self, addresses: dict[str, str]) -> dict[str, float]:
        """Pod name → how many seconds its clock was ahead of ours at its last answer; below 0: behind."""
        return {pod: self._clocks[address] for pod, address in addresses.items() if address in self._clocks}

    async def statuses(self, addresses: dict[str, str], token: str) -> dict[str, GatewayStatus]:
        """Pod name → status; `addresses`: by pod name."""
        return await self._ask_all(addresses, token, STATUS_PATH, GatewayStatus)

    async def worker_statuses(self, addresses: dict[str, str], token: str) -> dict[str, WorkerStatus]:
        """The same of workers; their token is another one."""
        return await self._ask_all(addresses, token, STATUS_PATH, WorkerStatus)

    async def watch(
        self, address: str, token: str, question: Question, timeout_seconds: float, kind: type[T]
    ) -> Told[T] | None:
        """What the pod says once it has something to tell; None: nothing within the timeout, or not what was asked.

        Questions that do not wait, as the first one to a pod, are put a few at a time, each with the whole timeout: a
        thousand handshakes that begin together would all be too late, and begin again.
        """
        path = f"{STATUS_PATH}?{urlencode(question.query)}"
        timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        try:
            async with (
                nullcontext() if question.wait_seconds else self._openings,
                self._asking(self._watching, "GET", address, token, path, timeout=timeout) as response,
            ):
                version, body = response.headers.get("ETag", ""), await _read(response)
                if response.status == 304:
                    return Told(version, None) if version == question.seen else None
                return Told(version, msgspec.json.decode(body, type=kind)) if response.status == 200 else None
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return None

    async def sessions(
        self, addresses: dict[str, str], token: str, sort: str, limit: int
    ) -> dict[str, list[SessionInfo]]:
        """Pod name → its first sessions in that order (SESSION_SORTS); pods that do not answer are missing."""
        path = f"{SESSIONS_PATH}?sort={sort}&limit={limit}"
        answers = await self._ask_all(addresses, token, path, SessionList)
        return {pod: answer.sessions for pod, answer in answers.items()}

    async def pages(self, addresses: dict[str, str], token: str, query: dict[str, str]) -> dict[str, SessionList]:
        """Pod name → what it lists, and how many there are; `query` as at SESSIONS_PATH."""
        return await self._ask_all(addresses, token, f"{SESSIONS_PATH}?{urlencode(query)}", SessionList)

    async def holdings(self, addresses: dict[str, str], token: str) -> dict[str, Holdings]:
        """Pod name → every LiteTopic that it has; pods that do not answer are missing."""
        return await self._ask_all(addresses, token, HOLDINGS_PATH, Holdings)

    async def worker_session(self, address: str, token: str, session_id: str) -> WorkerSession | NotHere | None:
        """NotHere: it answers, and does not have the session in memory; None: it does not answer."""
        return await self._ask(address, token, f"{SESSIONS_PATH}/{session_id}", WorkerSession, or_404=True)

    async def session(self, addresses: dict[str, str], token: str, session_id: str) -> Holder:
        """Which of these pods holds the session: of two, the one with the newer connection."""
        holders, silent = await self.holders(addresses, token, session_id)
        if not holders:
            return Holder("", None, all_answered=not silent)
        pod = min(holders, key=lambda name: holders[name].age_seconds)
        return Holder(pod, holders[pod], all_answered=True)

    async def holders(
        self, addresses: dict[str, str], token: str, session_id: str
    ) -> tuple[dict[str, SessionInfo], list[str]]:
        """Which of these pods hold the session, one as a rule, and which do not answer."""
        path = f"{SESSIONS_PATH}/{session_id}"
        asked = (self._ask(address, token, path, SessionInfo, or_404=True) for address in addresses.values())
        answers = list(zip(addresses, await asyncio.gather(*asked), strict=True))
        holders = {pod: answer for pod, answer in answers if isinstance(answer, SessionInfo)}
        return holders, [pod for pod, answer in answers if answer is None]

    async def tell(
        self, address: str, token: str, session_id: str, act: Literal["move", "heal"], request: ActRequest
    ) -> SessionInfo | Refused:
        """What `act` is about to do to the session; nothing was done when it is refused."""
        path, body = f"{SESSIONS_PATH}/{session_id}/{act}", msgspec.json.encode(request)
        answer = await self._request("POST", address, token, path, body)
        if answer is None:
            return Refused(f"no answer within {TIMEOUT_SECONDS:.0f} s: whether it has done it is not known")
        status, text = answer
        if status == 202:
            return msgspec.json.decode(text, type=SessionInfo)
        try:
            return Refused(str(json.loads(text)["error"]["message"]))
        except (ValueError, KeyError, TypeError):
            return Refused(f"HTTP {status}")

    async def drain(self, address: str, token: str, rate_per_second: int | None = None) -> DrainReport | None:
        """Begins a drain, or asks about the one under way; None when the pod does not answer. `rate_per_second`: at
        most so many sessions are told in a second; None: as the gateway's settings say."""
        body = msgspec.json.encode(DrainRequest(rate_per_second=rate_per_second))
        report = await self._ask(address, token, DRAIN_PATH, DrainReport, method="POST", body=body)
        return report if isinstance(report, DrainReport) else None

    async def take_drain_back(self, address: str, token: str) -> DrainReport | None:
        """What had become of it; None when the pod does not answer, or ends."""
        report = await self._ask(address, token, DRAIN_PATH, DrainReport, method="DELETE")
        return report if isinstance(report, DrainReport) else None

    async def _ask_all(self, addresses: dict[str, str], token: str, path: str, kind: type[T]) -> dict[str, T]:
        answers = await asyncio.gather(*(self._ask(address, token, path, kind) for address in addresses.values()))
        return {pod: answer for pod, answer in zip(addresses, answers, strict=True) if isinstance(answer, kind)}

    async def _ask(
        self,
        address: str,
        token: str,
        path: str,
        kind: type[T],
        *,
        or_404: bool = False,
        method: str = "GET",
        body: bytes | None = None,
    ) -> T | NotHere | None:
        answer = await self._request(method, address, token, path, body)
        if answer is None:
            return None
        status, text = answer
        if status == 404 and or_404:
            return NotHere()
        try:
            return msgspec.json.decode(text, type=kind) if status in (200, 202) else None
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None

    async def _request(
        self, method: str, address: str, token: str, path: str, sent: bytes | None = None
    ) -> tuple[int, bytes] | None:
        """Status and body; None when there is no answer."""
        try:
            async with self._slots:
                asked_at = time.time()
                async with self._asking(self._session, method, address, token, path, sent) as response:
                    self._set_clock(address, response.headers.get("Date", ""), asked_at)
                    return response.status, await _read(response)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None

    def _asking(
        self,
        session: aiohttp.ClientSession,
        method: str,
        address: str,
        token: str,
        path: str,
        sent: bytes | None = None,
        timeout: aiohttp.ClientTimeout | None = None,
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        sealed = address.startswith(SEALED)
        host, scheme = url_host(address.removeprefix(SEALED)), "https" if sealed else "http"
        url, headers = f"{scheme}://{host}:{self._ports[sealed]}{path}", {"Authorization": f"Bearer {token}"}
        only = _only(token) if sealed else True
        return session.request(method, url, headers=headers, data=sent, ssl=only, timeout=timeout or session.timeout)

    def _set_clock(self, address: str, date: str, asked_at: float) -> None:
        offset = clock_offset(date, asked_at, time.time())
        self._clocks.pop(address, None)
        if offset is not None:
            self._clocks[address] = offset
            if len(self._clocks) > MAX_CLOCKS:
                del self._clocks[next(iter(self._clocks))]


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """As much of the body as is read of any."""
    body = await response.content.read(MAX_ANSWER_BYTES)
    while not response.content.at_eof() and len(body) < MAX_ANSWER_BYTES:
        body += await response.content.read(MAX_ANSWER_BYTES - len(body))
    return body
