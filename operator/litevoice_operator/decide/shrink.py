"""How a fleet gets from the pods that it has to those that it should have: who goes is marked, drained, empty, and only
then the replicas of its ReplicaSet fall. Pure.

Among its pods a ReplicaSet removes first what is not ready, and of those what is marked: a gateway that drains is both.
There is one ReplicaSet for each revision of the template; the newest one makes what is missing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from litevoice_contracts.control import DrainReport
from litevoice_operator.api.conditions import SCALING_LIMITED
from litevoice_operator.api.times import from_text
from litevoice_operator.api.voice_gateway_status import LastDrain
from litevoice_operator.decide.conditions import Finding
from litevoice_operator.decide.notifications import EventText
from litevoice_operator.decide.rollout import Batch
from litevoice_operator.decide.scale import Load, victims


@dataclass(frozen=True, slots=True)
class Mark:
    """Let the ReplicaSet remove this pod before others, or no more before others."""

    pod: str
    goes_first: bool


@dataclass(frozen=True, slots=True)
class Sets:
    """The ReplicaSets: revision → pods that it is to have. `newest`: the revision of the current template, which may
    not have one yet."""

    replicas: Mapping[str, int]
    newest: str


@dataclass(frozen=True, slots=True)
class Shrink:
    """Attributes:
    replicas: by revision, to have from now on; the newest among them.
    desired: gateways that there are to be, without those that replace others.
    marks: to be written before anything else.
    drain: to be told to drain; take_back: to be told that they stay after all.
    gone: empty, or their time is over: the replicas fall by these.
    waits: why there are more than wanted.
    """

    replicas: Mapping[str, int]
    desired: int
    marks: tuple[Mark, ...] = ()
    drain: tuple[str, ...] = ()
    take_back: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    waits: Finding | None = None


@dataclass(slots=True)
class _Steps:
    marks: list[Mark] = field(default_factory=list)
    drain: list[str] = field(default_factory=list)
    take_back: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    left: list[Load] = field(default_factory=list)


def shrink(
    pods: Sequence[Load],
    sets: Sets,
    batch: Batch,
    current: int,
    wanted: int,
    asked: Mapping[str, float],
    limit_seconds: float,
    now: float,
) -> Shrink:
    """From `current` to `wanted` gateways, or the way back; `batch`: those that are replaced meanwhile. `asked`: who
    was told to drain, and when; after its own `grace_seconds` nobody is waited for (`limit_seconds`: of who has none).

    How many go is counted in pods, not replicas: between a smaller number and the ReplicaSet's answer to it, who was
    chosen stays chosen.
    """
    staying = [pod for pod in pods if not pod.ending]
    new = [pod for pod in staying if not pod.leaves]
    surplus = victims(new, len(new) - batch.newest)
    chosen = {*batch.going, *surplus}
    steps, replicas = _Steps(), {}
    for revision in dict.fromkeys((*sets.replicas, sets.newest)):
        own = [pod for pod in staying if pod.revision == revision]
        going = [pod for pod in own if pod.name in chosen]
        gone = [pod for pod in going if pod.marked and (pod.holds_none or _overdue(pod, asked, limit_seconds, now))]
        if revision == sets.newest:
            without = batch.newest + sum(pod.leaves for pod in own if pod not in going)
        else:
            without = len(own) - len(going)
        before = sets.replicas.get(revision, 0)
        replicas[revision] = _replicas(own, going, gone, without, before)
        _tell(own, going, gone, replicas[revision], before, steps)
    desired = wanted
    if wanted < current:
        desired = min(current, max(wanted, len(staying) - len(steps.gone)))
    waiting = [pod for pod in steps.left if not pod.leaves]
    return Shrink(
        replicas,
        desired,
        tuple(steps.marks),
        tuple(steps.drain),
        tuple(steps.take_back),
        tuple(steps.gone),
        _waits(waiting, wanted) if desired > wanted else None,
    )


def _replicas(own: Sequence[Load], going: Sequence[Load], gone: Sequence[Load], without: int, before: int) -> int:
    """Of one ReplicaSet, which has `before`; `without` those that go."""
    left = len(going) - len(gone)
    number = without + left
    if without <= before:
        number = min(number, before)
    if gone:
        number = min(number, len(own) - len(gone))
    # A ReplicaSet does not tell those that it may remove from those that drain, or have just stopped to.
    unclear = any(pod.marked and not pod.ready and pod not in gone for pod in own)
    return before if number < before and unclear else number


def _tell(
    own: Sequence[Load], going: Sequence[Load], gone: Sequence[Load], replicas: int, before: int, steps: _Steps
) -> None:
    back = [pod for pod in own if pod not in going and pod.marked]
    left = [pod for pod in going if pod not in gone]
    settled = len(own) <= replicas  # or the ReplicaSet is about to remove some: until then nobody is told anything
    steps.marks += [Mark(pod.name, True) for pod in going if not pod.marked]
    steps.marks += [Mark(pod.name, False) for pod in back if not pod.draining]
    steps.drain += [pod.name for pod in left if settled and pod.marked and not pod.draining]
    steps.take_back += [pod.name for pod in back if settled and pod.draining]
    steps.gone += [pod.name for pod in gone if replicas < before]
    steps.left += left


def _overdue(pod: Load, asked: Mapping[str, float], limit_seconds: float, now: float) -> bool:
    return pod.name in asked and now - asked[pod.name] >= (pod.grace_seconds or limit_seconds)


def _waits(left: Sequence[Load], wanted: int) -> Finding:
    if not left:
        message = f"{wanted} gateways are enough; the others go once those that stay after all are ready again"
        return Finding(SCALING_LIMITED, "True", "Draining", message)
    named = ", ".join(
        f"{pod.name} ({'silent' if pod.sessions is None else f'{pod.sessions} sessions'})" for pod in left[:3]
    )
    message = f"{wanted} gateways are enough; {len(left)} more drain first: {named}"
    return Finding(SCALING_LIMITED, "True", "Draining", message)


def draining_event(pod: str, report: DrainReport, why: str) -> EventText:
    return EventText("Normal", "Draining", f"{pod}: its {report.sessions} sessions go; {why}")


def taken_back_event(pod: str, report: DrainReport) -> EventText:
    gone = report.moved + report.completed + report.forced
    return EventText("Normal", "DrainTakenBack", f"{pod} stays: it is needed again; {gone} sessions had left it")


def drained_event(pod: str, report: DrainReport | None) -> EventText:
    """`report`: None when it was not heard of until its time was over."""
    once = f"drained {pod}", report.started_at + report.duration_seconds if report is not None else 0.0
    if report is None:
        message = f"{pod} did not say until its drain had to be over that it is empty; it ends now, with what it holds"
        return EventText("Warning", "DrainUnanswered", message, once)
    message = f"{pod} is empty after {report.duration_seconds:.1f} s: {_counted(report)}"
    if report.forced or report.lost_packets:
        return EventText("Warning", "SessionsForced", message, once)
    return EventText("Normal", "Drained", message, once)


def forced_events(
    drains: Iterable[LastDrain], recorded: Iterable[LastDrain | None], told: Collection[str]
) -> list[EventText]:
    """Of gateways that have ended since the status was written (`recorded`: as it was), whoever ended them: those that
    have cut or lost something. `told`: pods of which `drained_event` has said so."""
    known = {(drain.pod, drain.finished_at) for drain in recorded if drain}
    return [
        EventText(
            "Warning",
            "SessionsForced",
            f"{drain.pod} has ended after a drain of {drain.duration_seconds:.1f} s: {_counted(drain)}",
            (f"forced {drain.pod}", from_text(drain.finished_at) or 0.0),
        )
        for drain in drains
        if (drain.forced or drain.lost_packets)
        and (drain.pod, drain.finished_at) not in known
        and drain.pod not in told
    ]


def _counted(drain: DrainReport | LastDrain) -> str:
    return f"{drain.moved} moved, {drain.completed} ended, {drain.forced} cut, {drain.lost_packets} packets lost"
