"""How many gateways there should be, and which one goes. Pure: what was seen, what is wanted, and the time come in.

`sized` is for workers, too; what they ask for is in `scale_workers`.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from litevoice_contracts.control import GatewayStatus
from litevoice_operator.api.conditions import SCALING_LIMITED
from litevoice_operator.api.scaling import Autoscaling
from litevoice_operator.decide.conditions import Finding
from litevoice_operator.decide.notifications import EventText
from litevoice_operator.observe.pods import Pod

ENOUGH_ANSWERS_PERCENT = 95
"""Below it nothing is removed: whoever does not answer may hold sessions."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one gateway pod says.

    Attributes:
        sessions: None when it did not answer; in_turn: those of them that are in a turn.
        starting: it does not run, so it holds none.
        ending: it is no replica any more.
        draining: it takes no new sessions and empties itself, or is empty; or it was asked to, and is silent.
        empty: its drain is over.
        cordoned: nothing new is scheduled on its node.
        marked: its ReplicaSet removes it before others.
        revision: of its template; outdated: that has changed since.
        max_sessions: as it says; 0 when it did not answer.
        accepting: whether its Service sends new clients to it; None when nothing says so.
        grace_seconds, drain_rate: that its pod may take to end, and sessions that its drain moves in a second at most,
            by the settings it was started with; 0 when they are not known.
    """

    name: str
    ready: bool = True
    sessions: int | None = 0
    in_turn: int = 0
    starting: bool = False
    ending: bool = False
    draining: bool = False
    empty: bool = False
    cordoned: bool = False
    marked: bool = False
    revision: str = ""
    outdated: bool = False
    max_sessions: int = 0
    accepting: bool | None = None
    grace_seconds: int = 0
    drain_rate: int = 0

    @property
    def silent(self) -> bool:
        return self.sessions is None and not (self.starting or self.draining)

    @property
    def leaves(self) -> bool:
        """It is to be replaced, however many are needed."""
        return self.outdated or self.cordoned

    @property
    def holds_none(self) -> bool:
        return self.empty or self.starting

    @property
    def room(self) -> int:
        """For so many sessions, as far as it says so."""
        if self.sessions is None or self.draining or not self.ready:
            return 0
        return max(0, self.max_sessions - self.sessions)


@dataclass(frozen=True, slots=True)
class Wish:
    """How many were asked for, when (seconds, on the clock of `now`)."""

    at: float
    replicas: int


@dataclass(frozen=True, slots=True)
class Size:
    """Attributes:
    replicas: to have from now on.
    sessions: of all gateways that answered.
    wishes: to be passed in again: those that still hold a scale-down up.
    limited: why `replicas` is not what was asked for; None: it is.
    wait_seconds: until the mere passing of time may change the answer; None: it does not.
    """

    replicas: int
    wishes: tuple[Wish, ...]
    limited: Finding | None = None
    wait_seconds: float | None = None
    sessions: int = 0


@dataclass(frozen=True, slots=True)
class Range:
    """What may be chosen from: `noun` says of what, `field` where the bounds are.

    Attributes:
        window_seconds: how long fewer must have been enough before there are fewer.
    """

    low: int
    high: int
    window_seconds: float
    noun: str
    field: str


def asked_for(sessions: int, autoscaling: Autoscaling) -> int:
    """Gateways for so many sessions and the room kept free, without bounds.

    950 sessions at 100 each with a buffer of 10 % are 1,045 sessions: 11 gateways.
    """
    room = autoscaling.buffer if autoscaling.buffer is not None else sessions * autoscaling.buffer_percent / 100
    return math.ceil((sessions + room) / autoscaling.sessions_per_pod)


def size(autoscaling: Autoscaling, current: int, pods: Sequence[Load], wishes: Sequence[Wish], now: float) -> Size:
    """`current`: replicas of now; `pods`: all that exist; `wishes`: as returned last time.

    Up at once, by what the known sessions ask for: a lower bound, so silence never keeps it down. Down only to the most
    that was asked for within the stabilization window, and only when nearly everybody has answered and nobody is still
    starting.
    """
    sessions = sum(pod.sessions or 0 for pod in pods)
    asked = asked_for(sessions, autoscaling)
    window = autoscaling.scale_down.stabilization_seconds
    within = Range(autoscaling.min_replicas, autoscaling.max_replicas, window, "gateways", "autoscaling")
    why = f"{sessions} sessions ask for {asked} gateways"
    return replace(sized(asked, why, within, current, _held(pods, current), wishes, now), sessions=sessions)


def sized(
    asked: int, why: str, within: Range, current: int, held: Finding | None, wishes: Sequence[Wish], now: float
) -> Size:
    """`why`: so many are asked for; `held`: why none may be removed now."""
    low, high, window = within.low, within.high, within.window_seconds
    wanted = min(high, max(low, asked))
    kept = tuple(wish for wish in wishes if now - wish.at < window and wish.replicas > wanted)
    kept = (*kept, Wish(now, wanted))
    if wanted >= current:
        if asked > high:
            return Size(wanted, kept, limited("AtMaximum", f"{why}, {within.field}.maxReplicas is {high}"))
        return Size(wanted, kept)
    if current > high:  # whoever lowers the bound has decided
        return Size(high, kept, limited("AtMaximum", f"{within.field}.maxReplicas is {high}"))
    if held is not None:
        return Size(current, kept, held)
    highest = max(kept, key=lambda wish: (wish.replicas, wish.at))
    if highest.replicas >= current:
        left = window - (now - highest.at)
        ago = now - highest.at
        message = f"{highest.replicas} {within.noun} were needed {ago:.0f} s ago; scales down in {left:.0f} s"
        return Size(current, kept, limited("Stabilizing", message), left)
    target = max(highest.replicas, wanted)
    if target == wanted == low and asked < low:
        return Size(target, kept, limited("AtMinimum", f"{why}, {within.field}.minReplicas is {low}"))
    wait = window - (now - highest.at) if target > wanted else None
    return Size(target, kept, wait_seconds=wait)


def limited(reason: str, message: str) -> Finding:
    return Finding(SCALING_LIMITED, "True", reason, message)


def _held(pods: Sequence[Load], current: int) -> Finding | None:
    """Why nothing may be removed now."""
    starting = current - sum(pod.ready or pod.draining for pod in pods if not pod.ending)
    silent = [pod.name for pod in pods if pod.silent]
    if len(silent) * 100 > len(pods) * (100 - ENOUGH_ANSWERS_PERCENT):
        named = ", ".join(sorted(silent)[:3])
        message = f"{len(silent)} of {len(pods)} gateways do not say how many sessions they hold: {named}"
        return limited("PodsSilent", message)
    if starting > 0:
        return limited("Starting", f"{starting} of {current} gateways are not ready")
    return None


def victims(pods: Sequence[Load], count: int) -> list[str]:
    """Names of the `count` gateways that cost least to remove, cheapest first.

    What is drained already; what was chosen before (a choice stands, though another has fewer sessions by now); what
    has to leave its cordoned node anyway; then the one with the fewest sessions in a turn, which a move would delay,
    then with the fewest sessions. Whoever does not say what it holds goes last.
    """
    return [pod.name for pod in sorted(pods, key=_cost)[: max(0, count)]]


def _cost(pod: Load) -> tuple[bool, bool, bool, bool, int, int, str]:
    return not pod.draining, pod.silent, not pod.marked, not pod.cordoned, pod.in_turn, pod.sessions or 0, pod.name


def loads(
    pods: Iterable[Pod],
    answers: Mapping[str, GatewayStatus],
    asked: Container[str] = frozenset(),
    newest: str = "",
    cordoned: Container[str] = frozenset(),
) -> list[Load]:
    """Of the gateway pods that exist; `answers` by pod name; `asked`: those that were told to drain; `newest`: revision
    of the current template; "" when nobody knows. `cordoned`: names of nodes."""
    found = []
    for pod in pods:
        if pod.component != "gateway":
            continue
        answer = answers.get(pod.name)
        found.append(
            Load(
                pod.name,
                ready=pod.ready,
                sessions=answer.sessions if answer else None,
                in_turn=answer.in_turn if answer else 0,
                starting=pod.starting or not pod.node or (answer is None and bool(pod.trouble)),
                ending=pod.terminating,
                draining=answer.drain.state != "none" if answer else pod.name in asked,
                empty=answer is not None and answer.drain.state == "drained",
                cordoned=pod.node in cordoned,
                marked=pod.goes_first,
                revision=pod.revision,
                outdated=bool(newest) and pod.revision != newest,
                max_sessions=answer.max_sessions if answer else 0,
                accepting=pod.accepting,
                grace_seconds=pod.grace_seconds,
                drain_rate=answer.drain_rate_per_second if answer else 0,
            )
        )
    return found


def scaling_finding(size: Size | None) -> Finding:
    """`size`: None without `autoscaling`."""
    if size is None:
        return Finding(SCALING_LIMITED, "False", "ScaledByOthers", "spec.replicas decides")
    return size.limited or Finding(
        SCALING_LIMITED, "False", "AsSessionsAsk", f"{size.replicas} gateways are enough for all sessions"
    )


def scaled_event(before: int, size: Size) -> EventText | None:
    """None when nothing changes, and for a fleet that was not there before."""
    if before in (0, size.replicas):
        return None
    message = f"from {before} to {size.replicas} gateways for {size.sessions} sessions"
    return EventText("Normal", "ScaledUp" if size.replicas > before else "ScaledDown", message)
