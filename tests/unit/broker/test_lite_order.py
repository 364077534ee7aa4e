"""Which message is delivered, dropped or waited for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litevoice_broker.lite.order import PositionOrder, Verdict, other_position

D, X, W = Verdict.DELIVER, Verdict.DROP, Verdict.WAIT


@pytest.mark.parametrize(
    ("description", "start", "offered", "verdicts", "next_position", "gap"),
    [
        ("in order", 0, [0, 1, 2], [D, D, D], 3, False),
        ("from the middle of the log", 5, [5, 6], [D, D], 7, False),
        ("first step of a takeover: one too low", 5, [4, 5], [X, D], 6, False),
        ("first step of a takeover at 0: one too high", 0, [1, 0, 1], [W, D, D], 2, False),
        ("delivered again by the broker", 3, [3, 3, 4, 3, 4, 5], [D, X, D, X, X, D], 6, False),
        ("one is missing", 3, [3, 5], [D, W], 4, True),
        ("the missing one came, the one after it did not come again", 3, [3, 5, 4], [D, W, D], 5, True),
        ("all came again", 3, [3, 5, 4, 5], [D, W, D, D], 6, False),
        ("nothing", 9, [], [], 9, False),
    ],
)
def test_verdicts(
    description: str, start: int, offered: list[int], verdicts: list[Verdict], next_position: int, gap: bool
) -> None:
    order = PositionOrder(start)
    assert [order.offer(position) for position in offered] == verdicts, description
    assert (order.next_position, order.gap) == (next_position, gap), description


@given(st.integers(0, 50), st.lists(st.integers(0, 60)))
def test_whatever_comes_delivery_is_contiguous(start: int, offered: list[int]) -> None:
    order = PositionOrder(start)
    delivered = [position for position in offered if order.offer(position) is D]
    assert delivered == list(range(start, start + len(delivered)))
    assert order.next_position == start + len(delivered)


def test_restart_forgets_what_was_seen_but_not_the_position() -> None:
    order = PositionOrder(0)
    order.offer(0)
    order.offer(7)
    order.restart()
    assert (order.next_position, order.gap, order.delivered) == (1, False, 0)
    order.restart(4)
    assert order.offer(4) is D


def test_waits_double_while_heals_bring_nothing() -> None:
    order = PositionOrder(0)
    waits = []
    for _ in range(8):
        waits.append(order.gap_wait_seconds())
        order.heals += 1
    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    order.offer(0)
    assert order.gap_wait_seconds() == 0.2


@given(st.integers(0, 10**12))
def test_first_step_goes_to_another_position(position: int) -> None:
    assert other_position(position) != position
    assert abs(other_position(position) - position) == 1
    assert other_position(position) >= 0
