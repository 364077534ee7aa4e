"""The idea in one minute and without a cluster.

Starts RocketMQ, two gateways and two workers as plain processes. A caller, the unchanged openai client, asks a spoken
question; the gateway that holds its session is killed (kill -9) while the answer is being spoken, and the rest comes
from the other one. Meanwhile a second caller stops reading, and the broker tells whose replies wait. Then an
independent reader of the broker counts what was lost, doubled or reordered.

Ends by itself and leaves only recordings: WAV files in try-output/. Exit code 0: every check held.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from litevoice_contracts.names import Names
from litevoice_dev.progress import say
from litevoice_dev.rocketmq import LocalRocketMQ
from litevoice_dev.stack import LocalStack

OUTPUT = Path("try-output")
NAMES = Names("try-requests", "try-replies", 4)
NEXT = """  make dev    gateways and workers that stay up, to talk to with a client of your own
  make demo   the same on a Kubernetes cluster: the operator, rollouts without loss, alerts"""


@dataclass(frozen=True, slots=True)
class RunningBroker:
    """`endpoints`: proxies, ``host:port[;host:port…]``; `name_server`: likewise."""

    endpoints: str
    name_server: str


async def try_it(folder: Path, broker: RunningBroker | None = None) -> bool:
    """Whether every check held.

    Args:
        folder: for data, settings and logs; emptied first, and kept only when something is wrong.
        broker: a RocketMQ that runs already, instead of one of our own.
    """
    shutil.rmtree(folder, ignore_errors=True)
    own: LocalRocketMQ | None = None
    if broker is None:
        own = LocalRocketMQ(folder / "rocketmq", progress=say)
        broker = RunningBroker(own.endpoints, own.name_server)
    stack = LocalStack(folder / "stack", broker.endpoints, broker.name_server, NAMES, progress=say)
    wrong = True
    try:
        started = in_daemon_thread(own.start) if own else None
        stack.launch(gateways=2)  # they wait for RocketMQ
        await asyncio.to_thread(import_clients)
        if started:
            await started
        await stack.ensure_names()
        await stack.wait_ready()
        wrong = not await demonstrate(stack)
    except asyncio.CancelledError:
        wrong = False
        raise
    finally:
        stack.kill()
        if own:
            own.kill()
        if not wrong:
            shutil.rmtree(folder)
    return not wrong


def import_clients() -> None:
    """What the callers need takes seconds to import (openai, numpy), which pass while RocketMQ starts."""
    importlib.import_module("litevoice_dev.local_place")
    importlib.import_module("litevoice_dev.scenarios.slow_reader")
    importlib.import_module("litevoice_dev.scenarios.takeover")


async def demonstrate(stack: LocalStack) -> bool:
    """Two calls at the same time, on two gateways; whether every check held."""
    from litevoice_dev.local_place import BrokerWatch, LocalPlace, kill_gateway
    from litevoice_dev.scenarios import slow_reader, takeover
    from litevoice_dev.scenarios.printing import heading, show, verdict

    place, told = LocalPlace(stack), list[str]()
    heading("a conversation that survives the death of its gateway")
    say("two callers talk at the same time, in real time: about 35 s")
    slow = asyncio.create_task(slow_reader.stop_reading(place, BrokerWatch(stack), told.append), name="slow reader")
    try:
        call = await takeover.hold(place, kill_gateway(stack), takeover.SHORT, OUTPUT, show)
        good = takeover.show_outcome(call)
        waiting = await slow
    finally:
        slow.cancel()
    heading("meanwhile, a caller that stops reading: its replies wait at the broker")
    for line in told:
        show(line)
    good &= verdict([waiting.events], waiting.problems)
    heading("try next")
    show(NEXT)
    return good


def in_daemon_thread(work: Callable[[], None]) -> asyncio.Future[None]:
    """Runs `work`, from now on. Unlike asyncio.to_thread, a program that ends does not wait for it."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        error: BaseException | None = None
        try:
            work()
        except BaseException as raised:  # handed over, whatever it is
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=run, daemon=True).start()
    return done
