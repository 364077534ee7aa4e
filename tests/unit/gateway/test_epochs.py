"""The epochs of a session's owners: the newest one wins, whatever their clocks say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from litevoice_gateway.epochs import new_epoch

TIES = st.integers(0, 1 << 40)
WALL = 1000


@given(st.integers(0, 1 << 41), TIES, TIES, st.integers(-1, 1 << 62))
def test_owners_of_the_same_millisecond_have_epochs_of_their_own(wall: int, one: int, other: int, known: int) -> None:
    first, second = new_epoch(wall, one, known), new_epoch(wall, other, known)
    bits = 20 if wall > known >> 20 else 8
    assert (first == second) == (one % (1 << bits) == other % (1 << bits))
    assert min(first, second) > known, "whatever the clock says"
    assert new_epoch(wall + 1, other, -1) > new_epoch(wall, one, -1), "the newest one wins"
    assert new_epoch(wall, one, first) > first
    assert new_epoch(1 << 41, one, -1) < 1 << 63, "it fits into the message, in the year 2039 too"


@given(st.integers(0, 1 << 41), st.integers(128, 262_000), TIES, TIES, st.data())
def test_after_an_owner_whose_clock_is_ahead_the_newest_one_wins(
    wall: int, behind: int, one: int, other: int, data: st.DataObject
) -> None:
    """None of the two knows the other: what the first one says comes late."""
    ahead, later = new_epoch(wall + behind, 0, -1), data.draw(st.integers(64, behind))
    assert new_epoch(wall + later, one, ahead) > new_epoch(wall, other, ahead)


def test_also_of_one_that_is_ten_minutes_ahead() -> None:
    ahead = new_epoch(WALL + 600_000, 0, -1)
    for later in (64, 1000, 30_000):
        assert new_epoch(WALL + later, 0, ahead) > new_epoch(WALL, (1 << 20) - 1, ahead)
