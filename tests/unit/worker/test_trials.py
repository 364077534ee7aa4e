"""The order in which what was in a process that died is tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from litevoice_worker.apart.trials import LONGEST_SECONDS, MARGIN_SECONDS, Trials
from litevoice_worker.virtual_time import run


class Tried:
    """Each takes so many seconds, of which it writes down when they began."""

    def __init__(self) -> None:
        self.trials = Trials()
        self.began = dict[str, float]()

    async def __call__(self, name: str, age: float, seconds: float) -> None:
        async with self.trials.trial(age) as trial:
            self.began[name] = asyncio.get_running_loop().time()
            trial.begun()
            await asyncio.sleep(seconds)

    def after(self, first: str, then: str) -> float:
        return self.began[then] - self.began[first]


def test_the_youngest_first_and_the_next_when_it_has_ended_or_outlived_itself() -> None:
    async def story() -> None:
        tried = Tried()
        async with asyncio.TaskGroup() as group:
            for name, age, seconds in (
                ("old", 4.0, 60.0),
                ("older", 99.0, 60.0),
                ("oldest", 100.0, 1.0),
                ("young", 1.0, 0.2),
            ):
                group.create_task(tried(name, age, seconds))
        assert list(tried.began) == ["young", "old", "older", "oldest"]
        assert tried.after("young", "old") == pytest.approx(0.2)
        assert tried.after("old", "older") == pytest.approx(4.0 + MARGIN_SECONDS)
        assert tried.after("older", "oldest") == pytest.approx(LONGEST_SECONDS + MARGIN_SECONDS)

    run(story)


def test_who_is_not_waited_for_any_more_holds_up_nobody() -> None:
    async def story() -> None:
        tried = Tried()
        waiting = [asyncio.create_task(tried(name, age, 5.0)) for name, age in (("a", 9.0), ("b", 9.1), ("c", 9.2))]
        await asyncio.sleep(1.0)
        waiting[1].cancel()
        waiting[0].cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert list(tried.began) == ["a", "c"]
        await tried("d", 0.0, 0.0)
        assert list(tried.began)[-1] == "d"

    run(story)


def test_one_that_is_cancelled_in_the_moment_of_its_turn_passes_it_on() -> None:
    async def story() -> None:
        tried = Tried()
        first = asyncio.create_task(tried("first", 0.0, 0.0))
        second = asyncio.create_task(tried("second", 1.0, 0.0))
        await asyncio.sleep(0)
        grant: Callable[[], None] = tried.trials.next
        grant()
        first.cancel()
        await asyncio.wait([second], timeout=10)
        assert list(tried.began) == ["second"]

    run(story)
