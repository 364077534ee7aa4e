"""What is judged of a session's cost when there are more of them."""

from __future__ import annotations

import pytest

from bench.figures import missed
from bench.gateway import Cost
from bench.growth import Gateway, Size, Worker, gateway_figures, growth, worker_figures

pytestmark = pytest.mark.unit

FLAT = Gateway(
    empty_cores=0.01,
    sizes={
        100: Size(idle_kib=30.0, idle_cores=0.011, cores=0.061, frames_per_second=1000.0),
        1000: Size(idle_kib=18.0, idle_cores=0.02, cores=0.07, frames_per_second=1000.0),
        10_000: Size(idle_kib=19.0, idle_cores=0.11, cores=0.16, frames_per_second=1000.0),
    },
    microphones={100: Cost(300.0, 80), 1000: Cost(110.0, 160)},
)


def test_what_silent_connections_cost_is_not_the_frames() -> None:
    assert [round(size.frame_microseconds) for size in FLAT.sizes.values()] == [50, 50, 50]
    assert [round(FLAT.idle_microseconds(sessions)) for sessions in FLAT.sizes] == [10, 10, 10]
    assert missed(gateway_figures(FLAT)) == []


@pytest.mark.parametrize(
    ("costs", "grown"),
    [
        ({100: 10.0, 1000: 11.0, 10_000: 11.5}, 1.15),
        ({100: 10.0, 1000: 12.0, 10_000: 10.0}, 1.2),  # dear in the middle
        ({10_000: 5.0, 100: 10.0}, 0.5),  # in any order
    ],
)
def test_growth_is_the_dearest_to_the_first(costs: dict[int, float], grown: float) -> None:
    judged = growth("cost", costs, "µs")[-1]
    assert judged.value == pytest.approx(grown)
    assert judged.verdict == ("missed" if grown > 1.15 else "ok")


def test_a_cost_that_could_not_be_measured_is_not_judged_as_flat() -> None:
    assert growth("cost", {100: 0.0, 1000: 5.0}, "µs")[-1].verdict == "missed"


def test_a_gateway_that_counted_no_messages_is_not_judged_as_frugal() -> None:
    uncounted = Gateway(FLAT.empty_cores, FLAT.sizes, {100: Cost(1.0, 80), 1000: Cost(1.0, None)})
    assert missed(gateway_figures(uncounted)) == ["messages up, 1,000 sessions"]


def test_the_largest_number_of_idle_sessions_is_held_against_the_bar() -> None:
    found = worker_figures(Worker({1000: 4.2, 10_000: 4.1}, {"silence": {100: 4.0, 10_000: 4.0}}))
    assert missed(found) == ["worker memory, idle, 10,000 sessions"]
