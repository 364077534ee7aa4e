"""Judges a fleet's run: who was moved, whether it was the right one, what its callers noticed. Pure.

Packets, events and answers are `chaos.checker`'s; here is what only a fleet has.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from litevoice_dev.chaos.checker import Finding, Judged
from litevoice_dev.chaos.gaps import Silence, Usual, quantile, silences
from litevoice_dev.chaos.records import Call
from litevoice_dev.fleet.records import STRIKING, PodSeen, Sample, Stay, Step

GAP_SECONDS = 0.5
"""p99 of what a planned move may cost somebody who waits for an answer, beyond the usual."""
MOVES_PER_SESSION = 1.1
"""In a rollout: who was moved to a gateway that goes, too, is moved again."""
WINDOW_SECONDS = 8.0
"""Before somebody is seen to go: the operator has looked at the fleet within it."""
FEWEST_SAMPLES = 3
TOGETHER_SECONDS = 4.0
"""Who is seen to go so soon after another was chosen together with it: marks are written one by one."""
SLACK_SECONDS = 3.0
"""Between what a pod does and what the watcher has seen of it."""


@dataclass(frozen=True, slots=True)
class Move:
    """What being moved has cost one caller, who waited for an answer or not (0)."""

    kind: str
    at: float
    seconds: float


@dataclass(slots=True)
class Verdict:
    """Attributes:
    judged: all calls that were audited, added up.
    victims: pods that were chosen to go, and whose choice was judged.
    per_session: moves per session, by rollout.
    """

    judged: Judged
    moves: Sequence[Move]
    victims: int
    per_session: Sequence[float]
    findings: list[Finding] = field(default_factory=list)

    def seconds(self, kind: str) -> list[float]:
        return [move.seconds for move in self.moves if move.kind == kind]

    @property
    def good(self) -> bool:
        return not self.findings


def judge(
    judged: Judged,
    calls: Sequence[Call],
    stays: Sequence[Stay],
    samples: Sequence[Sample],
    steps: Sequence[Step],
    limit_seconds: float,
    quiet: tuple[float, float],
    *,
    gaps_decide: bool = True,
) -> Verdict:
    """Args:
    judged: what `chaos.checker` says of the calls.
    limit_seconds: how long somebody who cannot come back may stay on a gateway that drains.
    quiet: from when to when nothing was done: what is usual there is no gap elsewhere.
    gaps_decide: False for a run of minutes, beside others: a few moves have no p99.
    """
    usual = usual_between(calls, *quiet)
    moves = moves_of(calls, steps, usual)
    victims, wrong = wrong_victims(samples, steps)
    per_session, too_often = moved_too_often(calls, steps)
    findings = [
        *judged.findings,
        *wrong,
        *too_often,
        *(too_long(moves) if gaps_decide else ()),
        *cut_early(stays, samples, steps, limit_seconds),
    ]
    findings += [Finding("missing", step.what, step.problem) for step in steps if step.problem]
    if not judged.packets or not judged.events:
        findings.append(
            Finding("missing", "audit", f"{judged.packets} packets and {judged.events} events were compared")
        )
    return Verdict(judged, moves, victims, per_session, findings)


def usual_between(calls: Iterable[Call], began: float, ended: float) -> Usual:
    """Silences that 99 of 100 do not exceed while nothing is done: before an answer, and within one."""
    quiet = [
        silence
        for call in calls
        for silence in silences(call, ended)
        if began <= silence.began and silence.ended <= ended
    ]
    first, later = ([s.seconds for s in quiet if s.first == first] for first in (True, False))
    return Usual(quantile(first, 0.99), quantile(later, 0.99))


def moves_of(calls: Iterable[Call], steps: Sequence[Step], usual: Usual) -> list[Move]:
    """Every connection that a gateway said goodbye to in a planned step."""
    found = []
    for call in calls:
        waited: list[Silence] | None = None
        for cut in call.cuts:
            step = next((one for one in steps if one.planned and one.began <= cut.at <= one.ended), None)
            if step is None or not cut.planned:
                continue
            if waited is None:
                waited = silences(call, steps[-1].ended)
            around = [usual.excess(silence) for silence in waited if silence.began <= cut.at <= silence.ended]
            found.append(Move(step.kind, cut.at, max(around, default=0.0)))
    return found


def too_long(moves: Sequence[Move]) -> list[Finding]:
    found = []
    for kind in dict.fromkeys(move.kind for move in moves):
        p99 = quantile((move.seconds for move in moves if move.kind == kind), 0.99)
        if p99 > GAP_SECONDS:
            found.append(Finding("gap", kind, f"p99 of planned moves is {p99:.2f} s, at most {GAP_SECONDS:g} s"))
    return found


def moved_too_often(calls: Sequence[Call], steps: Iterable[Step]) -> tuple[list[float], list[Finding]]:
    """Moves per session that was there all the time, for each rollout."""
    found, findings = [], []
    for step in steps:
        if step.kind != "rollout":
            continue
        times = [
            sum(cut.planned and step.began <= cut.at <= step.ended for cut in call.cuts)
            for call in calls
            if call.seen
            and call.seen[0].at < step.began
            and any(step.began <= cut.at <= step.ended for cut in call.cuts)
        ]
        if not times:
            findings.append(Finding("missing", step.what, "no session was moved in it"))
            continue
        found.append(sum(times) / len(times))
        if found[-1] > MOVES_PER_SESSION:
            findings.append(
                Finding("moved again", step.what, f"{found[-1]:.2f} moves per session, at most {MOVES_PER_SESSION:g}")
            )
    return found, findings


def wrong_victims(samples: Sequence[Sample], steps: Iterable[Step]) -> tuple[int, list[Finding]]:
    """How many choices were judged, and those that were wrong: some other gateway of the same version would have been
    cheaper to remove whenever it was looked at before."""
    count, findings = 0, []
    for step in steps:
        if step.kind not in ("scale-down", "rollout", "node-drain"):
            continue
        went = _first_seen_going(samples, step)
        if not went:
            findings.append(Finding("missing", step.what, "no gateway was seen to go"))
        for sample, chosen in went:
            before = [one for one in samples if sample.at - WINDOW_SECONDS <= one.at < sample.at]
            if len(before) < FEWEST_SAMPLES:
                findings.append(Finding("missing", step.what, f"nobody looked before {', '.join(sorted(chosen))} went"))
                continue
            count += len(chosen)
            soon = [one for one in samples if sample.at <= one.at <= sample.at + TOGETHER_SECONDS]
            stay = {pod.name for pod in sample.pods} - {pod.name for one in soon for pod in one.pods if pod.going}
            for one, other in itertools.product(sorted(chosen), sorted(stay)):
                if _always_cheaper(other, one, before):
                    findings.append(Finding("wrong victim", step.what, _compared(one, other, before[-1])))
    return count, findings


def _first_seen_going(samples: Sequence[Sample], step: Step) -> list[tuple[Sample, set[str]]]:
    """Samples of the step in which pods go that did not in the one before."""
    found, before = [], set[str]()
    for sample in samples:
        going = {pod.name for pod in sample.pods if pod.going}
        chosen = going - before - step.struck
        if step.began <= sample.at <= step.ended and chosen:
            found.append((sample, chosen))
        before |= going
    return found


def _always_cheaper(other: str, chosen: str, samples: Sequence[Sample]) -> bool:
    """Of two that could have gone, in every sample that has both; there must be some, and both must have answered."""
    compared = 0
    for sample in samples:
        pods = {pod.name: pod for pod in sample.pods}
        if other not in pods or chosen not in pods:
            continue
        one, rest = pods[chosen], pods[other]
        if one.revision != rest.revision or one.sessions is None or rest.sessions is None or not rest.ready:
            return False
        if _cost(rest) >= _cost(one):
            return False
        compared += 1
    return compared >= FEWEST_SAMPLES


def _cost(pod: PodSeen) -> tuple[bool, int, int]:
    """As `decide.scale` orders them: what its cordoned node gives up anyway, then fewest in a turn, then fewest."""
    return not pod.cordoned, pod.in_turn, pod.sessions or 0


def _compared(chosen: str, other: str, sample: Sample) -> str:
    said = {pod.name: f"{pod.name} ({pod.in_turn} of {pod.sessions} sessions in a turn"
            f"{', cordoned' if pod.cordoned else ''})" for pod in sample.pods}  # fmt: skip
    return f"{said.get(chosen, chosen)} went, {said.get(other, other)} stayed"


def cut_early(
    stays: Iterable[Stay], samples: Sequence[Sample], steps: Sequence[Step], limit_seconds: float
) -> list[Finding]:
    """Calls of people who cannot come back that were ended by a gateway, although none had drained for so long, and
    nothing was struck that took it along."""
    drains = _drains(samples)
    found = []
    for stay in stays:
        if stay.hung_up:
            continue
        if any(step.kind in STRIKING and step.began <= stay.ended <= step.ended + SLACK_SECONDS for step in steps):
            continue
        if any(began + limit_seconds - SLACK_SECONDS <= stay.ended <= last + SLACK_SECONDS for began, last in drains):
            continue
        said = f"closed with {stay.code}" if stay.code is not None else "cut off"
        found.append(
            Finding("cut early", f"caller {stay.caller}, who cannot come back",
                    f"{said} after {stay.ended - stay.began:.0f} s; no gateway had drained for {limit_seconds:.0f} s")
        )  # fmt: skip
    return found


def _drains(samples: Iterable[Sample]) -> list[tuple[float, float]]:
    """From when to when each gateway was seen to go; a drain that was taken back and begins again is another one."""
    since: dict[str, tuple[float, float]] = {}
    over: list[tuple[float, float]] = []
    for sample in samples:
        for pod in sample.pods:
            if pod.going:
                since[pod.name] = since.get(pod.name, (sample.at, 0.0))[0], sample.at
            elif pod.name in since:
                over.append(since.pop(pod.name))
    return [*over, *since.values()]
