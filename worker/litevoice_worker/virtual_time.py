"""An event loop whose clock stands still while anything runs, and jumps to the next timer when nothing does; and tasks
that can be killed. For tests: see testing.py."""

from __future__ import annotations

import asyncio
import contextlib
import selectors
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Executor
from contextvars import ContextVar
from typing import Any, TypeVar

_T = TypeVar("_T")

NETWORK_SECONDS = 0.05
"""Real time that an open socket is given to bring something before the clock jumps."""
THREAD_SECONDS = 1.0
"""How long a thread of the loop's executor is waited for before it is looked again."""


def run(story: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    """Runs a story in virtual time, and returns what it returns: an hour of `asyncio.sleep` takes milliseconds.

    Threads (`asyncio.to_thread`) and sockets take real time, in which the loop's clock stands still. `time.time()` and
    its like are the real ones.
    """
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(story())


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its time begins at 0."""

    def __init__(self) -> None:
        self._now = 0.0
        self._threads = 0
        super().__init__(_Selector(self))
        self.set_task_factory(_make_task)

    def time(self) -> float:
        return self._now

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, function: Callable[..., _T], *arguments: Any
    ) -> asyncio.Future[_T]:
        self._threads += 1
        future = super().run_in_executor(executor, function, *arguments)
        future.add_done_callback(self._thread_done)
        return future

    def _thread_done(self, _: object) -> None:
        self._threads -= 1

    @property
    def at_work(self) -> bool:
        """Threads of its executors have something to do."""
        return self._threads > 0

    def jump(self, seconds: float) -> None:
        self._now += seconds


class _Selector(selectors.DefaultSelector):
    """Where the loop would wait, the clock jumps."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if self._loop.at_work or timeout is None:
            return super().select(THREAD_SECONDS)
        if len(self.get_map()) > 1:  # more than the loop's own
            ready = super().select(NETWORK_SECONDS)
        if not ready:
            self._loop.jump(timeout)
        return ready


class Life:
    """Of a process that is only played. Tasks that are made within it, and those that they make, end with it: kill -9.

    Attributes:
        over: none of its tasks runs on: no `except` and no `finally` of theirs.
    """

    def __init__(self) -> None:
        self.over = False
        self._buried = False
        self._tasks = set[asyncio.Task[Any]]()

    def begin(self) -> contextlib.AbstractContextManager[None]:
        """Tasks that are made in here are its own."""
        return _living(self)

    def kill(self) -> None:
        self.over = True

    @property
    def stands_still(self) -> bool:
        return self.over and not self._buried

    def owns(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def bury(self) -> None:
        """Cancels what a killed one has left, and waits for it: at the end of a test, when nobody looks any more."""
        self._buried = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


_life: ContextVar[Life | None] = ContextVar("life", default=None)


@contextlib.contextmanager
def _living(life: Life) -> Generator[None]:
    token = _life.set(life)
    try:
        yield
    finally:
        _life.reset(token)


class _Mortal:
    """A coroutine that runs no further than its life."""

    def __init__(self, work: Coroutine[Any, Any, Any], life: Life) -> None:
        self._work = work
        self._life = life

    def __await__(self) -> Generator[Any, Any, Any]:
        work: Generator[Any, Any, Any] = self._work.__await__()
        error: BaseException | None = None
        while True:
            while self._life.stands_still:
                try:
                    yield from asyncio.get_running_loop().create_future()
                except BaseException as thrown:
                    error = thrown
            try:
                waits_for = work.send(None) if error is None else work.throw(error)
            except StopIteration as end:
                return end.value
            error = None
            try:
                yield waits_for
            except BaseException as thrown:
                error = thrown


async def _as_long_as(work: _Mortal) -> Any:
    return await work


def _make_task(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any] | Generator[Any, None, Any], **more: Any
) -> asyncio.Task[Any]:
    life = _life.get()
    if life is None or not asyncio.iscoroutine(work):
        return asyncio.Task(work, loop=loop, **more)
    task = asyncio.Task(_as_long_as(_Mortal(work, life)), loop=loop, **more)
    life.owns(task)
    return task
