"""One run from beginning to end: undisturbed calls first, then calls amid faults, then the audit of all of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from litevoice_broker.errors import BrokerError
from litevoice_broker.waiting import set_within
from litevoice_dev import processes
from litevoice_dev.audit import reading_replies
from litevoice_dev.chaos.callers import Caller, Script
from litevoice_dev.chaos.checker import Finding, Judged, growth, judge_call, second_owners, split
from litevoice_dev.chaos.churn import Churn
from litevoice_dev.chaos.gaps import Usual, gaps
from litevoice_dev.chaos.place import PARTITIONS, ChaosPlace
from litevoice_dev.chaos.records import Call, Happened
from litevoice_dev.chaos.report import Result
from litevoice_dev.chaos.schedule import BRIEF_MINUTES, Fault
from litevoice_dev.chaos.watch import Watch, homes, use
from litevoice_dev.progress import say
from litevoice_dev.speech import speak

FIRST, MEMORY = "what is the capital of France", "what did I ask first"
BRIEF = (FIRST, "how many days are in a week", MEMORY)
LONG = (FIRST, "tell me a story", "please count to ten", "tell me about the ocean", MEMORY)
FINISH_SECONDS = 75.0
"""How long the last answers may take; longer than a caller's patience."""
SETTLE_SECONDS, BRIEF_SETTLE_SECONDS = 20.0, 4.0
RELEASE_SECONDS = 40.0
"""By then gateways have heard out, and released, the sessions whose clients have left."""
ARRIVE_SECONDS = 5.0
LOG_SECONDS, PACKETS_SECONDS = 20.0, 30.0


@dataclass(frozen=True, slots=True)
class Options:
    """`seconds`: of the disturbances; `churn`: short sessions per second."""

    seed: int
    seconds: float
    sessions: int
    speaking: int
    churn: float
    brokers: int
    folder: Path

    @property
    def brief(self) -> bool:
        return self.seconds < BRIEF_MINUTES * 60


async def run(options: Options, faults: Sequence[Fault], stop: asyncio.Event) -> Result:
    """`stop`: ends the disturbances early; what there is by then is judged."""
    async with (
        ChaosPlace(options.folder, options.brokers) as place,
        recorded_requests(place, options.folder) as requests,
    ):
        spoken, typed = await scripts(options.brief)
        say("undisturbed calls, to compare with")
        controls = [Caller(-1, script, place.urls, place.stack.api_key) for script in (spoken, typed)]
        await asyncio.gather(*(control.run(calls=1) for control in controls))
        control = {caller.script.spoken: caller.calls[0] for caller in controls}
        if problems := [problem for call in control.values() for problem in call.problems]:
            raise RuntimeError(f"a call failed with nothing disturbed: {'; '.join(problems)}")
        before = await use(place, [call.session_id for call in control.values()])

        callers = [
            Caller(
                n,
                spoken if n < options.speaking else typed,
                place.urls,
                place.stack.api_key,
                options.seed,
                acknowledged=n % 2 == 0,
            )
            for n in range(options.sessions)
        ]
        churn = Churn(place.urls, place.stack.api_key, options.churn, options.seed)
        watch = Watch(place)
        calling, began = [], time.monotonic()
        helpers = [asyncio.create_task(watch.run()), asyncio.create_task(churn.run())]
        for caller in callers:
            calling.append(asyncio.create_task(caller.run()))
            await asyncio.sleep(min(ARRIVE_SECONDS, options.seconds / 20) / len(callers))
        happened, broken = await disturb(place, faults, began, options.seconds, stop)
        ended = time.monotonic()

        say("the last answers")
        for caller in callers:
            caller.stop()
        helpers[1].cancel()
        failed = await finished(calling, churn)
        await asyncio.sleep(BRIEF_SETTLE_SECONDS if options.brief else SETTLE_SECONDS)
        helpers[0].cancel()
        await asyncio.gather(*helpers, return_exceptions=True)
        calls = [call for caller in callers for call in caller.calls if call.session_id]
        sessions = [*(call.session_id for call in calls), *churn.sessions]
        patience = time.monotonic() + RELEASE_SECONDS
        while (after := await use(place, sessions)).subscriptions and time.monotonic() < patience:  # noqa: ASYNC110
            await asyncio.sleep(2)
        (options.folder / "calls.json").write_text(json.dumps([asdict(call) for call in calls]))
        say(f"audit of {len(calls)} calls")
        try:
            judged, unread = await audit(place, calls, control, requests, happened)
            unread += split(await homes(place.stack.broker_settings, [call.session_id for call in calls]))
        except (BrokerError, TimeoutError) as error:
            judged, unread = Judged(), [Finding("lost", "audit", f"the broker cannot be read: {error!r}")]
        findings = [*judged.findings, *unread, *failed, *broken, *second_owners(watch.samples, PARTITIONS)]
        findings += growth(before, after, subscriptions=0)
        findings += [
            Finding("missing", "churn", f"{visit.outcome} {visit.at - began:.0f} s after the beginning")
            for visit in churn.visits
            if visit.outcome in ("silent", "error")
        ]
        return Result(
            seed=options.seed,
            began=began,
            ended=ended,
            calls=len(calls),
            judged=judged,
            faults=happened,
            gaps=gaps(happened, [(call, Usual.of([control[call.speaking]])) for call in calls], ended),
            usual=Usual.of(control.values()),
            visits=churn.visits,
            refused=sum(call.refused for call in calls),
            reconnects=sum(len(call.cuts) for call in calls),
            before=before,
            after=after,
            hold_gaps=not options.brief,
            whole=not stop.is_set(),
            findings=findings,
        )


async def scripts(brief: bool) -> tuple[Script, Script]:
    """For callers who speak, and for callers who type."""
    questions = BRIEF if brief else LONG
    clips = {question: await speak(question) for question in questions}
    return Script(questions, (0.2, 1.0), clips), Script(questions, (0.2, 2.0) if brief else (2.0, 10.0))


async def disturb(
    place: ChaosPlace, faults: Sequence[Fault], began: float, seconds: float, stop: asyncio.Event
) -> tuple[list[Happened], list[Finding]]:
    """Each fault at its time; returns when all are over and `seconds` have passed, or soon after `stop`.

    What did not come back after its fault is a finding.
    """
    striking: list[asyncio.Task[Happened]] = []

    async def until(at: float) -> bool:
        await set_within(stop, max(0.0, began + at - time.monotonic()))
        return stop.is_set()

    for fault in faults:
        if await until(fault.at):
            break
        say(f"{time.monotonic() - began:4.0f} s: {fault}")
        striking.append(asyncio.create_task(place.strike(fault)))
    await until(seconds)
    results = await asyncio.gather(*striking, return_exceptions=True)
    happened = sorted((one for one in results if isinstance(one, Happened)), key=lambda one: one.began)
    return happened, [
        Finding("missing", "after a fault", f"{type(one).__name__}: {one}")
        for one in results
        if isinstance(one, Exception)
    ]


async def finished(calling: Sequence[asyncio.Task[None]], churn: Churn) -> list[Finding]:
    """Waits for the last answers. Who does not end, or ends by an error of the program, is a finding."""
    waiting = [*calling, asyncio.create_task(churn.finish())]
    done, pending = await asyncio.wait(waiting, timeout=FINISH_SECONDS)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    errors = [error for task in done if (error := task.exception()) is not None]
    return [Finding("missing", "callers", "still waiting at the end") for _ in pending] + [
        Finding("told", "callers", f"{type(error).__name__}: {error}") for error in errors
    ]


@contextlib.asynccontextmanager
async def recorded_requests(place: ChaosPlace, folder: Path) -> AsyncIterator[Path]:
    """A process of its own that writes down all that goes up; the file of its lines. Entered when it reads."""
    settings, lines = folder / "audit.json", folder / "requests.jsonl"
    settings.write_text(json.dumps({"broker": json.loads(place.stack.broker_settings.model_dump_json(by_alias=True))}))
    process = processes.spawn([sys.executable, "-m", "litevoice_dev.audit", "requests", str(settings)], log=lines)
    try:
        async with asyncio.timeout(60):
            while not any(line.get("ready") for line in read_lines(lines)):
                if process.poll() is not None:
                    raise RuntimeError(f"the audit ended at its start:\n{processes.last_lines(lines)}")
                await asyncio.sleep(0.2)
        yield lines
    finally:
        processes.kill(process)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole JSON lines of a file that is still written to; others (of its log) are left out."""
    found = []
    for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
        with contextlib.suppress(ValueError):
            if isinstance(value := json.loads(line), dict):
                found.append(value)
    return found


async def audit(
    place: ChaosPlace, calls: Sequence[Call], control: dict[bool, Call], requests: Path, faults: Sequence[Happened]
) -> tuple[Judged, list[Finding]]:
    """All calls judged and added up, and those whose log could not be read. Waits for packets that are still coming."""
    logs: dict[str, list[dict[str, Any]]] = {}
    unread: list[Finding] = []
    async with reading_replies(place.stack.broker_settings) as read:
        for call in calls:
            try:
                async with asyncio.timeout(LOG_SECONDS):
                    logs[call.session_id] = await read(call.session_id)
            except LookupError:
                logs[call.session_id] = []  # nobody has ever said anything to it
            except TimeoutError:
                unread.append(Finding("lost", f"session {call.session_id}", f"log not read within {LOG_SECONDS:.0f} s"))
    deadline = time.monotonic() + PACKETS_SECONDS
    while True:
        by_session: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for line in read_lines(requests):
            by_session[line.get("session", "")].append(line)
        everything, lost = Judged(), False
        for call in calls:
            if call.session_id in logs:
                lines = by_session[call.session_id]
                one = judge_call(call, control[call.speaking], lines, logs[call.session_id], faults)
                lost |= any(finding.what == "lost" for finding in one.findings)
                everything.add(one)
        if not lost or time.monotonic() > deadline:
            (requests.parent / "replies.json").write_text(json.dumps(logs))
            return everything, unread
        await asyncio.sleep(3.0)
