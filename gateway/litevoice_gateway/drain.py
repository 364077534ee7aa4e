"""Empties a pod: `moves.py` plans who is told when, `Drain` carries it out and reports what became of every session."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

from litevoice_contracts.control import DrainReport
from litevoice_gateway import commands as do
from litevoice_gateway.hub import Hub
from litevoice_gateway.moves import Candidate, MovePlan, Policy

logger = logging.getLogger(__name__)

STEP_SECONDS = 0.05


class Drain:
    """One at a time: a second `begin` returns the drain under way. Until the process is told to end (`wait`), a drain
    can be taken back, whatever has become of it."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._plan: MovePlan | None = None
        self._task: asyncio.Task[None] | None = None
        self._sessions = 0
        self._outcomes: dict[do.Outcome, int] = {"moved": 0, "completed": 0, "forced": 0}
        self._lost_before = 0
        self._started_wall = 0.0
        self._finished: float | None = None
        self._ending = False
        hub.on_end(self._ended)

    @property
    def report(self) -> DrainReport:
        if self._plan is None:
            return DrainReport()
        until = self._finished if self._finished is not None else time.monotonic()
        return DrainReport(
            state="draining" if self._finished is None else "drained",
            sessions=self._sessions,
            moved=self._outcomes["moved"],
            completed=self._outcomes["completed"],
            forced=self._outcomes["forced"],
            lost_packets=self._hub.lost_packets - self._lost_before,
            duration_seconds=round(until - self._plan.started_at, 3),
            started_at=self._started_wall,
        )

    def begin(self, policy: Policy | None = None, rate_per_second: int | None = None) -> DrainReport:
        """Refuses new sessions from now on and moves the existing ones, at most as fast as the settings say.
        Idempotent."""
        if self._plan is None:
            settings = self._hub.settings
            self._plan = MovePlan(
                started_at=time.monotonic(),
                policy=policy or settings.drain_policy,
                timeout_seconds=settings.drain_timeout_seconds,
                turn_wait_seconds=settings.drain_turn_wait_seconds,
                close_timeout_seconds=settings.close_timeout_seconds,
                rate_per_second=min(rate_per_second or settings.drain_rate_per_second, settings.drain_rate_per_second),
            )
            self._finished = None
            self._outcomes = dict.fromkeys(self._outcomes, 0)
            self._started_wall = time.time()
            self._lost_before = self._hub.lost_packets
            self._sessions = len(self._hub.sessions)
            self._hub.draining = True
            logger.info("drain started", extra={"sessions": self._sessions, "policy": self._plan.policy})
            self._task = asyncio.create_task(self._run(self._plan))
        return self.report

    def take_back(self) -> DrainReport | None:
        """Takes new sessions again and keeps those whose Close has not gone out. The last report of the drain, or None
        when the process was told to end: then it is too late."""
        if self._ending:
            return None
        report = self.report
        if self._task is not None:
            self._task.cancel()
            self._plan, self._task = None, None
            self._hub.draining = False
            for connection in self._hub.sessions.values():
                connection.stay()
            logger.info("drain taken back", extra={"report": report})
        return report

    async def wait(self) -> DrainReport:
        """The process ends: begins the drain if it has not begun, and waits until it is over."""
        self._ending = True
        self.begin()
        assert self._task is not None
        await self._task
        return self.report

    async def _run(self, plan: MovePlan) -> None:
        told: set[str] = set()
        while self._hub.connections and time.monotonic() < plan.deadline:
            self._tell(plan, told, time.monotonic())
            await asyncio.sleep(STEP_SECONDS)
        for connection in list(self._hub.connections):
            connection.cut()
        await self._settle(plan)
        self._finished = time.monotonic()
        logger.info("drain finished", extra={"report": self.report})

    def _tell(self, plan: MovePlan, told: set[str], now: float) -> None:
        sessions = self._hub.sessions
        candidates = (
            Candidate(name, connection.session.in_turn, connection.session.can_return)
            for name, connection in sessions.items()
            if name not in told
        )
        for move in plan.due(candidates, len(told), now):
            told.add(move.session_id)
            sessions[move.session_id].drain(at_edge=move.at_edge, by=move.by)

    async def _settle(self, plan: MovePlan) -> None:
        """Waits (bounded) for the broker to confirm what the cut connections have left behind."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, plan.deadline - time.monotonic()) + plan.close_timeout_seconds):
                for connection in list(self._hub.connections):
                    await connection.settled.wait()

    def _ended(self, end: do.End) -> None:
        if self._plan is not None and self._finished is None:
            self._outcomes[end.outcome] += 1
