"""The order in which what was in a process that died is tried again."""

from __future__ import annotations

import asyncio

import pytest

from litevoice_worker.apart.trials import GATHER_SECONDS, LONGEST_SECONDS, MARGIN_SECONDS, Trial, Trials
from litevoice_worker.virtual_time import run


class Tried:
    """Each takes so many seconds, of which it writes down when they began, and is tried again when the process dies."""

    def __init__(self) -> None:
        self.trials = Trials()
        self.began = dict[str, float]()
        self.died = dict[str, int]()
        self._there = dict[str, asyncio.Future[Trial | None]]()

    async def __call__(self, name: str, age: float, seconds: float, *, kills: bool = False) -> None:
        """Its process has died once; `kills`: after a tenth of a second it does so again."""
        self.died[name] = 1
        while self.died[name] < 3:
            async with self.trials.trial(age, alone=self.died[name] == 2) as trial:
                began = asyncio.get_running_loop().time()
                self.began.setdefault(name, began)
                trial.begun()
                of = self._there[name] = asyncio.get_running_loop().create_future()
                await asyncio.wait([of], timeout=0.1 if kills else seconds)
                if kills:
                    self._die()
                del self._there[name]
                if not of.done():
                    return
                self.died[name] += of.result() in (None, trial)
                age = asyncio.get_running_loop().time() - began

    def _die(self) -> None:
        of = self.trials.died()
        for future in self._there.values():
            future.set_result(of)

    def after(self, first: str, then: str) -> float:
        return self.began[then] - self.began[first]


def test_the_youngest_first_and_the_next_two_when_it_has_ended_or_outlived_itself() -> None:
    async def story() -> None:
        tried = Tried()
        async with asyncio.TaskGroup() as group:
            for name, age, seconds in (
                ("old", 4.0, 60.0),
                ("oldest", 100.0, 1.0),
                ("older", 99.0, 60.0),
                ("young", 1.0, 0.2),
            ):
                group.create_task(tried(name, age, seconds))
        assert list(tried.began) == ["young", "old", "older", "oldest"]
        assert tried.after("young", "old") == pytest.approx(0.2)
        assert tried.after("old", "older") == 0.0
        assert tried.after("older", "oldest") == pytest.approx(LONGEST_SECONDS + MARGIN_SECONDS)

    run(story)


def test_many_that_have_not_killed_it_do_not_wait_for_long() -> None:
    async def story() -> None:
        tried = Tried()
        async with asyncio.TaskGroup() as group:
            for number in range(100):
                group.create_task(tried(str(number), 3.0, 60.0))
        assert tried.after("0", "99") == pytest.approx(6 * (3.0 + MARGIN_SECONDS)), "1, 2, 4, 8, 16, 32 before them"

    run(story)


@pytest.mark.parametrize("age", [0.5, 3.0, 9.0])
def test_only_what_kills_it_fails_whenever_it_was_asked_for(age: float) -> None:
    async def story() -> None:
        tried = Tried()
        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(tried(str(number), 1.0 + number / 3, 60.0))
            group.create_task(tried("killer", age, 0.0, kills=True))
        assert [name for name, deaths in tried.died.items() if deaths == 3] == ["killer"]

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
        asyncio.get_running_loop().call_later(GATHER_SECONDS, first.cancel)  # when it is told
        await asyncio.wait([second], timeout=10)
        assert list(tried.began) == ["second"]

    run(story)
