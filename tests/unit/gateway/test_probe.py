"""When a quiet worker is asked."""

from __future__ import annotations

import itertools

from litevoice_gateway.probe import LONGEST_FACTOR, Probe


def asked(probe: Probe, until: float, step: float = 0.25) -> list[float]:
    """When the probe asks a worker that never answers."""
    times = (tick * step for tick in range(int(until / step) + 1))
    return [now for now in times if probe.due(now, waiting=True) == "ask"]


def test_an_absent_worker_is_asked_at_growing_intervals() -> None:
    assert asked(Probe(5), 400) == [5, 15, 35, 75, 155, 315]


def test_intervals_are_bounded() -> None:
    times = asked(Probe(1), 1000)
    assert max(later - earlier for earlier, later in itertools.pairwise(times)) == LONGEST_FACTOR


def test_a_sign_of_life_starts_over() -> None:
    probe = Probe(5)
    assert asked(probe, 16) == [5, 15]
    probe.heard(17)
    assert probe.due(20.9, waiting=True) is None
    assert probe.due(21, waiting=True) == "look", "before it asks"
    assert probe.due(22, waiting=True) == "ask"


def test_what_was_taken_over_is_looked_for_early_once() -> None:
    """The wake-up of the first message may be lost between the two steps of a takeover."""
    probe = Probe(50)
    assert probe.due(5, waiting=True) is None
    assert [probe.due(at, waiting=True, unproven=True) for at in (10, 10.5, 11, 12, 13)] == [
        None,
        None,
        "look",
        None,
        None,
    ]
    assert probe.due(14, waiting=True) is None


def test_nothing_expected_nothing_asked() -> None:
    probe = Probe(5)
    assert not probe.due(0, waiting=False)
    assert not probe.due(100, waiting=False)
    assert not probe.due(101, waiting=True), "the wait begins when something is expected"
