"""The judge must see planted loss, doubling, a wrong victim, a gap that is too long, and who was cut too early."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from litevoice_dev.chaos.checker import Judged, judge_call
from litevoice_dev.chaos.records import Asked, Call, Cut, Seen
from litevoice_dev.fleet.judge import Verdict, cut_early, judge, moved_too_often, moves_of, usual_between, wrong_victims
from litevoice_dev.fleet.records import PodSeen, Sample, Stay, Step
from tests.unit.dev.chaos.test_checker import log, requests, spoken

QUIET = (0.0, 100.0)
DOWN = Step("scale-down", "scale-down to 1 (1)", 100.0, 200.0)
LIMIT_SECONDS = 60.0


def pod(name: str, sessions: int | None, in_turn: int = 0, **changes: Any) -> PodSeen:
    plain = PodSeen(name, "node-1", "new", ready=True, going=False, cordoned=False, sessions=sessions, in_turn=in_turn)
    return replace(plain, **changes)


def story(*pods: PodSeen, goes: str = "", at: float = 120.0, seconds: int = 12) -> list[Sample]:
    """The same every second until `at`; from then on `goes` goes."""
    before = [Sample(at - seconds + second, pods) for second in range(seconds)]
    after = tuple(replace(one, going=True, ready=False) if one.name == goes else one for one in pods)
    return [*before, Sample(at, after), Sample(at + 20, tuple(one for one in after if one.name != goes))]


def moved(at: float = 121.0, back: float = 121.3, waits: bool = True, code: int | None = 1012) -> Call:
    """Asked at 120 and answered at 125, in a connection that is cut and made again; and one undisturbed question."""
    call = Call(1, False, session_id="s_1")
    times = [11.0, 12.0, 13.0, 14.0, 15.0, 120.5, back, 122.0, 123.0, 124.0, 125.0]
    call.seen = [Seen(0.0, 1, "", "session.created"), *(Seen(time, 1, "evt_1_0", "something") for time in times)]
    call.asked = [Asked(0, 10.0, done_at=15.0)] + ([Asked(1, 120.0, done_at=125.0)] if waits else [])
    call.cuts = [Cut(at, code, 0)]
    return call


def run(
    judged: Judged | None = None,
    calls: Sequence[Call] = (),
    stays: Sequence[Stay] = (),
    samples: Sequence[Sample] | None = None,
    steps: Sequence[Step] = (DOWN,),
    gaps_decide: bool = True,
) -> Verdict:
    if judged is None:
        judged = judge_call(spoken(), spoken(), requests(), log())
    if samples is None:
        samples = story(pod("g-1", 50), pod("g-2", 10), goes="g-2")
    return judge(judged, calls or [moved()], stays, samples, steps, LIMIT_SECONDS, QUIET, gaps_decide=gaps_decide)


def whats(verdict: Verdict) -> list[str]:
    return [finding.what for finding in verdict.findings]


def test_a_run_without_a_flaw_is_good() -> None:
    stays = [Stay(0, 0.0, 150.0, hung_up=True), Stay(1, 90.0, 185.0, hung_up=False, code=1012)]
    samples = [*story(pod("g-1", 50), pod("g-2", 10), goes="g-2"), Sample(185.0, (pod("g-2", 1, going=True),))]
    verdict = run(stays=stays, samples=samples)
    assert (verdict.findings, verdict.good, verdict.victims) == ([], True, 1)
    assert [move.seconds for move in verdict.moves] == [0.0]


def test_planted_loss_and_doubling_are_told() -> None:
    up = requests()
    lost = judge_call(spoken(), spoken(), [*up[:20], *up[21:]], log())
    assert whats(run(lost)) == ["lost"]
    doubled = judge_call(spoken(), spoken(), [*up, {**up[20], "seq": 500}], log())
    assert whats(run(doubled)) == ["doubled"]
    swapped = judge_call(spoken(), spoken(), [*up[:20], up[21], up[20], *up[22:]], log())
    assert whats(run(swapped)) == ["reordered"]


def test_nothing_compared_is_not_nothing_lost() -> None:
    assert whats(run(Judged())) == ["missing"]


VICTIMS: list[tuple[str, tuple[PodSeen, ...], str, list[str]]] = [
    ("the one with the fewest sessions", (pod("g-1", 50), pod("g-2", 10)), "g-2", []),
    ("the other one", (pod("g-1", 50), pod("g-2", 10)), "g-1", ["wrong victim"]),
    ("fewest in a turn counts first", (pod("g-1", 50, 1), pod("g-2", 10, 9)), "g-1", []),
    ("and not the sessions", (pod("g-1", 50, 1), pod("g-2", 10, 9)), "g-2", ["wrong victim"]),
    ("its node is cordoned", (pod("g-1", 50, cordoned=True), pod("g-2", 10)), "g-1", []),
    ("a cordoned one is left", (pod("g-1", 50, cordoned=True), pod("g-2", 10)), "g-2", ["wrong victim"]),
    ("of equal ones either", (pod("g-1", 10), pod("g-2", 10)), "g-1", []),
    ("who does not say what it holds is not cheaper", (pod("g-1", 50), pod("g-2", None)), "g-1", []),
    ("of another version", (pod("g-1", 50), pod("g-2", 0, revision="newer")), "g-1", []),
    ("not ready", (pod("g-1", 50), pod("g-2", 0, ready=False)), "g-1", []),
    ("nobody", (pod("g-1", 50), pod("g-2", 10)), "", ["missing"]),
]  # fmt: skip


@pytest.mark.parametrize(("description", "pods", "goes", "expected"), VICTIMS, ids=[row[0] for row in VICTIMS])
def test_victims(description: str, pods: tuple[PodSeen, ...], goes: str, expected: list[str]) -> None:
    assert [finding.what for finding in wrong_victims(story(*pods, goes=goes), [DOWN])[1]] == expected


def test_who_was_cheaper_only_for_a_moment_is_no_mistake() -> None:
    samples = story(pod("g-1", 50), pod("g-2", 10), goes="g-1")
    samples[8] = Sample(samples[8].at, (pod("g-1", 5), pod("g-2", 10)))
    assert wrong_victims(samples, [DOWN])[1] == []


def test_marks_that_are_written_one_by_one_are_one_choice() -> None:
    pods = (pod("g-1", 50), pod("g-2", 20), pod("g-3", 10))
    samples = story(*pods, goes="g-2")[:-1]
    both = tuple(one if one.name == "g-1" else replace(one, going=True) for one in pods)
    assert whats(run(samples=[*samples, Sample(122.0, both)])) == []
    assert whats(run(samples=[*samples, Sample(126.0, both)])) == ["wrong victim"]


def test_nobody_looked() -> None:
    samples = story(pod("g-1", 50), pod("g-2", 10), goes="g-2", seconds=2)
    assert whats(run(samples=samples)) == ["missing"]


def test_who_was_killed_or_went_before_was_not_chosen() -> None:
    killed = replace(DOWN, kind="node-drain", struck=frozenset({"g-1"}))
    samples = story(pod("g-1", 50), pod("g-2", 10), goes="g-1")
    assert [finding.what for finding in wrong_victims(samples, [killed])[1]] == ["missing"]
    assert [finding.what for finding in wrong_victims(samples, [replace(DOWN, began=121.0)])[1]] == ["missing"]
    assert wrong_victims(samples, [replace(DOWN, kind="pod-kill")]) == (0, [])


GAPS: list[tuple[str, Call, Step, list[float]]] = [
    ("as usual", moved(), DOWN, [0.0]),
    ("a second more than usual", moved(back=122.5), DOWN, [1.0]),
    ("nobody waited", moved(back=131.0, waits=False), DOWN, [0.0]),
    ("not said goodbye to", moved(code=None), DOWN, []),
    ("not planned", moved(), replace(DOWN, kind="pod-kill"), []),
    ("outside", moved(), replace(DOWN, began=130.0), []),
]


@pytest.mark.parametrize(("description", "call", "step", "seconds"), GAPS, ids=[row[0] for row in GAPS])
def test_gaps_of_planned_moves(description: str, call: Call, step: Step, seconds: list[float]) -> None:
    call.seen = [seen for seen in call.seen if seen.at != 122.0]
    usual = usual_between([call], *QUIET)
    assert (usual.first, usual.later) == (1.0, 1.0)
    assert [move.seconds for move in moves_of([call], [step], usual)] == pytest.approx(seconds)


def test_a_gap_that_is_too_long_is_told() -> None:
    late = moved(back=124.9)
    late.seen = [seen for seen in late.seen if not 121.0 < seen.at < 124.5]
    assert whats(run(calls=[late])) == ["gap"]
    assert "3.40 s" in str(run(calls=[late]).findings[0])
    brief = run(calls=[late], gaps_decide=False)
    assert brief.good, "told, not judged"
    assert brief.seconds("scale-down") == pytest.approx([3.4])


ROLL = Step("rollout", "rollout (1)", 100.0, 200.0)


@pytest.mark.parametrize(("times", "expected"), [(10, []), (11, []), (12, ["moved again"])])
def test_moves_per_session_of_a_rollout(times: int, expected: list[str]) -> None:
    calls = [moved() for _ in range(10)]
    for call in calls[: times - 10]:
        call.cuts.append(Cut(130.0, 1012, 0))
    per_session, findings = moved_too_often(calls, [ROLL])
    assert per_session == [times / 10]
    assert [finding.what for finding in findings] == expected


def test_a_rollout_in_which_nobody_was_moved_was_none() -> None:
    assert [finding.what for finding in moved_too_often([moved(at=50.0)], [ROLL, DOWN])[1]] == ["missing"]


def going(since: float, until: float) -> list[Sample]:
    return [Sample(float(at), (pod("g-1", 5, going=since <= at <= until),)) for at in range(90, 201, 2)]


STAYS: list[tuple[str, Stay, list[Sample], Step, bool]] = [
    ("hung up", Stay(0, 0.0, 120.0, hung_up=True), going(110, 190), DOWN, True),
    ("at the limit", Stay(0, 0.0, 170.0, hung_up=False, code=1012), going(110, 190), DOWN, True),
    ("before it", Stay(0, 0.0, 160.0, hung_up=False, code=1012), going(110, 190), DOWN, False),
    ("nobody drained", Stay(0, 0.0, 170.0, hung_up=False, code=1012), going(300, 300), DOWN, False),
    ("the drain was over long ago", Stay(0, 0.0, 190.0, hung_up=False), going(100, 170), DOWN, False),
    ("its gateway was killed", Stay(0, 0.0, 150.0, hung_up=False), going(300, 300),
     replace(DOWN, kind="pod-kill"), True),
    ("the operator was away: no reason", Stay(0, 0.0, 150.0, hung_up=False), going(300, 300),
     replace(DOWN, kind="operator-away"), False),
]  # fmt: skip


@pytest.mark.parametrize(("description", "stay", "samples", "step", "fine"), STAYS, ids=[row[0] for row in STAYS])
def test_who_cannot_come_back_is_not_cut_before_the_limit(
    description: str, stay: Stay, samples: list[Sample], step: Step, fine: bool
) -> None:
    found = cut_early([stay], samples, [step], LIMIT_SECONDS)
    assert [finding.what for finding in found] == ([] if fine else ["cut early"])


def test_a_drain_that_was_taken_back_begins_anew() -> None:
    samples = [*going(110, 130), *(Sample(float(at), (pod("g-1", 5, going=True),)) for at in range(210, 240))]
    stay = Stay(0, 0.0, 235.0, hung_up=False, code=1012)
    assert [finding.what for finding in cut_early([stay], samples, [DOWN], LIMIT_SECONDS)] == ["cut early"]


def test_what_did_not_come_about_is_told() -> None:
    verdict = run(steps=[DOWN, Step("api-away", "api-away (1)", 210.0, 220.0, problem="not ready within 300 s")])
    assert [str(finding) for finding in verdict.findings] == ["missing: api-away (1): not ready within 300 s"]
