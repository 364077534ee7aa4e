"""A part of RocketMQ is killed (kill -9) under a crowd, and comes back: how long until everything goes on.

    python -m bench.outage [--part broker|proxy] [--sessions 40] [--microphones 10] [--down 12]

RocketMQ, one gateway, two workers, and a model that this process plays: it counts how often each question reaches it.
Every caller types a question, waits for the answer and types the next one a second later; some have an open, loud
microphone beside it. A caller whose connection is closed comes back with its session and its last event.

"Return" is when the name server lists the broker again, or the proxy listens. Prints a line for each session, then one
table; writes raw data, and exits with 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import websockets
from aiohttp import web
from websockets.asyncio.client import ClientConnection, connect

from bench import report
from bench.crowd import ASK_SECONDS, FRAME_SECONDS, SETTING, chatter
from bench.figures import Figure, percentile
from bench.programs import cache
from litevoice_contracts import metrics
from litevoice_contracts.control import READY_PATH
from litevoice_contracts.names import Names
from litevoice_dev.ports import HOST, free_port
from litevoice_dev.progress import say
from litevoice_dev.rocketmq import LocalRocketMQ, Part
from litevoice_dev.stack import LocalStack

PARTITIONS = 8
BEFORE_SECONDS = 8.0
LONGEST_SECONDS = 120.0
UNREST_SECONDS = 20.0
"""How long the crowd is watched after the first answers of all."""
SLOW_SECONDS = 2.0
COME_BACK_SECONDS = 0.5
LOOK_SECONDS = 0.1
STARTS_SECONDS = 4.0


class Model:
    """Chat completions that repeat the question. `asked`: how often each question came."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        question = (await request.json())["messages"][-1]["content"]
        self.asked[question] += 1
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for choice in ({"delta": {"content": f"You said: {question}."}}, {"delta": {}, "finish_reason": "stop"}):
            await response.write(f"data: {json.dumps({'choices': [choice]})}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        """Its port."""
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/v1/chat/completions", self.answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        port = free_port()
        await web.TCPSite(runner, HOST, port).start()
        try:
            yield port
        finally:
            await runner.cleanup()


@dataclass
class Caller:
    """Times are time.monotonic().

    Attributes:
        answers: when each came, and how long it had been waited for.
        closes: of its connections, and refusals, in words.
    """

    number: int
    url: str
    key: str
    microphone: Sequence[str] = ()
    session: str = ""
    last_event: str = ""
    question: str = ""
    asked_at: float = 0.0
    count: int = 0
    answers: list[tuple[float, float]] = field(default_factory=list)
    closes: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    async def run(self) -> None:
        while True:
            query = "model=litevoice"
            if self.session:
                query += f"&session_id={self.session}&last_event_id={self.last_event}"
            headers = {"Authorization": f"Bearer {self.key}"}
            try:
                async with connect(
                    f"{self.url}/realtime?{query}", additional_headers=headers, compression=None, max_size=None
                ) as socket:
                    await self._talk(socket)
                    self.closes.append(f"closed with {socket.close_code} {socket.close_reason}")
            except (OSError, websockets.InvalidHandshake, TimeoutError) as error:
                self.closes.append(f"refused: {error}")
            await asyncio.sleep(COME_BACK_SECONDS)

    async def _talk(self, socket: ClientConnection) -> None:
        tasks = [asyncio.create_task(self._ask(socket)), asyncio.create_task(self._speak(socket))]
        try:
            async for message in socket:
                self._take(json.loads(message))
        except websockets.ConnectionClosed:
            pass
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, socket: ClientConnection) -> None:
        if not self.session:
            await socket.send(json.dumps(SETTING))
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self.question or time.monotonic() - self.asked_at < ASK_SECONDS:
                continue
            self.count += 1
            self.question, self.asked_at = f"question {self.count} of caller {self.number}", time.monotonic()
            content = [{"type": "input_text", "text": self.question}]
            item = {"type": "message", "role": "user", "content": content}
            await socket.send(json.dumps({"type": "conversation.item.create", "item": item}))
            await socket.send(json.dumps({"type": "response.create"}))

    async def _speak(self, socket: ClientConnection) -> None:
        """It keeps time: what the socket does not take at once is sent later."""
        begin = time.monotonic()
        for number in range(1 << 30) if self.microphone else ():
            await asyncio.sleep(max(0.0, begin + number * FRAME_SECONDS - time.monotonic()))
            await socket.send(self.microphone[number % len(self.microphone)])

    def _take(self, event: dict[str, Any]) -> None:
        if event.get("event_id", "").startswith("evt_"):
            self.last_event = event["event_id"]
        if event["type"] == "session.created":
            self.session = event["session"]["id"]
        elif event["type"] == "error":
            self.wrong.append(f"error {event['error']['code']}")
        elif event["type"] == "response.output_text.done" and event["text"] != f"You said: {self.question}.":
            self.wrong.append(f"{event['text']!r} answers {self.question!r}")
        elif event["type"] == "response.done":
            if event["response"]["status"] != "completed":
                self.wrong.append(f"an answer is {event['response']['status']}")
            self.answers.append((time.monotonic(), time.monotonic() - self.asked_at))
            self.question = ""

    def after(self, at: float) -> float | None:
        """Seconds from `at` to the first answer after it; None while there is none."""
        return next((came - at for came, _ in self.answers if came > at), None)


@dataclass
class Readiness:
    """When the members were not ready. `seen`: time, member, reason ("" for ready), at each change."""

    seen: list[tuple[float, str, str]] = field(default_factory=list)

    async def watch(self, stack: LocalStack) -> None:
        async with httpx.AsyncClient(timeout=2.0) as http:
            last: dict[str, str] = {}
            while True:
                for member in (*stack.gateways, *stack.workers):
                    try:
                        answer = await http.get(member.admin_url + READY_PATH)
                        reason = "" if answer.status_code == httpx.codes.OK else answer.text.strip()
                    except httpx.HTTPError as error:
                        reason = type(error).__name__
                    if last.get(member.name) != reason:
                        last[member.name] = reason
                        self.seen.append((time.monotonic(), member.name, reason))
                await asyncio.sleep(LOOK_SECONDS)

    def unready_after(self, at: float, prefix: str) -> float:
        """Seconds from `at` until a member of that name was ready for the last time again."""
        times = [when - at for when, name, reason in self.seen if name.startswith(prefix) and not reason]
        return max(times, default=0.0)


@dataclass
class Outcome:
    """Seconds since the return.

    Attributes:
        first: of each session, until its first answer; None: there was none.
        unready: until gateways, and workers, stayed ready.
        slow: answers that took longer than SLOW_SECONDS, of those asked 10 s after the return or later.
        twice: questions that reached the model more than once.
        turns: turns that are neither done nor open, and the other way round: must be 0.
    """

    down: float = 0.0
    first: list[float | None] = field(default_factory=list)
    unready_gateway: float = 0.0
    unready_worker: float = 0.0
    slow: int = 0
    twice: list[str] = field(default_factory=list)
    closes: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    counters: dict[str, float] = field(default_factory=dict)
    readiness: list[tuple[float, str, str]] = field(default_factory=list)


async def counters(stack: LocalStack) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)
    for gateway in stack.gateways:
        for name in (metrics.GATEWAY_REPLAYS, metrics.GATEWAY_PROBES, metrics.GATEWAY_EVICTIONS, metrics.BROKER_HEALS):
            found[f"gateway {name}"] += await gateway.metric(name)
    for worker in stack.workers:
        for name in (metrics.WORKER_PACKETS, metrics.WORKER_DUPLICATES, metrics.WORKER_GAPS):
            found[f"worker {name}"] += await worker.metric(name)
    return dict(found)


async def strike(part: Part, down: float) -> tuple[float, float]:
    """Kills the part and starts it so that it can be back after `down` seconds. When it was killed, and back."""
    await asyncio.to_thread(part.kill)
    killed = time.monotonic()
    await asyncio.sleep(max(0.0, down - STARTS_SECONDS))
    await asyncio.to_thread(part.start)
    return killed, time.monotonic()


async def measure(folder: Path, options: argparse.Namespace) -> Outcome:
    rocketmq = LocalRocketMQ(folder / "rocketmq", fresh=True, progress=say)
    stack: LocalStack | None = None
    model, readiness = Model(), Readiness()
    tasks: list[asyncio.Task[None]] = []
    try:
        await asyncio.to_thread(rocketmq.start)
        async with model.serving() as port:
            responder = {
                "use": "openai",
                "options": {"endpoints": [{"baseUrl": f"http://{HOST}:{port}/v1", "model": "echo"}]},
            }
            stack = LocalStack(
                folder / "stack",
                rocketmq.endpoints,
                rocketmq.name_server,
                names=Names("bench-requests", "bench-replies", PARTITIONS),
                worker={"pipelines": [{"name": "echo", "responder": responder}]},
                progress=say,
            )
            await stack.start(gateways=1)
            loud = chatter()
            callers = [
                Caller(number, stack.gateways[0].url, stack.api_key, loud if number < options.microphones else ())
                for number in range(options.sessions)
            ]
            tasks = [asyncio.create_task(readiness.watch(stack))]
            for caller in callers:
                tasks.append(asyncio.create_task(caller.run()))
                await asyncio.sleep(0.1)
            await asyncio.sleep(BEFORE_SECONDS)
            answered = sum(1 for caller in callers if len(caller.answers) > 1)
            say(f"{answered} of {len(callers)} sessions have answers; killing the {options.part}")
            before = await counters(stack)
            part: Part = rocketmq.broker if options.part == "broker" else rocketmq.proxy
            killed, back = await strike(part, options.down)
            say(f"the {options.part} is back after {back - killed:.1f} s")
            for _ in range(int(LONGEST_SECONDS / LOOK_SECONDS)):
                if all(caller.after(back) is not None for caller in callers):
                    break
                await asyncio.sleep(LOOK_SECONDS)
            say(f"all have an answer after {time.monotonic() - back:.1f} s; watching them for {UNREST_SECONDS:.0f} s")
            await asyncio.sleep(UNREST_SECONDS)
            after = await counters(stack)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            return outcome(callers, readiness, model, killed, back, before, after)
    finally:
        for task in tasks:
            task.cancel()
        if stack is not None:
            await asyncio.to_thread(stack.kill)
        await asyncio.to_thread(rocketmq.kill)


def outcome(
    callers: Sequence[Caller],
    readiness: Readiness,
    model: Model,
    killed: float,
    back: float,
    before: dict[str, float],
    after: dict[str, float],
) -> Outcome:
    for caller in callers:
        first = caller.after(back)
        found = "–" if first is None else f"{first:.1f} s"
        print(f"session {caller.number}: first answer {found}, {len(caller.closes)} closes {caller.closes[:2]}")
    return Outcome(
        down=back - killed,
        first=[caller.after(back) for caller in callers],
        unready_gateway=readiness.unready_after(back, "gateway"),
        unready_worker=readiness.unready_after(back, "worker"),
        slow=sum(
            1
            for caller in callers
            for came, waited in caller.answers
            if came - waited > back + 10 and waited > SLOW_SECONDS
        ),
        twice=sorted(question for question, times in model.asked.items() if times > 1),
        closes=[close for caller in callers for close in caller.closes],
        wrong=[f"caller {caller.number}: {what}" for caller in callers for what in caller.wrong],
        counters={name: after[name] - before[name] for name in after},
        readiness=[(round(at - back, 2), name, reason) for at, name, reason in readiness.seen],
    )


def figures(sessions: int, run: Outcome) -> list[Figure]:
    first = [seconds for seconds in run.first if seconds is not None]
    complete = len(first) == sessions
    return [
        Figure("away", run.down, "s"),
        Figure("return → first answer, p50", percentile(first, 50) if complete else None, "s", 5),
        Figure("return → first answer, p99", percentile(first, 99) if complete else None, "s", 10, 5),
        Figure("sessions without an answer", sessions - len(first), "", 0),
        Figure("return → gateways stay ready", run.unready_gateway, "s", 10, 5),
        Figure("return → workers stay ready", run.unready_worker, "s", 10, 5),
        Figure("questions that reached the model twice", len(run.twice), "", 0, note=", ".join(run.twice)[:60]),
        Figure("answers later than 2 s, from 10 s on", run.slow, "", 0),
        Figure("closed or refused connections", len(run.closes), note=", ".join(sorted(set(run.closes)))[:80]),
        Figure("what callers must not see", len(run.wrong), "", 0, note=", ".join(run.wrong)[:80]),
        *(Figure(name, value) for name, value in run.counters.items()),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.outage", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=("broker", "proxy"), default="broker", help="default: %(default)s")
    parser.add_argument("--sessions", type=int, default=40, help="callers (default: %(default)s)")
    parser.add_argument("--microphones", type=int, default=10, help="of them open (default: %(default)s)")
    parser.add_argument("--down", type=int, default=12, help="seconds (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=cache() / "bench" / "outage", help="store, settings and logs")
    report.add_output(parser)
    options = parser.parse_args(arguments)
    if options.sessions < 1 or options.down < 0:
        parser.error("--sessions: expected at least 1; --down: at least 0")
    options.folder.mkdir(parents=True, exist_ok=True)
    run = asyncio.run(measure(options.folder, options))
    found = figures(options.sessions, run)
    raw = {"first": run.first, "closes": run.closes, "wrong": run.wrong, "twice": run.twice, "readiness": run.readiness}
    return report.finish(
        f"outage-{options.part}", options, found, raw, f"{options.part} killed under {options.sessions} sessions"
    )


if __name__ == "__main__":
    sys.exit(main())
