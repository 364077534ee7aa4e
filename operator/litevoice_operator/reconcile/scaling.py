"""How many gateways a VoiceGateway has, and of which revision: asks `decide.scale`, `decide.rollout`, `decide.shrink`,
and does what they say to pods."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from litevoice_operator.adapters.cluster import POD, ClusterError
from litevoice_operator.api.resolved import Gateway
from litevoice_operator.api.resource import Key
from litevoice_operator.api.voice_gateway_status import MAX_LISTED_DRAINS
from litevoice_operator.decide.conditions import Finding
from litevoice_operator.decide.notifications import EventText
from litevoice_operator.decide.pace import drains
from litevoice_operator.decide.rest import acts
from litevoice_operator.decide.rollout import Batch, rollout
from litevoice_operator.decide.scale import Load, Size, Wish, loads, scaled_event, scaling_finding, size
from litevoice_operator.decide.shrink import Mark, Sets, Shrink, drained_event, draining_event, shrink, taken_back_event
from litevoice_operator.observe.pods import DELETION_COST
from litevoice_operator.observe.voice_gateway import Observed
from litevoice_operator.reconcile.shared import Shared

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Decided:
    """Attributes:
    wanted: gateways that there are to be in the end.
    size: what the sessions ask for; None without `autoscaling`.
    pods: what it was decided from.
    acts: something is to change.
    """

    wanted: int
    size: Size | None
    pods: Sequence[Load]
    batch: Batch
    step: Shrink
    acts: bool


@dataclass(frozen=True, slots=True)
class Scaled:
    """Attributes:
    gateway: with the replicas that the newest revision is to have now.
    size: what the sessions ask for; None without `autoscaling`.
    rolling: what is replaced; None: nothing is.
    pods: what the decisions were made from.
    left_per_second: sessions that others may move meanwhile.
    """

    gateway: Gateway
    size: Size | None
    step: Shrink
    rolling: Finding | None
    pods: Sequence[Load]
    left_per_second: int

    @property
    def finding(self) -> Finding:
        return self.step.waits or scaling_finding(self.size)


def _why(pod: Load, wanted: int) -> str:
    """It is drained."""
    if pod.outdated:
        return "it is of an older version"
    return "its node is cordoned" if pod.cordoned else f"{wanted} gateways are enough"


class Scaling:
    """Of one VoiceGateway. An operator that has just started begins again: with as many gateways as there are, and with
    the marks on the pods."""

    def __init__(self, shared: Shared, key: Key, token: str) -> None:
        self._shared = shared
        self._key = key
        self._token = token
        self._wishes: tuple[Wish, ...] = ()
        self._asked: dict[str, float] = {}
        """Who was told to drain, and when (monotonic seconds)."""
        self._heard: set[str] = set()
        """Those of them that have answered."""
        self._rates: Mapping[str, int] = {}
        """Sessions per second at which they drain."""
        self.told_forced: tuple[str, ...] = ()
        """The latest gateways of which was told that they have cut sessions."""

    def decide(self, gateway: Gateway, observed: Observed) -> Decided:
        """The same for the same, until `scale`."""
        now, current, wanted = observed.at, observed.gateways.current, gateway.spec.replicas
        asked = {pod.name: self._asked[pod.name] for pod in observed.pods if pod.name in self._asked}
        pods = loads(observed.pods, observed.answers, asked, observed.newest, observed.cordoned or ())
        sized = self._size(gateway, current, pods, now)
        if sized is not None:
            wanted = sized.replicas
        sets = Sets({one.revision: one.wanted for one in observed.sets}, observed.newest)
        made = sets.replicas.get(sets.newest, 0)
        may_begin = self._shared.turns.ask(self._key, pods, now)
        batch = rollout(pods, made, wanted, gateway.spec.session.max_per_pod, may_begin=may_begin)
        step = shrink(pods, sets, batch, current, wanted, asked, gateway.spec.drain.grace_seconds, now)
        return Decided(wanted, sized, pods, batch, step, acts(step, sets.replicas, observed.gateways.wanted))

    async def scale(self, gateway: Gateway, observed: Observed, decided: Decided, about: Mapping[str, str]) -> Scaled:
        """Tells pods to drain, or to stay; the replicas are the caller's to write. `about`: reference for Events."""
        now, pods, step, wanted = observed.at, decided.pods, decided.step, decided.wanted
        self._wishes = decided.size.wishes if decided.size is not None else ()
        self._asked = {pod.name: self._asked[pod.name] for pod in observed.pods if pod.name in self._asked}
        self._heard &= self._asked.keys()
        may_mark = all([await self._mark(mark) for mark in step.marks])
        addresses = self._shared.pods.addresses(self._key)
        why = {pod.name: _why(pod, wanted) for pod in pods}
        drained = drains(pods, step.drain, self._rates, gateway.spec)
        self._rates = {**drained.under_way, **drained.rates}
        for pod, rate in drained.rates.items():
            await self._drain(pod, addresses.get(pod, ""), rate, why[pod], now, about)
        for pod in step.take_back:
            await self._take_back(pod, addresses.get(pod, ""), about)
        if not may_mark and not any(pod.leaves for pod in pods):
            # Then the ReplicaSet chooses, and what it removes drains as it ends.
            step = replace(step, replicas={observed.newest: wanted}, desired=wanted)
        spec = gateway.spec.model_copy(update={"replicas": step.replicas[observed.newest]})
        alone = step.desired == 1 and observed.cordoned is not None
        gateway = replace(gateway, spec=spec, alone=alone)
        step = replace(step, waits=drained.noted(step.waits))
        return Scaled(gateway, decided.size, step, drained.noted(decided.batch.finding), pods, drained.left)

    async def tell(self, scaled: Scaled, before: Observed, about: Mapping[str, str]) -> None:
        """What was done."""
        for pod in scaled.step.gone:
            answer = before.answers.get(pod)
            if pod in self._asked or answer is not None:
                report = answer.drain if answer is not None and answer.drain.state == "drained" else None
                drained = drained_event(pod, report)
                if drained.reason == "SessionsForced":
                    self.told_forced = (*self.told_forced[1 - MAX_LISTED_DRAINS :], pod)
                await self._tell(about, drained)
        if scaled.size is not None:
            event = scaled_event(before.gateways.current, replace(scaled.size, replicas=scaled.step.desired))
            if event is not None:
                await self._tell(about, event)

    def _size(self, gateway: Gateway, current: int, pods: Sequence[Load], now: float) -> Size | None:
        autoscaling = gateway.spec.autoscaling
        if autoscaling is None:
            return None
        wishes = self._wishes or ((Wish(now, current),) if current else ())
        return size(autoscaling, current, pods, wishes, now)

    async def _mark(self, mark: Mark) -> bool:
        """False when the operator may not."""
        cost = {DELETION_COST: "-1" if mark.goes_first else None}
        try:
            await self._shared.cluster.patch_metadata(POD, self._key[0], mark.pod, annotations=cost)
        except ClusterError as error:
            _log.warning("gateway not marked", extra={"pod": mark.pod, "error": str(error)})
            return error.status != 403
        return True

    async def _drain(self, pod: str, address: str, rate: int, why: str, now: float, about: Mapping[str, str]) -> None:
        self._asked.setdefault(pod, now)
        report = await self._shared.gateways.drain(address, self._token, rate) if address else None
        if report is not None and pod not in self._heard:
            self._heard.add(pod)
            self._asked[pod] = now  # its time begins now, however often it was told in vain
            await self._tell(about, draining_event(pod, report, why))

    async def _take_back(self, pod: str, address: str, about: Mapping[str, str]) -> None:
        report = await self._shared.gateways.take_drain_back(address, self._token) if address else None
        if report is not None:
            self._asked.pop(pod, None)
            self._heard.discard(pod)
            await self._tell(about, taken_back_event(pod, report))

    async def _tell(self, about: Mapping[str, str], event: EventText) -> None:
        await self._shared.outbox.send(about, event)
