"""An event loop in virtual time, and the processes whose callbacks it runs: one can be frozen, or killed without its
clean-up ever running. Nothing sleeps: when nothing is ready, it is the time of the next timer."""

from __future__ import annotations

import asyncio
import contextvars
import heapq
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from typing import Any

START_SECONDS = 1000.0
EPOCH_SECONDS = 1_800_000_000.0
"""What the wall clock says at START_SECONDS."""
TURN_SECONDS = 2e-6
"""What a turn of the loop takes: a timer that is early by a rounding error, and set again, else is early for ever."""


class Process:
    """What the machine sees of one program: the callbacks of the tasks that it has begun."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.frozen = False
        self.dead = False
        self.held: list[asyncio.Handle] = []
        self.context = contextvars.copy_context()
        self.context.run(CURRENT.set, self)

    def __repr__(self) -> str:
        return self.name


CURRENT: ContextVar[Process | None] = ContextVar("process", default=None)
"""Whose callback runs; tasks and timers inherit it."""


class Stuck(Exception):  # noqa: N818 - reads as what it is
    """Nothing is ready and no timer is set: whoever is waited for never comes."""


class _Handle(asyncio.Handle):
    """asyncio's, made without a look at the debug mode: a run makes some ten thousand of them."""

    __slots__ = ()

    def __init__(self, callback: Any, arguments: Any, loop: VirtualLoop, context: Context | None) -> None:
        self._context = copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = arguments
        self._cancelled = False
        self._repr = None
        self._source_traceback = None

    def cancel(self) -> None:
        self._cancelled = True
        self._callback = self._args = None  # type: ignore[assignment]


class _Timer(asyncio.TimerHandle):
    """Likewise. A cancelled one leaves the heap when its time comes."""

    __slots__ = ()

    def __init__(self, when: float, callback: Any, arguments: Any, loop: VirtualLoop, context: Context | None) -> None:
        self._context = copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = arguments
        self._cancelled = False
        self._repr = None
        self._source_traceback = None
        self._when = when
        self._scheduled = True

    def cancel(self) -> None:
        self._cancelled = True
        self._callback = self._args = None  # type: ignore[assignment]


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs callbacks in the order in which they came due. `errors` has what nobody caught."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START_SECONDS
        self.errors: list[str] = []
        self.steps = 0
        self.clocks_off: dict[str, float] = {}
        """By how many seconds the wall clock of a program's machine is wrong, by the program's name."""
        self._kept: list[asyncio.Task[Any]] = []
        self._timers: list[tuple[float, _Timer]] = []
        """A heap. Of the same moment, none is smaller: timers keep no order then."""
        self.set_exception_handler(self._error)
        self.set_task_factory(self._make_task)

    # --- time

    def time(self) -> float:
        return self.now

    def wall(self) -> float:
        """As the machine of the program says it that runs now."""
        process = CURRENT.get()
        wrong = self.clocks_off.get(process.name, 0.0) if process is not None else 0.0
        return EPOCH_SECONDS + self.now - START_SECONDS + wrong

    # --- processes

    def thaw(self, process: Process) -> None:
        """What it should have done meanwhile, it does now."""
        process.frozen = False
        held, process.held = process.held, []
        self._ready.extend(held)  # type: ignore[attr-defined]

    @staticmethod
    def kill(process: Process) -> None:
        """No callback of it runs any more: no `finally`, no farewell."""
        process.dead = True
        process.held.clear()

    def within(self, process: Process | None, seconds: float, do: Callable[..., object], *arguments: object) -> None:
        """`do` after so many seconds, as a callback of the process."""
        context: Context | None = process.context if process is not None else None
        self.call_at(self.now + seconds, do, *arguments, context=context or _NOBODY.copy())

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        if self._closed:  # type: ignore[attr-defined]
            raise RuntimeError("the world has ended")
        timer = _Timer(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, timer))
        return timer

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_soon(  # type: ignore[override]
        self, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        if self._closed:  # type: ignore[attr-defined]
            raise RuntimeError("the world has ended")
        handle = _Handle(callback, args, self, context)
        self._ready.append(handle)  # type: ignore[attr-defined]
        return handle

    # --- inside

    def _make_task(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        # Kept: a task that is collected runs its `finally` blocks at a moment that no seed decides.
        task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
        self._kept.append(task)
        if len(self._kept) > 5000:
            self._kept = [one for one in self._kept if not one.done()]
        return task

    def _run_once(self) -> None:
        timers, ready = self._timers, self._ready  # type: ignore[attr-defined]
        if not ready:
            while timers and timers[0][1]._cancelled:
                heapq.heappop(timers)
            if not timers:
                raise Stuck
            self.now = max(self.now, timers[0][0])
        self.now += TURN_SECONDS
        while timers and (timers[0][0] <= self.now or timers[0][1]._cancelled):
            timer = heapq.heappop(timers)[1]
            if not timer._cancelled:
                ready.append(timer)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            process = handle._context.get(CURRENT)
            if process is not None and (process.dead or process.frozen):
                if not process.dead:
                    process.held.append(handle)
                continue
            self.steps += 1
            try:
                handle._context.run(handle._callback, *handle._args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                self._error(self, {"message": f"exception in {handle._callback}", "exception": error})

    def _process_events(self, event_list: Any) -> None: ...

    def _write_to_self(self) -> None: ...

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """At once: threads have no place in a run that its seed decides."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def abandon(self) -> None:
        """The end of the world: what has not ended never will, and says nothing about it."""
        for task in self._kept:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        self._kept.clear()
        self._ready.clear()  # type: ignore[attr-defined]
        self._timers.clear()

    def _error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.errors.append(f"{self.now:.3f} {context.get('message')}: {error!r}")


_NOBODY = contextvars.Context()
