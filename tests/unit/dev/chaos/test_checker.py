"""The judge must see planted loss, doubling, disorder, a wrong answer, a second owner and a turn that was run twice."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from litevoice_dev.chaos.checker import growth, judge_call, lost_in_flight, second_owners, split, total, two_workers
from litevoice_dev.chaos.records import Answer, Asked, Call, Cut, Happened, Owners, Seen, Use

PACKETS = 200
Line = dict[str, Any]


def spoken() -> Call:
    """Two questions and their answers, undisturbed."""
    call = Call(3, True, session_id="s_1")
    call.sent_at = [number * 0.02 for number in range(PACKETS)]
    call.seen = [
        Seen(0.0, 1, "evt_x_x_g1", "session.created"),
        *(Seen(1.0 + position, 1, f"evt_{position}_0", "something") for position in range(8)),
    ]
    call.asked = [Asked(0, 1.0, 0, 90, done_at=4.0), Asked(1, 5.0, 100, 190, done_at=9.0)]
    call.answers = [Answer("r1", 0, "Paris.", "aa", "completed"), Answer("r2", 1, "Seven.", "bb", "completed")]
    return call


def requests() -> list[Line]:
    """Two packets in each envelope, in two epochs."""
    return [
        {"session": "s_1", "epoch": 1 + (first >= 100), "seq": first % 100, "attempt": 0, "marks": [first, first + 1]}
        for first in range(0, PACKETS, 2)
    ]


def log() -> list[Line]:
    """Four positions for each of two turns; the last of each ends the answer."""
    return [
        {
            "position": position,
            "turn": position // 4,
            "attempt": 0,
            "sender": 11,
            "repeated": False,
            "types": ["ResponseFinished" if position % 4 == 3 else "AudioDelta"],
            "visible": True,
            "audio": "",
        }
        for position in range(8)
    ]


def whats(call: Call, up: list[Line], down: list[Line], faults: tuple[Happened, ...] = ()) -> list[str]:
    return [finding.what for finding in judge_call(call, spoken(), up, down, faults).findings]


def test_an_undisturbed_call_is_clean() -> None:
    judged = judge_call(spoken(), spoken(), requests(), log())
    assert (judged.findings, judged.packets, judged.events, judged.answers) == ([], PACKETS, 8, 2)


def lose_a_packet(_call: Call, up: list[Line], _down: list[Line]) -> None:
    del up[20]


def repeat_a_packet_under_another_number(_call: Call, up: list[Line], _down: list[Line]) -> None:
    up.append({**up[20], "seq": 500})


def swap_packets(_call: Call, up: list[Line], _down: list[Line]) -> None:
    up[20], up[21] = up[21], up[20]


def lose_an_event(call: Call, _up: list[Line], _down: list[Line]) -> None:
    del call.seen[4]


def repeat_an_event(call: Call, _up: list[Line], _down: list[Line]) -> None:
    call.seen.insert(5, call.seen[4])


def swap_events(call: Call, _up: list[Line], _down: list[Line]) -> None:
    call.seen[4], call.seen[5] = call.seen[5], call.seen[4]


def change_a_byte_of_the_audio(call: Call, _up: list[Line], _down: list[Line]) -> None:
    call.answers[1].audio = "bc"


def say_something_else(call: Call, _up: list[Line], _down: list[Line]) -> None:
    call.answers[0].text = "Rome."


def fail_an_answer(call: Call, _up: list[Line], _down: list[Line]) -> None:
    call.answers[0].status = "failed"


def never_answer(call: Call, _up: list[Line], _down: list[Line]) -> None:
    call.answers.pop()


def give_up(call: Call, _up: list[Line], _down: list[Line]) -> None:
    call.asked[1].done_at = None
    call.answers.pop()
    call.gave_up = "no answer to question 1 within 60 s"


def never_end_an_answer(call: Call, _up: list[Line], _down: list[Line]) -> None:
    call.answers[1].status = ""


def run_a_finished_turn_again(_call: Call, _up: list[Line], down: list[Line]) -> None:
    down.append({**down[7], "position": 8, "attempt": 1})


def begin_an_answer_twice(call: Call, _up: list[Line], _down: list[Line]) -> None:
    call.asked[1].heard.insert(0, "response.created")


def publish_a_turn_from_two_workers(_call: Call, _up: list[Line], down: list[Line]) -> None:
    down[6] = {**down[6], "sender": 12}


def go_on_with_an_attempt_that_was_given_up(_call: Call, _up: list[Line], down: list[Line]) -> None:
    down[4:6] = [{**line, "attempt": 1, "sender": 12} for line in down[4:6]]


def close_without_a_reason(call: Call, _up: list[Line], _down: list[Line]) -> None:
    call.problems.append("closed with 4001")


def answer_once_more(call: Call, _up: list[Line], _down: list[Line]) -> None:
    call.answers.append(Answer("r3", 1, "Seven.", "bb", "completed"))


@pytest.mark.parametrize(
    ("plant", "found"),
    [
        (lose_a_packet, "lost"),
        (repeat_a_packet_under_another_number, "doubled"),
        (swap_packets, "reordered"),
        (lose_an_event, "lost"),
        (repeat_an_event, "doubled"),
        (swap_events, "reordered"),
        (change_a_byte_of_the_audio, "answer"),
        (say_something_else, "answer"),
        (fail_an_answer, "answer"),
        (never_answer, "missing"),
        (never_end_an_answer, "missing"),
        (give_up, "missing"),
        (run_a_finished_turn_again, "computed twice"),
        (begin_an_answer_twice, "events"),
        (publish_a_turn_from_two_workers, "second owner"),
        (go_on_with_an_attempt_that_was_given_up, "second owner"),
        (close_without_a_reason, "told"),
        (answer_once_more, "doubled"),
    ],
)
def test_what_is_planted_is_found(plant: Callable[[Call, list[Line], list[Line]], None], found: str) -> None:
    call, up, down = spoken(), requests(), log()
    plant(call, up, down)
    assert whats(call, up, down) == [found]


def test_a_question_whose_audio_was_in_flight_may_stay_unanswered() -> None:
    call, up = spoken(), requests()
    give_up(call, up, [])
    call.cuts = [Cut(PACKETS * 0.02, None, sent=PACKETS)]
    assert whats(call, up[: 150 // 2], log()) == []


def test_a_replay_under_its_own_numbers_is_no_doubling() -> None:
    assert whats(spoken(), [*requests()[:60], *requests()[40:]], log()) == []


def test_another_worker_may_begin_a_turn_again_and_one_word_of_the_former_comes_late() -> None:
    down = log()
    down[5:] = [{**line, "attempt": 1, "sender": 12} for line in down[5:]]
    assert whats(spoken(), requests(), down) == []
    down[6] = {**down[6], "attempt": 0, "sender": 11}
    assert [finding.what for finding in two_workers(down, "")] == []


def test_what_is_said_between_two_answers_is_its_newest_owners() -> None:
    down = [line for line in log() if line["turn"] == 0]
    handover = {**down[3], "types": ["Handover"], "visible": False, "sender": 0}
    item = {**down[3], "types": ["ItemCreated"], "sender": 12}
    assert two_workers([*down, handover, item], "") == []
    assert two_workers([*down, item], "") == [], "the one before was cut off"
    back = {**item, "sender": down[3]["sender"]}
    assert [one.what for one in two_workers([*down, item, back], "")] == ["second owner"], "it has not left"
    assert two_workers([*down, item, handover, back], "") == []
    begun = [{**line, "types": ["ResponseStarted"]} if line is down[0] else line for line in down[:2]]
    said = [one.what for one in two_workers([*begun, handover, {**down[2], "sender": 12}], "")]
    assert said == ["second owner"], "its answer is under way"


def typed(*answers: Answer, resent: bool = False) -> Call:
    call = Call(4, False, session_id="s_1", answers=list(answers), asked=[Asked(0, 1.0, resent=resent, done_at=2.0)])
    call.seen = [Seen(1.0 + position, 1, f"evt_{position}_0", "something") for position in range(8)]
    return call


def test_a_typed_question_that_was_sent_again_may_be_answered_twice() -> None:
    one, two = Answer("r1", 0, "Seven.", "", "completed"), Answer("r2", 0, "Seven.", "", "completed")
    control = typed(one)
    for call, found in ((typed(one), []), (typed(one, two, resent=True), []), (typed(one, two), ["doubled"])):
        assert [finding.what for finding in judge_call(call, control, [], log()).findings] == found


@pytest.mark.parametrize(
    ("description", "code", "missing", "in_flight"),
    [
        ("the last ones that went into it", None, range(150, 161), range(150, 161)),
        ("a hole before them is loss", None, [140, *range(150, 161)], range(150, 161)),
        ("what the broker had time to confirm is loss", None, range(30, 161), range(49, 161)),
        ("after a goodbye nothing may be missing", 1012, range(150, 161), []),
        ("what was sent over the next connection", None, range(161, 170), []),
    ],
)
def test_only_what_a_cut_connection_took_was_in_flight(
    description: str, code: int | None, missing: list[int], in_flight: list[int]
) -> None:
    call = spoken()
    call.cuts = [Cut(call.sent_at[160], code, 160)]
    faults = [Happened("gateway-kill", "gateway-kill 0", call.sent_at[150], 5.0)]
    assert sorted(lost_in_flight(list(missing), call, faults)) == list(in_flight), description


def test_a_question_whose_audio_was_in_flight_is_not_compared() -> None:
    call, up = spoken(), [line for line in requests() if line["marks"][0] not in range(150, 162)]
    call.cuts = [Cut(call.sent_at[161], None, 161)]
    call.answers[1].text = "Pardon?"
    judged = judge_call(call, spoken(), up, log())
    assert (judged.findings, judged.in_flight, judged.spoiled, judged.answers) == ([], 12, 1, 1)


def test_nothing_may_be_lost_of_who_asked_for_acknowledgements() -> None:
    call, up = spoken(), [line for line in requests() if line["marks"][0] not in range(150, 162)]
    call.acknowledged = True
    call.cuts = [Cut(call.sent_at[161], None, 161)]
    assert whats(call, up, log()) == ["lost"]


def test_a_message_that_was_sent_twice_ends_no_turn_twice() -> None:
    down = log()
    down.append({**down[7], "position": 8, "repeated": True, "visible": False})
    assert whats(spoken(), requests(), down) == []


def owners(at: float, first: str, second: str, *partitions: int) -> Owners:
    gateways = {"g-0": frozenset(first), "g-1": frozenset(second)}
    return Owners(at, gateways, {f"w-{number}": owned for number, owned in enumerate(partitions)})


@pytest.mark.parametrize(
    ("description", "samples", "found"),
    [
        ("one each", [owners(at, "ab", "cd", 2, 2) for at in range(20)], []),
        (
            "two for a moment",
            [owners(at, "ab", "bc", 2, 2) if at < 4 else owners(at, "a", "b") for at in range(20)],
            [],
        ),
        ("two gateways for long", [owners(at, "ab", "bc", 2, 2) for at in range(20)], ["session b"]),
        ("two workers for long", [owners(at, "", "", 2, 3) for at in range(20)], ["partitions"]),
        (
            "one after the other",
            [owners(at, "ab", "b") if at % 4 else owners(at, "ab", "") for at in range(20)],
            [],
        ),
    ],
)
def test_second_owners(description: str, samples: list[Owners], found: list[str]) -> None:
    assert [finding.where for finding in second_owners(samples, 4)] == found, description


def test_a_log_on_two_brokers() -> None:
    found = split({"s_1": {"broker-a": 4}, "s_2": {"broker-a": 4, "broker-b": 1}})
    assert [finding.where for finding in found] == ["session s_2"]


def test_what_grows() -> None:
    before = Use({"gateways": 200.0}, {"gateways": 80}, 2, 4)
    same = Use({"gateways": 250.0}, {"gateways": 90}, 0, 90)
    assert growth(before, same, subscriptions=0) == []
    warmed = Use({"gateways": 200.0, "brokers": 900.0}, {}, 0, 90)
    assert growth(Use({"gateways": 200.0, "brokers": 300.0}, {}, 0, 0), warmed, subscriptions=0) == []
    silent = Use({"gateways": 250.0}, {"gateways": 90}, -1, -1)
    assert [finding.where for finding in growth(before, silent, subscriptions=0)] == ["subscriptions"]
    more = Use({"gateways": 400.0}, {"gateways": 190}, 3, 90)
    assert [finding.where for finding in growth(before, more, subscriptions=0)] == [
        "gateways",
        "gateways",
        "subscriptions",
    ]


def test_the_sum_of_calls() -> None:
    one = judge_call(spoken(), spoken(), requests(), log())
    other = deepcopy(spoken())
    lose_an_event(other, [], [])
    both = total([one, judge_call(other, spoken(), requests(), log())])
    assert (both.packets, both.answers, [finding.what for finding in both.findings]) == (400, 4, ["lost"])


@pytest.mark.parametrize(
    ("kinds", "excused"),
    [
        (("gateway-freeze", "worker-drain"), True),
        (("gateway-freeze",), False),
        (("worker-kill", "worker-drain"), False),
        (("gateway-drain", "worker-drain"), False),
    ],
)
def test_what_went_with_gateway_and_worker_and_was_told_is_counted(kinds: tuple[str, ...], excused: bool) -> None:
    faults = [Happened(kind, f"{kind} 0", 3.0, 3.5) for kind in kinds]
    call = spoken()
    call.answers[0].status = "failed"
    judged = judge_call(call, spoken(), requests(), log(), faults)
    assert (judged.with_both, [finding.what for finding in judged.findings]) == (
        (1, []) if excused else (0, ["answer"])
    )
    call.answers[0].text = "Rome."
    call.answers[0].status = "completed"
    assert judge_call(call, spoken(), requests(), log(), faults).findings, "a wrong answer is no loss"
    late = [Happened(kind, f"{kind} 0", 30.0, 31.0) for kind in kinds]
    call.answers[0].status = "failed"
    assert judge_call(call, spoken(), requests(), log(), late).findings
