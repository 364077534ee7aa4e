"""The gateways' admin API: their status, their sessions."""

from __future__ import annotations

import asyncio
from typing import Self, TypeVar

import aiohttp
import msgspec

from litevoice_contracts.addresses import url_host
from litevoice_contracts.control import SESSIONS_PATH, STATUS_PATH, GatewayStatus, SessionInfo, SessionList

TIMEOUT_SECONDS = 2.0
MAX_CONCURRENT = 16
MAX_ANSWER_BYTES = 4 << 20

T = TypeVar("T")


class Gateways:
    """Requests to gateway pods, a few at a time, each with a short timeout. A pod that does not answer is left out: it
    may be starting, ending or cut off, and its readiness tells that already."""

    def __init__(self, admin_port: int) -> None:
        self._admin_port = admin_port
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS))
        self._slots = asyncio.Semaphore(MAX_CONCURRENT)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def statuses(self, addresses: dict[str, str], token: str) -> dict[str, GatewayStatus]:
        """Pod name → status; `addresses`: pod name → IP."""
        return await self._ask_all(addresses, token, STATUS_PATH, GatewayStatus)

    async def sessions(self, addresses: dict[str, str], token: str, limit: int) -> dict[str, list[SessionInfo]]:
        """Pod name → its sessions with the most waiting requests."""
        path = f"{SESSIONS_PATH}?sort=requests&limit={limit}"
        answers = await self._ask_all(addresses, token, path, SessionList)
        return {pod: answer.sessions for pod, answer in answers.items()}

    async def session(self, addresses: dict[str, str], token: str, session_id: str) -> tuple[str, SessionInfo] | None:
        """The pod that holds the session, and what it says about it; None if no pod does."""
        answers = await self._ask_all(addresses, token, f"{SESSIONS_PATH}/{session_id}", SessionInfo)
        return next(iter(answers.items()), None)

    async def _ask_all(self, addresses: dict[str, str], token: str, path: str, kind: type[T]) -> dict[str, T]:
        answers = await asyncio.gather(*(self._ask(address, token, path, kind) for address in addresses.values()))
        return {pod: answer for pod, answer in zip(addresses, answers, strict=True) if answer is not None}

    async def _ask(self, address: str, token: str, path: str, kind: type[T]) -> T | None:
        url = f"http://{url_host(address)}:{self._admin_port}{path}"
        try:
            async with (
                self._slots,
                self._session.get(url, headers={"Authorization": f"Bearer {token}"}) as response,
            ):
                if response.status != 200:
                    return None
                body = await response.content.read(MAX_ANSWER_BYTES)
                while not response.content.at_eof() and len(body) < MAX_ANSWER_BYTES:
                    body += await response.content.read(MAX_ANSWER_BYTES - len(body))
                return msgspec.json.decode(body, type=kind)
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return None
