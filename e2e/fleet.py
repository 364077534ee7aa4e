"""A fleet that is scaled, rolled, drained and struck on a real cluster while people call (`make fleet`).

Makes the cluster of `make e2e` when it is not there. 150 callers of whom 20 speak, and 5 who cannot come back; then,
one after the other: 1 → 4 → 1 gateways three times, three rollouts of a fleet in which every place is taken (the first
is a `helm upgrade` to another gateway image), a node that is drained, one that is cut off for a minute, a gateway that
is killed while the operator is away, the API server away. Every packet, event and answer is compared with the broker's
log and with an undisturbed call; each choice of who goes, each gap of a planned move and each early end of somebody who
cannot come back is judged (`litevoice_dev.fleet.judge`).

Prints a table, keeps raw data and a plot of the sessions of each gateway in fleet-output/, and exits with 1 on a miss.
Takes about an hour; --brief, which is part of `make test`, four minutes: 16 callers, once 1 → 4 → 1, and a rollout.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from e2e import fleet_nodes, fleet_place
from e2e.audit_pod import AuditPod
from e2e.environment import Endpoint, is_local, prepare, upgrade_gateway_image
from e2e.fleet_watch import Watch
from e2e.shell import CommandFailed
from litevoice_contracts.errors import InvalidField
from litevoice_dev import processes
from litevoice_dev.chaos.callers import Caller, Script
from litevoice_dev.chaos.checker import Finding, Judged, judge_call
from litevoice_dev.chaos.records import Call
from litevoice_dev.chaos.run import scripts
from litevoice_dev.fleet.cri import objects
from litevoice_dev.fleet.judge import Verdict, judge
from litevoice_dev.fleet.plan import BRIEF, LARGE, WHOLE, Extent, Planned, check, max_per_pod, plan
from litevoice_dev.fleet.records import Step
from litevoice_dev.fleet.report import lines, plot
from litevoice_dev.fleet.stays import Stayer
from litevoice_dev.progress import say
from litevoice_dev.speech import SpeechFailed

CUT_SECONDS = 60.0
"""Longer than the 40 s after which Kubernetes says that the node is not ready."""
LAST_ANSWERS_SECONDS = 150.0
AUDIT_SECONDS = 900.0
COPIED_SECONDS = 5.0
"""What a finished container has printed is in our copy by then."""
PACKETS_SECONDS = 20.0
CONTROL_PAUSE = (0.2, 1.0)
"""Seconds between two questions of the undisturbed calls: the quicker, the sooner the rest begins."""


@dataclass(slots=True)
class Run:
    """Attributes:
    logs: session → what its LiteTopic holds, of calls that are over.
    """

    endpoint: Endpoint
    options: argparse.Namespace
    extent: Extent
    stay_node: str
    other_node: str
    control: dict[bool, Call] = field(default_factory=dict)
    callers: list[Caller] = field(default_factory=list)
    stayers: list[Stayer] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    logs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    unread: list[Finding] = field(default_factory=list)

    @property
    def calls(self) -> list[Call]:
        return [call for caller in self.callers for call in caller.calls if call.session_id]

    def caller(self, number: int, script: Script) -> Caller:
        return Caller(number, script, [self.endpoint.url], self.endpoint.api_key, self.options.seed)

    async def step(self, kind: str, what: str, act: Callable[[], object], struck: Sequence[str] = ()) -> None:
        """What does not come about is written down, and the run goes on."""
        began, problem = time.monotonic(), ""
        say(what)
        try:
            await asyncio.to_thread(act)
        except (CommandFailed, TimeoutError, RuntimeError) as error:
            problem = f"{type(error).__name__}: {str(error)[:500]}"
            say(f"{what}: {problem}")
        self.steps.append(Step(kind, what, began, time.monotonic(), frozenset(struck), problem))


async def fleet(options: argparse.Namespace) -> tuple[Verdict, Run, Watch, float]:
    endpoint = await asyncio.to_thread(prepare)
    extent = extent_of(options)
    run = Run(endpoint, options, extent, *await asyncio.to_thread(fleet_place.workers_nodes))
    people = options.sessions + options.staying
    await asyncio.to_thread(reset, people, extent.drain_seconds)
    spoken, typed = await scripts(brief=False)  # short calls would be over before a rollout moves them
    typed = replace(typed, pause=extent.pause_seconds)
    controls = [run.caller(-1, replace(script, pause=CONTROL_PAUSE)) for script in (spoken, typed)]
    async with recorded(run.stay_node, options.output) as requests:
        run.callers = [run.caller(n, spoken if n < options.speaking else typed) for n in range(options.sessions)]
        run.stayers = [
            Stayer(number, [endpoint.url], endpoint.api_key, options.seed) for number in range(options.staying)
        ]
        watch, began = Watch(), time.monotonic()
        calling = [asyncio.create_task(caller.run()) for caller in run.callers]
        helpers = [asyncio.create_task(watch.run()), *(asyncio.create_task(one.run()) for one in run.stayers)]
        try:
            await asyncio.sleep(extent.between_seconds)
            say("nothing is done yet: what is usual, and calls to compare with")
            began_quiet = time.monotonic()
            await asyncio.gather(asyncio.sleep(extent.quiet_seconds), *(caller.run(calls=1) for caller in controls))
            quiet = began_quiet, time.monotonic()
            run.control = controlled(controls)
            for planned in plan(extent, options.only):
                await carry_out(run, planned, people)
                if helpers[0].done():
                    raise RuntimeError(f"the watch ended: {helpers[0].exception()}")
                await asyncio.sleep(extent.between_seconds)
                if not options.brief:
                    await audit(run)
            say("the last answers")
            for caller in run.callers:
                caller.stop()
            _, late = await asyncio.wait(calling, timeout=LAST_ANSWERS_SECONDS)
            run.unread += [Finding("missing", "callers", "still waiting at the end") for _ in late]
        finally:
            for task in (*calling, *helpers):
                task.cancel()
            await asyncio.to_thread(fleet_place.restore)
            ended = await asyncio.gather(*calling, *helpers, return_exceptions=True)
        run.unread += [Finding("told", "callers", repr(error)) for error in ended if isinstance(error, Exception)]
        await audit(run, last=True)
        await asyncio.sleep(PACKETS_SECONDS)
        judged = await asyncio.to_thread(compared, run, requests)
    stays = [stay for stayer in run.stayers for stay in stayer.stays]
    stay_seconds = extent.drain_seconds - fleet_place.CLOSE_SECONDS
    verdict = judge(
        judged, run.calls, stays, watch.samples, run.steps, stay_seconds, quiet, gaps_decide=not options.brief
    )
    verdict.findings += run.unread
    return verdict, run, watch, began


def controlled(controls: Sequence[Caller]) -> dict[bool, Call]:
    """Raises RuntimeError when one of them was disturbed."""
    found = {caller.script.spoken: caller.calls[0] for caller in controls}
    if problems := [problem for call in found.values() for problem in (*call.problems, call.gave_up) if problem]:
        raise RuntimeError(f"a call failed with nothing disturbed: {'; '.join(problems)}")
    return found


def extent_of(options: argparse.Namespace) -> Extent:
    return BRIEF if options.brief else WHOLE


def reset(people: int, drain_seconds: int) -> None:
    """One gateway that holds all of them."""
    drain = fleet_place.drain_within(drain_seconds)
    fleet_place.patch({"replicas": 1, "drain": drain, "session": {"maxPerPod": max_per_pod(people, full=False)}})
    fleet_place.wait_settled(1)


async def carry_out(run: Run, planned: Planned, people: int) -> None:
    what, away = str(planned), run.options.away
    if planned.kind == "scale-up":
        return await run.step("scale-up", what, lambda: scale_up(planned.replicas, run.extent.spread_seconds))
    if planned.kind == "scale-down":
        return await run.step("scale-down", what, lambda: fleet_place.scale(planned.replicas))
    if planned.kind == "rollout":
        if planned.number == 1:
            await run.step("filling", "a place for each", lambda: fill(people))
        change = upgrade_gateway_image if planned.number == 1 else fleet_place.restart
        return await run.step("rollout", what, lambda: fleet_place.roll(LARGE, change))
    # From here on gateways are lost: the others take their sessions.
    await run.step("spreading", f"before {what}", lambda: spread(people, evenly=not run.options.brief))
    if planned.kind == "node-drain":
        return await run.step(what=what, kind="node-drain", act=lambda: fleet_place.drain_node(run.other_node, LARGE))
    if planned.kind == "node-cut":
        return await run.step("node-cut", what, lambda: fleet_place.cut_node_off(run.other_node, CUT_SECONDS, LARGE))
    if planned.kind == "api-away":
        await run.step("api-away", what, lambda: fleet_place.api_server_away(away))
        return await run.step("settling", f"after {what}", lambda: fleet_place.wait_settled(LARGE))
    victim = (await asyncio.to_thread(fleet_place.gateway_pods))[0]["metadata"]["name"]
    back = time.monotonic() + away
    await run.step("operator-away", "the operator stops", fleet_place.stop_operator)
    await run.step("pod-kill", what, lambda: fleet_place.kill_pod(victim, LARGE), [victim])

    def operator_comes_back() -> None:
        time.sleep(max(0.0, back - time.monotonic()))
        fleet_place.start_operator()
        fleet_place.wait_settled(LARGE)

    return await run.step("operator-away", f"the operator is away for {away:.0f} s", operator_comes_back)


def scale_up(replicas: int, spread_seconds: float) -> None:
    fleet_place.scale(replicas)
    time.sleep(spread_seconds)


def fill(people: int) -> None:
    """LARGE gateways in which every place is taken."""
    fleet_place.patch({"replicas": LARGE, "session": {"maxPerPod": max_per_pod(people, full=True)}})
    fleet_place.wait_settled(LARGE)


def spread(people: int, *, evenly: bool) -> None:
    """LARGE gateways, each with room for all; `evenly`: on both nodes."""
    fleet_place.patch({"replicas": LARGE, "session": {"maxPerPod": max_per_pod(people, full=False)}})
    fleet_place.wait_settled(LARGE)
    if evenly:
        fleet_place.roll(LARGE)
        nodes = {pod["spec"]["nodeName"] for pod in fleet_place.gateway_pods()}
        if len(nodes) < len(fleet_place.workers_nodes()):
            raise RuntimeError(f"all gateways are on {', '.join(sorted(nodes))}: they would be lost together")


@contextlib.asynccontextmanager
async def recorded(node: str, folder: Path) -> AsyncIterator[Path]:
    """A pod writes down all that goes up; the file of what it prints. Entered when it reads."""
    pod, copied = AuditPod("requests", node=node), folder / "requests.log"
    await asyncio.to_thread(pod.start)
    try:
        await asyncio.to_thread(pod.wait_ready)
        copying = fleet_nodes.follow(node, pod.name, "audit", copied)
        try:
            yield copied
        finally:
            processes.kill(copying)
    finally:
        await asyncio.to_thread(pod.remove)


async def audit(run: Run, *, last: bool = False) -> None:
    """Reads the logs of all calls that are over and were not read yet: LiteTopics do not live for ever. `last`: nobody
    calls any more."""
    over = run.calls if last else [call for caller in run.callers for call in caller.calls[:-1] if call.session_id]
    sessions = [call.session_id for call in over if call.session_id not in run.logs]
    if not sessions:
        return
    say(f"audit of {len(sessions)} calls")
    pod, copied = AuditPod("replies", *sessions, node=run.stay_node), run.options.output / "replies.log"
    copied.unlink(missing_ok=True)
    try:
        await asyncio.to_thread(pod.start)
        await asyncio.to_thread(pod.wait_started)
        copying = fleet_nodes.follow(run.stay_node, pod.name, "audit", copied)
        try:
            await asyncio.to_thread(pod.wait_over, AUDIT_SECONDS)
            await asyncio.sleep(COPIED_SECONDS)
        finally:
            processes.kill(copying)
    except (CommandFailed, TimeoutError, RuntimeError) as error:
        run.unread.append(Finding("missing", "audit", f"{len(sessions)} calls: {error}"))
        return
    finally:
        await asyncio.to_thread(pod.remove)
    for line in objects(copied.read_text(errors="replace").splitlines()):
        if "log" in line:
            run.logs[line["session"]] = line["log"]
        elif "error" in line:
            run.unread.append(Finding("lost", f"session {line['session']}", f"its log: {line['error']}"))
            run.logs[line["session"]] = []
    run.unread += [
        Finding("missing", "audit", f"session {one}: its log was not read") for one in sessions if one not in run.logs
    ]


def compared(run: Run, requests: Path) -> Judged:
    """All calls whose log was read, added up."""
    by_session: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    with requests.open(errors="replace") as copied:
        for line in objects(copied):
            by_session[line.get("session", "")].append(line)
    everything = Judged()
    for call in run.calls:
        if call.session_id in run.logs:
            up, log = by_session[call.session_id], run.logs[call.session_id]
            everything.add(judge_call(call, run.control[call.speaking], up, log))
    return everything


def _default(name: str) -> str:
    return f"(default: {getattr(WHOLE, name):g} [{getattr(BRIEF, name):g}])"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m e2e.fleet", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--brief", action="store_true", help="four minutes of it: the defaults in brackets")
    parser.add_argument("--sessions", type=int, help=f"calls at the same time {_default('sessions')}")
    parser.add_argument("--speaking", type=int, help=f"of these, with a microphone {_default('speaking')}")
    parser.add_argument("--staying", type=int, help=f"beside them, who cannot return {_default('staying')}")
    parser.add_argument(
        "--away", type=float, help=f"seconds without operator, or API server {_default('away_seconds')}"
    )
    parser.add_argument("--only", default="", metavar="KINDS", help="scale, rollout, node-drain, node-cut, …")
    parser.add_argument("--seed", type=int, default=1, help="of the callers' pauses (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("fleet-output"), help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    extent = extent_of(options)
    options.sessions = extent.sessions if options.sessions is None else options.sessions
    options.speaking = extent.speaking if options.speaking is None else options.speaking
    options.staying = extent.staying if options.staying is None else options.staying
    options.away = extent.away_seconds if options.away is None else options.away
    try:
        check(options.sessions, options.speaking, options.staying, options.away)
        plan(extent, options.only)
    except InvalidField as error:
        parser.error(str(error))
    if not is_local():
        parser.error("LITEVOICE_CLUSTER=existing: nodes are cut off and drained, so it makes a cluster of its own")
    options.output.mkdir(parents=True, exist_ok=True)
    for old in options.output.glob("*.log"):
        old.unlink()
    try:
        verdict, run, watch, began = asyncio.run(fleet(options))
    except (CommandFailed, SpeechFailed, TimeoutError, RuntimeError) as error:
        say(f"stopped: {error}")
        return 1
    stays = [stay for stayer in run.stayers for stay in stayer.stays]
    (options.output / "sessions.svg").write_text(plot(watch.samples, run.steps, began))
    told = " ".join(finding.where for finding in verdict.findings)
    raw = {
        "findings": [asdict(finding) for finding in verdict.findings],
        "moves": [asdict(move) for move in verdict.moves],
        "steps": [{**asdict(step), "struck": sorted(step.struck)} for step in run.steps],
        "stays": [asdict(stay) for stay in stays],
        "samples": [asdict(sample) for sample in watch.samples],
        "calls": [asdict(call) for call in run.calls],
        "logs": {session: log for session, log in run.logs.items() if session in told},
    }
    (options.output / "fleet.json").write_text(json.dumps(raw))
    print("\n" + "\n".join(lines(verdict, run.steps, stays, len(run.calls))))
    print(f"plot: {options.output / 'sessions.svg'}")
    return 0 if verdict.good else 1


if __name__ == "__main__":
    sys.exit(main())
