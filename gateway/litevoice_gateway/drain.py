"""Empties a pod: who is told when is a pure plan, `Drain` carries it out and reports what became of every session."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from litevoice_contracts.control import DrainReport
from litevoice_gateway import commands as do
from litevoice_gateway.hub import Hub

logger = logging.getLogger(__name__)

STEP_SECONDS = 0.05
Policy = Literal["Migrate", "Complete", "Auto"]


@dataclass(frozen=True, slots=True)
class Plan:
    """When each session of a drain is told to go. Times are monotonic seconds.

    A session that migrates closes at its turn's edge, `turn_wait_seconds` after it was told at the latest. One that
    completes is left alone until just before the timeout, then it migrates after all.
    """

    started_at: float
    policy: Policy
    timeout_seconds: float
    turn_wait_seconds: float
    close_timeout_seconds: float
    rate_per_second: int

    @property
    def deadline(self) -> float:
        """What is left then is cut."""
        return self.started_at + self.timeout_seconds

    @property
    def last_call(self) -> float:
        """Late enough to let sessions complete, early enough for the Close to be answered."""
        return max(self.started_at, self.deadline - self.close_timeout_seconds - 0.5)

    def allowed(self, now: float) -> int:
        """How many sessions may have been told by `now`."""
        return 1 + int((now - self.started_at) * self.rate_per_second)

    def order(self, in_turn: Iterable[tuple[str, bool]]) -> list[str]:
        """Session ids in the order of telling: those between turns first, they go without waiting."""
        return [name for name, _ in sorted(in_turn, key=lambda entry: entry[1])]

    def migrates(self, can_return: bool) -> bool:
        return self.policy == "Migrate" or (self.policy == "Auto" and can_return)

    def instruct(self, can_return: bool, now: float) -> tuple[bool, float]:
        """`at_edge` and `by` of `Session.drain`."""
        if self.migrates(can_return):
            return True, min(now + self.turn_wait_seconds, self.last_call)
        return False, self.last_call


class Drain:
    """One per process: a second `begin` returns the drain under way."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._plan: Plan | None = None
        self._task: asyncio.Task[None] | None = None
        self._sessions = 0
        self._outcomes: dict[do.Outcome, int] = {"moved": 0, "completed": 0, "forced": 0}
        self._lost_before = 0
        self._started_wall = 0.0
        self._finished: float | None = None
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

    def begin(self, policy: Policy | None = None) -> DrainReport:
        """No new sessions from now on; the ones here go. Idempotent."""
        if self._plan is None:
            settings = self._hub.settings
            self._plan = Plan(
                started_at=time.monotonic(),
                policy=policy or settings.drain_policy,
                timeout_seconds=settings.drain_timeout_seconds,
                turn_wait_seconds=settings.drain_turn_wait_seconds,
                close_timeout_seconds=settings.close_timeout_seconds,
                rate_per_second=settings.drain_rate_per_second,
            )
            self._started_wall = time.time()
            self._lost_before = self._hub.lost_packets
            self._sessions = len(self._hub.sessions)
            self._hub.draining = True
            logger.info("drain begins", extra={"sessions": self._sessions, "policy": self._plan.policy})
            self._task = asyncio.create_task(self._run(self._plan))
        return self.report

    async def wait(self) -> DrainReport:
        """Begins if need be, and waits for the end."""
        self.begin()
        assert self._task is not None
        await self._task
        return self.report

    async def _run(self, plan: Plan) -> None:
        told: set[str] = set()
        while self._hub.connections and time.monotonic() < plan.deadline:
            self._tell(plan, told, time.monotonic())
            await asyncio.sleep(STEP_SECONDS)
        for connection in list(self._hub.connections):
            connection.cut()
        await self._settle(plan)
        self._finished = time.monotonic()
        logger.info("drain is over", extra={"report": self.report})

    def _tell(self, plan: Plan, told: set[str], now: float) -> None:
        waiting = {name: connection for name, connection in self._hub.sessions.items() if name not in told}
        room = plan.allowed(now) - len(told)
        if room <= 0 or not waiting:
            return
        for name in plan.order((name, connection.session.in_turn) for name, connection in waiting.items())[:room]:
            told.add(name)
            at_edge, by = plan.instruct(waiting[name].session.can_return, now)
            waiting[name].drain(at_edge=at_edge, by=by)

    async def _settle(self, plan: Plan) -> None:
        """Lets the broker confirm what the cut connections have left."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, plan.deadline - time.monotonic()) + plan.close_timeout_seconds):
                for connection in list(self._hub.connections):
                    await connection.settled.wait()

    def _ended(self, end: do.End) -> None:
        if self._plan is not None and self._finished is None:
            self._outcomes[end.outcome] += 1
