"""Everything seen of a VoiceGateway in one pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from litevoice_contracts.control import GatewayStatus, WorkerStatus
from litevoice_operator.api.voice_gateway_status import LastDrain
from litevoice_operator.observe.pods import Pod
from litevoice_operator.observe.replica_sets import ReplicaSet, fleet, read_replica_set
from litevoice_operator.observe.rollouts import Rollout, read_rollout


@dataclass(frozen=True, slots=True)
class Observed:
    """Attributes:
    answers: the gateways' own statuses, by pod name; worker_answers: the workers'.
    mount_problems: why pods cannot start, by pod name.
    last_drains: newest reports that gateways left when they ended.
    cordoned: names of nodes on which nothing new is scheduled; None when the operator may not see nodes.
    sets: ReplicaSets of the gateways; newest: revision of the current template, "" when nobody knows.
    listed: pods and ReplicaSets are as the API server listed them in this pass, not as watches said.
    held: the answers are what pods said last, and would have told of a change; nobody was asked in this pass.
    at: when it was seen (monotonic seconds).
    """

    gateways: Rollout = field(default_factory=Rollout)
    workers: Rollout = field(default_factory=Rollout)
    pods: Sequence[Pod] = ()
    answers: Mapping[str, GatewayStatus] = field(default_factory=dict)
    worker_answers: Mapping[str, WorkerStatus] = field(default_factory=dict)
    mount_problems: Mapping[str, str] = field(default_factory=dict)
    last_drains: Sequence[LastDrain] = ()
    cordoned: frozenset[str] | None = None
    sets: Sequence[ReplicaSet] = ()
    newest: str = ""
    listed: bool = True
    held: bool = False
    at: float = 0.0

    @property
    def draining_by_choice(self) -> int:
        """Gateways that are not ready because fewer are enough."""
        return sum(
            pod.goes_first and not (pod.ready or pod.terminating) and self.answers[pod.name].drain.state != "none"
            for pod in self.pods
            if pod.name in self.answers
        )

    def after(self, applied: Iterable[Mapping[str, Any]], desired: int | None = None) -> Observed:
        """The same with Deployment and ReplicaSets as just applied: a changed one is not settled, whatever was seen
        before. `desired`: gateways that there are to be from now on; None: as many as before."""
        bodies = list(applied)
        workers = next((read_rollout(body) for body in bodies if body["kind"] == "Deployment"), self.workers)
        sets = {one.name: one for one in self.sets}
        sets |= {one.name: one for one in map(read_replica_set, (b for b in bodies if b["kind"] == "ReplicaSet"))}
        wanted = self.gateways.wanted if desired is None else desired
        gateways = self.gateways
        if sets and (list(sets.values()) != list(self.sets) or wanted != gateways.wanted):
            gateways = fleet(list(sets.values()), self.newest, wanted)
        return replace(self, gateways=gateways, workers=workers, sets=tuple(sets.values()))
