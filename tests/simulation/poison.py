"""Questions at which a stage fails, or kills its worker, each time that it comes to them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Literal

from litevoice_gateway.packet_log import MAX_ATTEMPTS
from litevoice_worker.stages import StageError
from tests.simulation.faults import Fault
from tests.simulation.loop import Process

if TYPE_CHECKING:
    from tests.simulation.world import World

SHARE = 0.15
"""Of the seeds that have one such question."""
Stage = Literal["recognizer", "responder"]
DEAD_SECONDS = 1.0
"""Until a worker is started again that has died of one."""


@dataclass
class Poison:
    """Of one world.

    Attributes:
        caller, number: whose question, and which.
        stage, kills: what it does. deaths: of workers.
        faults_before: what there were when it was asked.
    """

    caller: str = ""
    number: int = 0
    stage: Stage = "recognizer"
    kills: bool = True
    text: str = ""
    deaths: int = 0
    faults_before: int = 0

    @classmethod
    def drawn(cls, seed: int, callers: Sequence[str]) -> Poison:
        random = Random(f"poison {seed}")
        if random.random() >= SHARE:
            return cls()
        stage = random.choice(("recognizer", "responder"))
        return cls(random.choice(callers), random.randint(0, 3), stage, random.random() < 0.75)  # type: ignore[arg-type]

    def is_asked(self, caller: str, number: int) -> bool:
        return (caller, number) == (self.caller, self.number)

    async def comes_to(self, stage: Stage, process: Process, text: str, world: World) -> None:
        """A worker's stage has it before itself. Raises StageError, or never returns."""
        if not text or text != self.text or stage != self.stage:
            return
        if not self.kills:
            raise StageError("it does not like this one")
        self.deaths += 1
        world.say(f"{process} dies of {text!r}")
        world.strikes.strike(Fault(world.seconds, "kill worker", process.name, seconds=DEAD_SECONDS))
        await asyncio.sleep(3600.0)

    def judged(self, given_up: int, faults: int, *, owners: int, lost: bool) -> str:
        """What is wrong with its end.

        `faults`: others since it was asked, each of which may have ended an attempt, or hidden one. `owners`: how often
        its partition was taken since; each more than it has killed may have ended one (docs/limits.md: two that both
        take it). `lost`: its audio went with gateway and worker: then its response has failed for that, whenever.
        """
        if given_up > self.kills or (given_up < self.kills and not lost):
            return f"was told {given_up} times that it is given up"
        least = 0 if lost else MAX_ATTEMPTS - faults - max(0, owners - self.deaths)
        if self.kills and not least <= self.deaths <= MAX_ATTEMPTS + faults:
            return f"has killed {self.deaths} workers"
        return ""
