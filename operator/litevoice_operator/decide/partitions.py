"""More partitions than before: workers first, then the gateways. Pure.

A worker reads only the partitions that it was told of. So gateways make sessions for more of them only once all
workers know these; until then each goes on with as many as there were. Sessions keep the partitions they were made for.
"""

from __future__ import annotations

from dataclasses import dataclass

from litevoice_operator.api.conditions import RECONCILING
from litevoice_operator.decide.conditions import Finding
from litevoice_operator.decide.notifications import EventText
from litevoice_operator.observe.rollouts import Rollout


@dataclass(frozen=True, slots=True)
class Partitions:
    """Attributes:
    now: that gateways make sessions for.
    following: the same from the next pass on, to be recorded before: it never goes back, whatever workers do later.
    finding: what more of them wait for, as the condition Reconciling says it; None: they wait for nothing.
    """

    now: int
    following: int
    finding: Finding | None = None

    @property
    def event(self) -> EventText | None:
        """Once `following` is recorded."""
        if self.finding is None or self.now == self.following:
            return None
        message = f"all workers know {self.following} partitions: from now on gateways make sessions for all of them"
        return EventText("Normal", "PartitionsRaised", message)


def partitions(
    wanted: int, recorded: int, workers: Rollout, template: str, *, at_broker: bool, paused: bool = False
) -> Partitions:
    """`recorded`: as `following` said last time, 0 if never; `template`: hash of the workers' template that has
    `wanted`; `at_broker`: topics and groups for all of them are there."""
    if not recorded or recorded >= wanted:
        return Partitions(wanted, wanted)
    if paused:
        return Partitions(recorded, recorded)
    told = workers.exists and workers.template == template
    following = wanted if at_broker and told and workers.settled else recorded
    if not at_broker:
        why = "their topics must be at the broker first"
    elif following == wanted:
        why = "all workers know them, and gateways are told now"
    else:
        why = f"workers must know them first: {workers.updated if told else 0} of {workers.wanted} do"
    message = f"gateways make sessions for {recorded} of {wanted} partitions; {why}"
    return Partitions(recorded, following, Finding(RECONCILING, "True", "RaisingPartitions", message))


def together(rolling: Finding | None, raising: Finding | None) -> Finding | None:
    """Gateways may be replaced for another reason meanwhile."""
    if rolling is None or raising is None:
        return rolling or raising
    return Finding(rolling.type, rolling.status, rolling.reason, f"{rolling.message}; {raising.message}")
