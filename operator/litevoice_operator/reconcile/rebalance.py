"""Moves sessions from gateways that hold far more than the others; `decide.rebalance` says how many, and which."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence

from litevoice_contracts.control import MAX_LISTED_SESSIONS, ActRequest
from litevoice_operator.adapters.gateways import Refused
from litevoice_operator.api.resource import Key
from litevoice_operator.decide.pace import Bucket
from litevoice_operator.decide.rebalance import ONCE_IN_SECONDS, candidates, rebalanced_event, to_move
from litevoice_operator.decide.scale import Load
from litevoice_operator.reconcile.shared import Shared

MAX_TOLD = 10_000

_log = logging.getLogger(__name__)


class Rebalancing:
    """Of one VoiceGateway."""

    def __init__(self, shared: Shared, key: Key, token: str) -> None:
        self._shared = shared
        self._key = key
        self._token = token
        self._bucket = Bucket(0.0, time.monotonic())
        self._told: dict[str, float] = {}
        """Sessions that were told to move, or whose client cannot come back, and when (monotonic seconds)."""

    async def move(
        self, pods: Sequence[Load], crowds: Mapping[str, float], per_second: int, about: Mapping[str, str]
    ) -> None:
        """`crowds`: as `decide.rebalance.crowded` says; `per_second`: what other moves leave; `about`: for Events."""
        now = time.monotonic()
        self._bucket = self._bucket.filled(per_second, now)
        self._told = {name: at for name, at in self._told.items() if now - at < ONCE_IN_SECONDS}
        moves = to_move(pods, crowds, self._bucket.tokens, now)
        held = {pod.name: pod.sessions or 0 for pod in pods}
        for pod, count in moves.items():
            if moved := await self._move(pod, count, now):
                self._bucket = self._bucket.without(moved)
                await self._shared.outbox.send(about, rebalanced_event(pod, held[pod], moved))

    async def _move(self, pod: str, count: int, now: float) -> int:
        """How many were told."""
        address = self._shared.pods.addresses(self._key).get(pod)
        if address is None or len(self._told) >= MAX_TOLD:
            return 0
        limit = min(MAX_LISTED_SESSIONS, 4 * count + len(self._told))
        query = {"sort": "age", "limit": str(limit)}
        listed = await self._shared.gateways.pages({pod: address}, self._token, query)
        sessions = listed[pod].sessions if pod in listed else []
        chosen = candidates(sessions, self._told, count)
        tell = self._shared.gateways.tell
        answers = await asyncio.gather(
            *(tell(address, self._token, session, "move", ActRequest()) for session in chosen)
        )
        self._told |= dict.fromkeys(chosen, now)
        refused = [answer.why for answer in answers if isinstance(answer, Refused)]
        if refused:
            _log.info("sessions stay", extra={"pod": pod, "sessions": len(refused), "why": refused[0]})
        return len(chosen) - len(refused)
