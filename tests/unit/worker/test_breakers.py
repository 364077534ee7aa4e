"""Which endpoints are asked, second by second."""

from __future__ import annotations

from litevoice_worker.stages.breakers import FAILURES, LONGEST_PAUSE_SECONDS, Breakers


def failing(breakers: Breakers, index: int, now: float) -> None:
    for _ in range(FAILURES):
        breakers.failed(index, now)


def test_all_are_asked_in_their_order() -> None:
    assert list(Breakers(3).admitted(0.0)) == [0, 1, 2]


def test_one_that_fails_again_and_again_is_left_out_for_a_second() -> None:
    breakers = Breakers(2)
    failing(breakers, 0, 10.0)
    assert list(breakers.admitted(10.9)) == [1]
    assert list(breakers.admitted(11.0)) == [0, 1], "one request finds out how it is"
    assert list(breakers.admitted(11.0)) == [1], "and only one"
    breakers.succeeded(0)
    assert list(breakers.admitted(11.1)) == [0, 1]


def test_failures_count_only_in_a_row() -> None:
    breakers = Breakers(1)
    for _ in range(5 * FAILURES):
        breakers.failed(0, 0.0)
        breakers.succeeded(0)
    assert list(breakers.admitted(0.0)) == [0]


def test_the_pause_grows_to_a_bound() -> None:
    breakers, now, pauses = Breakers(1), 0.0, list[float]()
    failing(breakers, 0, now)
    for _ in range(6):
        began = now
        while not list(breakers.admitted(now)):
            now += 0.5
        pauses.append(now - began)
        breakers.failed(0, now)
    assert pauses == [1.0, 2.0, 4.0, 8.0, LONGEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS]


def test_a_request_that_says_nothing_is_not_the_last_one() -> None:
    breakers = Breakers(1)
    failing(breakers, 0, 0.0)
    assert list(breakers.admitted(1.0)) == [0], "cancelled, perhaps: nobody hears of it"
    assert list(breakers.admitted(1.9)) == []
    assert list(breakers.admitted(2.0)) == [0]


def test_only_those_that_were_taken_count_as_asked() -> None:
    breakers = Breakers(2)
    failing(breakers, 1, 0.0)
    assert next(breakers.admitted(1.0)) == 0
    assert list(breakers.admitted(1.0)) == [0, 1], "the first has answered: the second was not asked"
