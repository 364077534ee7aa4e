"""How far a pod's clock is off, by the Date of its answers."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from litevoice_operator.adapters.gateways import MAX_CLOCKS, Gateways
from litevoice_operator.observe.clocks import clock_offset


@pytest.mark.parametrize(
    ("told", "asked_at", "answered_at", "offset"),
    [
        (1000, 1000.2, 1000.3, 0.0),
        (1000, 1000.9, 1001.1, 0.0),  # the second had not ended when the other clock was read
        (1000, 999.0, 1003.0, 0.0),
        (1090, 1000.2, 1000.5, 89.5),
        (1001, 1000.2, 1000.5, 0.5),
        (940, 1000.2, 1000.5, -59.2),
    ],
)
def test_no_more_is_said_than_a_date_can_tell(told: int, asked_at: float, answered_at: float, offset: float) -> None:
    assert clock_offset(formatdate(told, usegmt=True), asked_at, answered_at) == pytest.approx(offset)


@pytest.mark.parametrize("date", ["", "yesterday", "Mon, 99 Jan 2026 00:00:00 GMT"])
def test_what_is_no_date_says_nothing(date: str) -> None:
    assert clock_offset(date, 0.0, 1.0) is None


async def test_the_latest_answers_count_and_they_are_bounded() -> None:
    async with Gateways(9090) as gateways:
        for number in range(MAX_CLOCKS + 1):
            gateways._set_clock(f"10.0.0.{number}", formatdate(1000 + number, usegmt=True), 0.0)
        gateways._set_clock("10.0.0.5", "", 0.0)
        assert gateways.clocks({"first": "10.0.0.0", "silent": "10.0.0.5"}) == {}, "the oldest, and one that says none"
        assert set(gateways.clocks({"a": "10.0.0.1", "b": f"10.0.0.{MAX_CLOCKS}"})) == {"a", "b"}
