"""When the process of a plug-in is ended, and what is told of those that were."""

from __future__ import annotations

from litevoice_contracts.control import FailingPlugin
from litevoice_worker.apart.watch import FAILING_SECONDS, KEPT_DEATHS, SILENT_LOOKS, Deaths, Watch
from litevoice_worker.stages.child import BACKOFF_MAX_SECONDS, pause_after


def test_one_that_says_nothing_for_so_many_looks_hangs() -> None:
    watch = Watch(100)
    assert [watch.look(1) for _ in range(SILENT_LOOKS)] == [None] * SILENT_LOOKS
    assert watch.look(1) == "hung"


def test_one_word_is_enough() -> None:
    watch = Watch(100)
    for _ in range(3):
        assert [watch.look(1) for _ in range(SILENT_LOOKS)] == [None] * SILENT_LOOKS
        watch.heard()


def test_one_that_takes_more_memory_than_it_may_is_ended() -> None:
    watch = Watch(100)
    assert watch.look(100) is None
    assert watch.look(100.5) == "grew"


def test_it_is_started_again_at_once_then_later_and_later() -> None:
    assert [pause_after(failures) for failures in range(5)] == [0, 0, 0.2, 0.4, 0.8]
    assert pause_after(1000) == BACKOFF_MAX_SECONDS


def test_who_died_is_named_for_a_while() -> None:
    told = []
    deaths = Deaths()
    deaths.on_death = lambda *died: told.append(died)
    deaths.died("responder", "bookings", "crashed", 100.0)
    deaths.died("responder", "bookings", "hung", 160.0)
    deaths.died("synthesizer", "voice", "grew", 170.0)
    assert told[-1] == ("synthesizer", "voice", "grew")
    assert deaths.failing(180.0) == [
        FailingPlugin("responder", "bookings", "hung", 2, 20.0),
        FailingPlugin("synthesizer", "voice", "grew", 1, 10.0),
    ]
    assert deaths.failing(100.0 + FAILING_SECONDS + 1)[0].deaths == 1
    assert deaths.failing(170.0 + FAILING_SECONDS + 1) == []


def test_deaths_are_kept_in_bounds() -> None:
    deaths = Deaths()
    for number in range(3 * KEPT_DEATHS):
        deaths.died("responder", "bookings", "crashed", number / 1000)
    assert deaths.failing(1.0)[0].deaths == KEPT_DEATHS
