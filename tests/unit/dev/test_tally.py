"""The judge of every 'nothing lost' must itself see each kind of fault."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from litevoice_contracts.positions import LAST_PART
from litevoice_dev.audit import read_mark
from litevoice_dev.microphone import PACKET_BYTES, mark
from litevoice_dev.tally import tally, tally_events, tally_packets


@pytest.mark.parametrize(
    ("description", "arrived", "lost", "duplicated", "reordered"),
    [
        ("all well", [0, 1, 2, 3], [], [], []),
        ("one lost", [0, 1, 3], [2], [], []),
        ("the last lost", [0, 1, 2], [3], [], []),
        ("one twice", [0, 1, 1, 2, 3], [], [1], []),
        ("one late", [0, 2, 1, 3], [], [], [1]),
        ("nothing came", [], [0, 1, 2, 3], [], []),
    ],
)
def test_tally(
    description: str, arrived: list[int], lost: list[int], duplicated: list[int], reordered: list[int]
) -> None:
    result = tally("packets", range(4), arrived)
    assert (result.lost, result.duplicated, result.reordered) == (lost, duplicated, reordered), description
    assert result.clean == (arrived == [0, 1, 2, 3])


def test_nothing_expected_is_not_clean() -> None:
    assert not tally("packets", [], []).clean


@pytest.mark.parametrize(
    ("description", "missing", "in_flight", "lost"),
    [
        ("nothing is missing", [], [], []),
        ("a run from before the cut to what was sent until it was noticed", [*range(495, 505)], [*range(495, 505)], []),
        ("the last packet before it was noticed", [504], [504], []),
        ("the next packet was on its way then", [504, 505], [504, 505], []),
        ("a packet after that", [505, 506], [505], [506]),
        ("a run that something follows which arrived", [495, 496, 497], [], [495, 496, 497]),
        ("a hole before the run", [480, 503, 504], [503, 504], [480]),
        ("a packet that was sent long before", [399], [], [399]),
        ("a run that is too long", [*range(390, 505)], [*range(400, 505)], [*range(390, 400)]),
        ("everything from the cut on", [*range(500, 1000)], [*range(500, 506)], [*range(506, 1000)]),
    ],
)
def test_what_was_in_flight_when_a_connection_was_cut(
    description: str, missing: list[int], in_flight: list[int], lost: list[int]
) -> None:
    arrived = [number for number in range(1000) if number not in missing]
    result = tally("packets", range(1000), arrived).cut(sent_before=500, sent_after=505)
    assert (result.in_flight, result.lost) == (in_flight, lost), description
    assert result.clean == (not lost), description


@pytest.mark.parametrize("arrived", [[0, 1, 1, 2], [0, 2, 1]])
def test_a_cut_excuses_nothing_doubled_or_reordered(arrived: list[int]) -> None:
    assert not tally("packets", range(3), arrived).cut(sent_before=1, sent_after=2).clean


def test_packets_of_other_sessions_and_replays_do_not_count() -> None:
    lines: list[dict[str, Any]] = [
        {"ready": True},
        {"session": "a", "epoch": 1, "seq": 0, "attempt": 0, "marks": [0, 1]},
        {"session": "b", "epoch": 1, "seq": 0, "attempt": 0, "marks": [7]},
        {"session": "a", "epoch": 1, "seq": 1, "attempt": 1, "marks": [1]},
        {"session": "a", "epoch": 1, "seq": 2, "attempt": 0, "marks": [None, 2]},
    ]
    assert tally_packets(3, lines, "a").clean
    lines.append({"session": "a", "epoch": 2, "seq": 0, "attempt": 1, "marks": [2, 3]})
    assert tally_packets(4, lines, "a").duplicated == [2], "the same audio under another number"


def test_a_replay_begins_anew_where_its_first_packet_was() -> None:
    """A gateway that stood still left packets when the next one's had been heard."""
    lines: list[dict[str, Any]] = [
        {"session": "a", "epoch": 1, "seq": 0, "attempt": 0, "marks": [0, 1, 2]},
        {"session": "a", "epoch": 2, "seq": 0, "attempt": 0, "marks": [6, 7]},
        {"session": "a", "epoch": 1, "seq": 3, "attempt": 0, "marks": [3]},
        {"session": "a", "epoch": 1, "seq": 2, "attempt": 1, "marks": [2, 3, 4, 5], "snapshot": True},
        {"session": "a", "epoch": 2, "seq": 1, "attempt": 1, "marks": [7, 8], "snapshot": False},
    ]
    assert tally_packets(9, lines, "a").clean
    lines.append({"session": "a", "epoch": 2, "seq": 3, "attempt": 1, "marks": [10, 9], "snapshot": False})
    assert tally_packets(11, lines, "a").reordered == [9]
    assert tally_packets(11, lines[:2], "a").lost == [3, 4, 5, 8, 9, 10]


def test_workers_take_nothing_behind_a_gap() -> None:
    """A message that was not confirmed for a minute is given up; the next one, behind it, is confirmed."""
    lines: list[dict[str, Any]] = [
        _own(epoch=1, seq=0, marks=[0, 1, 2], snapshot=True),
        _own(epoch=1, seq=5, marks=[5, 6]),
        _own(epoch=2, seq=0, marks=[3, 4], snapshot=True),
        _own(epoch=1, seq=2, marks=[2, 3, 4, 5, 6], attempt=1, snapshot=True),
        _own(epoch=2, seq=0, marks=[3, 4], attempt=1, snapshot=True),
    ]
    assert tally_packets(7, lines, "a").clean
    assert tally_packets(7, lines[:2], "a").lost == [3, 4, 5, 6]


def _own(*, epoch: int, seq: int, marks: list[int], attempt: int = 0, snapshot: bool = False) -> dict[str, Any]:
    """With the client's own numbers: the mark and 1."""
    own = [mark + 1 for mark in marks]
    line = {"session": "a", "epoch": epoch, "seq": seq, "attempt": attempt, "marks": marks}
    return {**line, "snapshot": snapshot, "client_seqs": own}


def test_a_new_gateway_is_no_excuse_for_its_own_order() -> None:
    lines: list[dict[str, Any]] = [
        {"session": "a", "epoch": 1, "seq": 0, "attempt": 0, "marks": [0, 1, 2]},
        {"session": "a", "epoch": 2, "seq": 0, "attempt": 0, "marks": [4]},
        {"session": "a", "epoch": 2, "seq": 1, "attempt": 0, "marks": [3]},
    ]
    assert tally_packets(5, lines, "a").reordered == [3]


def test_what_a_client_sends_again_under_its_own_numbers_does_not_count() -> None:
    lines: list[dict[str, Any]] = [
        {"session": "a", "epoch": 1, "seq": 0, "attempt": 0, "marks": [0, 1, 2], "client_seqs": [1, 2, 3]},
        {"session": "a", "epoch": 2, "seq": 0, "attempt": 0, "marks": [1, 2, None, 3], "client_seqs": [2, 3, None, 4]},
        {"session": "a", "epoch": 2, "seq": 4, "attempt": 0, "marks": [4], "client_seqs": None},
    ]
    assert tally_packets(5, lines, "a").clean
    lines.append({"session": "a", "epoch": 3, "seq": 0, "attempt": 0, "marks": [3], "client_seqs": [5]})
    assert tally_packets(5, lines, "a").duplicated == [3], "the same audio under another number of its own"


@pytest.mark.parametrize(
    ("description", "ids", "clean"),
    [
        ("positions 1 (two parts) and 3", ["evt_x_x_g0", "evt_1_0", "evt_1_0_1", "evt_3_0"], True),
        ("position 3 missing", ["evt_1_0", "evt_1_0_1"], False),
        ("first part missing", ["evt_1_0_1", "evt_3_0"], False),
        ("position 1 after 3", ["evt_3_0", "evt_1_0"], False),
        ("position 3 twice", ["evt_1_0", "evt_3_0", "evt_3_0"], False),
    ],
)
def test_events(description: str, ids: list[str], clean: bool) -> None:
    log = [log_line(position, visible=position in (1, 3)) for position in range(4)]
    assert tally_events(ids, log).clean == clean, description


@pytest.mark.parametrize(
    ("description", "heard", "lost"),
    [
        ("all that counts", [1, 2, 6, 7], []),
        ("a hole in the attempt that was given up", [1, 6, 7], [2]),
        ("nothing of the attempt after it", [1, 2], [6, 7]),
        ("a hole in the attempt after it", [1, 2, 7], [6]),
    ],
)
def test_events_of_a_turn_that_was_begun_again(description: str, heard: list[int], lost: list[int]) -> None:
    """As another turn, and after one more question; what the first worker says behind a question is for nobody."""
    log = [
        *(log_line(position) for position in (1, 2)),
        log_line(3, types=["TurnReplay"]),
        log_line(4),
        log_line(5, attempt=1, types=["TurnReplay"]),
        *(log_line(position, turn=2, attempt=2) for position in (6, 7)),
        log_line(8, types=["EpochRejected"]),
    ]
    result = tally_events([f"evt_{position}_0" for position in heard], log)
    assert result.lost == [position * LAST_PART for position in lost], description


def test_an_event_that_comes_twice_is_doubled_and_nothing_is_lost() -> None:
    result = tally_events(["evt_0_0", "evt_1_0", "evt_1_0", "evt_1_0_1", "evt_2_0"], [log_line(p) for p in range(3)])
    assert (result.lost, result.duplicated, result.reordered) == ([], [LAST_PART], [])


def log_line(
    position: int, turn: int = 1, attempt: int = 0, *, visible: bool = True, types: Sequence[str] = ("TextDelta",)
) -> dict[str, Any]:
    """As `audit replies` prints it."""
    visible &= not {"TurnReplay", "EpochRejected"} & set(types)
    line = {"position": position, "turn": turn, "attempt": attempt, "types": list(types)}
    return {**line, "visible": visible, "repeated": False}


@pytest.mark.parametrize("number", [0, 1, 4711, (1 << 32) - 1])
def test_marks_are_inaudible_and_read_back(number: int) -> None:
    quiet = bytes(PACKET_BYTES)
    marked = mark(quiet, number)
    assert read_mark(marked) == number
    assert max(marked) <= 1
