"""How soon an alert tells of a fault, whether it tells of what is none, and what it costs to look.

    python -m bench.alerts [--topics 100000] [--lagging 500] [--crossings 20] [--planted 200] [--rollouts 10]

RocketMQ, an API server, the operator and Debian's Alertmanager, all of them real. The broker gets `topics` LiteTopics
that were read, `lagging` of them with something that waits. Then, again and again, what waits for a caller who does not
read crosses the threshold of an alert, and Alertmanager is asked until it fires; the same for LiteTopics that nobody
has. In `rollouts` of a gateway under callers who ask without end, none of the alerts in examples/ may fire. `planted`
orphans, and sessions that the broker lists for another owner than the gateway that serves them, are to be found by what
`litevoice orphans` asks; `planted` callers whose turn no worker takes, by an alert for turns. Beside that a peer asks
the broker about one LiteTopic after the other, as whoever has no walk over all of them has to.

Prints one table, writes raw data, and exits with 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import random
import shutil
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from websockets.asyncio.client import ClientConnection

from bench.alerts_figures import FOUND_SECONDS, Measured, figures
from bench.alerts_owner import AT_ONCE, POD, Owner
from bench.alerts_readers import SlowReader
from bench.alerts_rollouts import false_alarms
from bench.proc import cpu_seconds, memory_bytes
from bench.programs import cache
from bench.report import add_output, finish
from litevoice_broker.admin import Admin
from litevoice_contracts.names import Names, new_session_id
from litevoice_contracts.operator_api import AUDIENCE, MAX_LISTED, ORPHANS_PATH
from litevoice_dev.chaos.links import Link
from litevoice_dev.ports import HOST
from litevoice_dev.progress import say
from litevoice_dev.rocketmq import LocalRocketMQ
from tests.integration.alerting import active, alertmanager
from tests.integration.apiserver import ApiServer, running, wait_until
from tests.integration.operator.process import (
    Namespace,
    OperatorProcess,
    backlog_alert,
    grant_chart_rules,
    grant_reviews,
    voice_gateway,
)
from tests.integration.operator.test_alerts import GatewayPod

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
PARTITIONS = 8
EXPIRATION_MINUTES = 24 * 60
"""No LiteTopic may be gone before the last measurement, however long it takes to make them all."""
SETTLE_SECONDS, CPU_SECONDS = 10.0, 60.0
STEADY_CORES, MAX_SETTLES = 0.01, 30
LOOK_SECONDS = 0.02
THRESHOLD = 50
UNDER = 2
"""Messages that wait in one that only lags."""
UNHELD = 5
"""Crossings of LiteTopics that no gateway has."""
PEER_ASKS = 2000
PATIENCE_SECONDS = 60.0
SPOKEN = json.dumps({"type": "input_audio_buffer.append", "audio": base64.b64encode(b"\x00\x10" * 2400).decode()})


class Bench:
    def __init__(
        self, options: argparse.Namespace, namespace: Namespace, operator: OperatorProcess, rocketmq: LocalRocketMQ,
        alertmanager_url: str,
    ) -> None:  # fmt: skip
        self.measured = Measured()
        self._options, self._namespace, self._operator, self._rocketmq = options, namespace, operator, rocketmq
        self._alertmanager_url = alertmanager_url
        self._names = Names.default(namespace.name, "demo", PARTITIONS)
        self._owner = Owner(rocketmq, self._names)
        self._token = ""

    async def run(self) -> None:
        await self._owner.start()
        try:
            names = [new_session_id(b"k" * 32, "bench", PARTITIONS) for _ in range(self._options.topics)]
            await self._owner.make(names)
            lagging = names[: self._options.lagging]
            await self._owner.send(lagging, UNDER)
            await self._polling()
            await self._crossings()
            await self._unheld_crossings(lagging[:UNHELD])
            await self._looks(names)
            crossed = UNHELD
            await self._owner.read(lagging[crossed:], 1 + UNDER)
            await self._rollouts()
            await self._orphans(names[len(lagging) :][: self._options.planted])
            await self._wrong_owners()
            await self._stuck_turns()
        finally:
            await self._owner.close()

    async def _polling(self) -> None:
        await self._settled()
        self.measured.idle_cores = await self._broker_cores()
        self._alert("depth", "Replies", {"messages": THRESHOLD})
        await self._condition("depth", "Ready", "True")
        self.measured.polling_cores = await self._broker_cores()
        self._weigh()
        self.measured.false_alarms += self._active()

    async def _settled(self) -> None:
        """Once the broker has tidied up after all that was written, so that what it does then is no measure's."""
        before = float("inf")
        for _ in range(MAX_SETTLES):
            cores = await self._broker_cores(SETTLE_SECONDS)
            if abs(before - cores) <= STEADY_CORES:
                break
            before = cores
        say(f"the broker is at {cores:.2f} cores without alerts")

    def _weigh(self) -> None:
        """The operator, at its heaviest."""
        mebibytes = memory_bytes(self._operator.pid) / (1 << 20)
        self.measured.operator_mebibytes = max(self.measured.operator_mebibytes, mebibytes)

    async def _crossings(self) -> None:
        chance = random.Random(1)
        async with self._gateway(0, sendBufferBytes=65536) as pod:
            for number in range(self._options.crossings):
                async with SlowReader(pod, self._owner) as caller:
                    await caller.settled()
                    await caller.wait(THRESHOLD - 1)
                    await asyncio.sleep(chance.uniform(0, 5))
                    self.measured.false_alarms += self._active()
                    await caller.wait(THRESHOLD)
                    seconds = await self._until_depth_fires()
                self.measured.crossings.append(seconds)
                say(f"crossing {number + 1}: {seconds:.2f} s")
                await self._until(lambda: not self._active())

    async def _unheld_crossings(self, names: Sequence[str]) -> None:
        for name in names:
            await self._owner.send([name], THRESHOLD - UNDER)
            self.measured.unheld_crossings.append(await self._until_depth_fires())
            say(f"crossing that no gateway sees: {self.measured.unheld_crossings[-1]:.2f} s")
            await self._owner.read([name], 1 + THRESHOLD)
            await self._until(lambda: not self._active())

    async def _until_depth_fires(self) -> float:
        return await self._until(lambda: "depth" in self._active())

    async def _looks(self, names: Sequence[str]) -> None:
        """What a look at everything costs the broker."""
        admin, asked = Admin(self._rocketmq.name_server), names[:PEER_ASKS]
        try:
            await admin.lite_lag(self._names.gateway_group, 100_000, parent=self._names.reply_topic)
            began = self._broker_cpu()
            for _ in range(5):
                await admin.lite_lag(self._names.gateway_group, 100_000, parent=self._names.reply_topic)
            self.measured.sweep_cpu = (self._broker_cpu() - began) / 5
            began = self._broker_cpu()
            for first in range(0, len(asked), AT_ONCE):
                await admin.lite_topics(
                    self._names.reply_topic, asked[first : first + AT_ONCE], self._names.gateway_group
                )
            self.measured.peer_cpu = (self._broker_cpu() - began) * len(names) / len(asked)
        finally:
            await admin.close()

    async def _rollouts(self) -> None:
        """Under the alerts of examples/."""
        server, alerts = self._namespace.server, self._namespace.alerts
        server.request("DELETE", f"{alerts}/depth")
        names = []
        for file in sorted(EXAMPLES.glob("backlogalert-*.yaml")):
            alert = yaml.safe_load(file.read_text())
            alert["spec"] |= {"gatewayRef": {"name": "demo"}, "routes": ["oncall"]}
            names.append(server.create(alerts, alert)["metadata"]["name"])
        for name in names:
            await self._condition(name, "Ready", "True")
        fired, self.measured.answers = await false_alarms(
            self._namespace,
            self._rocketmq,
            self._names,
            self._options.folder,
            lambda: {*self._active(), *self._firing()},
            self._options.rollouts,
        )
        if not self.measured.answers:
            raise RuntimeError("there was no load: the callers had no answer at all")
        self.measured.rollouts = self._options.rollouts
        self.measured.false_alarms += [f"{name} in a rollout" for name in fired]
        self._weigh()
        for name in names:
            server.request("DELETE", f"{alerts}/{name}")

    async def _orphans(self, names: Sequence[str]) -> None:
        """Replies wait in them, and nobody owns them."""
        ask = self._asking()
        await self._owner.send(names, 1)
        await self._found("orphan", names, lambda: {row["session_id"] for row in ask() if row["fault"] == "orphan"})
        await self._owner.read(names, 2)

    async def _wrong_owners(self) -> None:
        """A gateway is cut off from the broker, and what its callers have is taken over by somebody else."""
        ask = self._asking()
        link = await Link(int(self._rocketmq.endpoints.rpartition(":")[2])).start()
        try:
            async with self._gateway(1, link.address) as pod, self._callers(pod) as sockets:
                names = list(sockets)
                await link.cut("black-hole")
                await self._owner.hold(names)

                def found() -> set[str]:
                    """Whether or not the gateway has found out meanwhile."""
                    return {row["session_id"] for row in ask() if row["subscribers"] == [POD]}

                await self._found("wrong owner", names, found)
                await self._owner.give_up(names)
        finally:
            await link.close()

    def _asking(self) -> Callable[[], list[dict[str, Any]]]:
        """What asks the operator as `litevoice orphans` does."""
        namespace, accounts = self._namespace, self._namespace.path("v1", "serviceaccounts")
        if self._token == "":
            grant_reviews(namespace.server, namespace.name, f"{namespace.name}/viewer")
            namespace.server.create(accounts, {"metadata": {"name": "viewer"}})
            wish = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": [AUDIENCE]}}
            self._token = namespace.server.request("POST", f"{accounts}/viewer/token", wish)["status"]["token"]
        url = f"http://{HOST}:{self._operator.port}{ORPHANS_PATH}?namespace={namespace.name}&limit={MAX_LISTED}"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {self._token}"})

        def ask() -> list[dict[str, Any]]:
            with urllib.request.urlopen(request, timeout=30) as response:
                rows: list[dict[str, Any]] = json.load(response)["orphans"]
            return rows

        return ask

    @contextlib.asynccontextmanager
    async def _gateway(self, number: int, endpoints: str = "", **settings: Any) -> AsyncIterator[GatewayPod]:
        """A process for the VoiceGateway, and its pod."""
        pod = GatewayPod(self._namespace, self._options.folder / f"gateway-{number}", number)
        pod.change(settings)
        if endpoints:
            pod.change({"broker": {**pod.settings["broker"], "endpoints": endpoints}})
        try:
            with pod:
                await asyncio.to_thread(wait_until, pod.ready, "the gateway to be ready", 90)
                yield pod
        finally:
            path = self._namespace.path("v1", "pods", pod.name)
            self._namespace.server.request("DELETE", f"{path}?gracePeriodSeconds=0")

    @contextlib.asynccontextmanager
    async def _callers(self, pod: GatewayPod) -> AsyncIterator[dict[str, ClientConnection]]:
        """As many as are to be planted, by session."""
        async with contextlib.AsyncExitStack() as callers:
            sockets = {}
            for _ in range(self._options.planted):
                socket = await callers.enter_async_context(pod.connect())
                sockets[json.loads(await socket.recv())["session"]["id"]] = socket
            hearing = [asyncio.create_task(_hear(socket)) for socket in sockets.values()]
            try:
                yield sockets
            finally:
                for task in hearing:
                    task.cancel()

    async def _stuck_turns(self) -> None:
        """Callers who speak to a gateway that no worker hears."""
        self._alert("stuck", "Turns", {"ageSeconds": 3})
        async with self._gateway(0) as pod, self._callers(pod) as sockets:
            await self._condition("stuck", "Ready", "True")
            self.measured.false_alarms += [name for name in self._active() if name == "stuck"]
            for _ in range(10):
                await asyncio.gather(*(socket.send(SPOKEN) for socket in sockets.values()))
                await asyncio.sleep(0.1)

            def found() -> int:
                told = (self._namespace.server.get(f"{self._namespace.alerts}/stuck") or {}).get("status", {})
                fires = told.get("state") == "Firing" and "stuck" in self._active()
                return int(told.get("value", {}).get("sessions", 0)) if fires else 0

            await self._counted("stuck turn", len(sockets), found)
        self._weigh()

    async def _found(self, fault: str, names: Sequence[str], found: Callable[[], set[str]]) -> None:
        wanted = set(names)
        await self._counted(fault, len(wanted), lambda: len(wanted & found()))

    async def _counted(self, fault: str, count: int, found: Callable[[], int]) -> None:
        """Since all are planted."""
        self.measured.planted[fault], self.measured.found[fault] = count, 0
        began = time.monotonic()
        while time.monotonic() - began < 3 * FOUND_SECONDS and self.measured.found[fault] < count:
            self.measured.found[fault] = await asyncio.to_thread(found)
            await asyncio.sleep(0.1)
        seconds = time.monotonic() - began
        self.measured.found_after[fault] = seconds if self.measured.found[fault] >= count else None
        say(f"{fault}: {self.measured.found[fault]} of {count} after {seconds:.1f} s")

    async def _broker_cores(self, seconds: float = CPU_SECONDS) -> float:
        began, cpu = time.monotonic(), self._broker_cpu()
        await asyncio.sleep(seconds)
        return (self._broker_cpu() - cpu) / (time.monotonic() - began)

    def _broker_cpu(self) -> float:
        return cpu_seconds(self._rocketmq.broker.pid)

    def _active(self) -> list[str]:
        """Names of the alerts that Alertmanager takes for firing."""
        return [one["labels"]["alert"] for one in active(self._alertmanager_url)]

    def _firing(self) -> list[str]:
        """Names of the alerts that fire by their status, those that are held back in a drain among them."""
        listed = self._namespace.server.request("GET", self._namespace.alerts)["items"]
        return [one["metadata"]["name"] for one in listed if one.get("status", {}).get("state") == "Firing"]

    def _alert(self, name: str, target: str, per_session: dict[str, int]) -> None:
        thresholds = [{"severity": "critical", "perSession": per_session}]
        spec: dict[str, Any] = {"thresholds": thresholds, "forSeconds": 0, "keepFiringForSeconds": 0}
        self._namespace.server.create(
            self._namespace.alerts, backlog_alert(name, "demo", target, routes=["oncall"], **spec)
        )

    async def _condition(self, alert: str, kind: str, status: str) -> None:
        path = f"{self._namespace.alerts}/{alert}"
        await asyncio.to_thread(self._namespace.wait_condition, path, kind, status)

    async def _until(self, condition: Callable[[], bool]) -> float:
        """Seconds until then, or PATIENCE_SECONDS."""
        began = time.monotonic()
        while not await asyncio.to_thread(condition):
            if time.monotonic() - began > PATIENCE_SECONDS:
                break
            await asyncio.sleep(LOOK_SECONDS)
        return time.monotonic() - began


async def _hear(socket: ClientConnection) -> None:
    async for _ in socket:
        pass


@contextlib.asynccontextmanager
async def place(options: argparse.Namespace) -> AsyncIterator[Bench]:
    with contextlib.ExitStack() as rest:
        for old in ("api", "alertmanager", "gateway-0", "gateway-1", "operator", "stack"):
            shutil.rmtree(options.folder / old, ignore_errors=True)
        rocketmq = LocalRocketMQ(options.folder / "rocketmq", fresh=True, progress=say)
        rest.callback(rocketmq.kill)
        await asyncio.to_thread(rocketmq.start)
        say("starting an API server, Alertmanager and the operator")
        server: ApiServer = rest.enter_context(running(options.folder / "api"))
        await asyncio.to_thread(server.install_definitions)
        grant_chart_rules(server)
        url = rest.enter_context(alertmanager(options.folder / "alertmanager"))
        channels = json.dumps([{"name": "oncall", "alertmanager": {"urls": [url]}}])
        operator = OperatorProcess(server, rocketmq, options.folder / "operator", ALERT_CHANNELS=channels)
        rest.callback(operator.kill)
        await asyncio.to_thread(operator.start)
        namespace = Namespace.new(server)
        lasts = {"partitions": PARTITIONS, "expirationMinutes": EXPIRATION_MINUTES}
        server.create(namespace.gateways, voice_gateway("demo", rocketmq=lasts))
        await asyncio.to_thread(namespace.wait_condition, f"{namespace.gateways}/demo", "Ready", "False")
        await asyncio.to_thread(
            wait_until, lambda: namespace.get("v1", "configmaps", "demo-gateway") is not None, "the VoiceGateway"
        )
        yield Bench(options, namespace, operator, rocketmq, url)


async def measure(options: argparse.Namespace) -> Measured:
    async with place(options) as bench:
        await bench.run()
        return bench.measured


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.alerts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--topics", type=int, default=100_000, help="LiteTopics (default: %(default)s)")
    parser.add_argument("--lagging", type=int, default=500, help="of them, that lag (default: %(default)s)")
    parser.add_argument("--crossings", type=int, default=20, help="of the threshold (default: %(default)s)")
    parser.add_argument("--planted", type=int, default=200, help="faults of each kind (default: %(default)s)")
    parser.add_argument("--rollouts", type=int, default=10, help="of a gateway (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=cache() / "bench" / "alerts", help="stores and logs")
    add_output(parser)
    options = parser.parse_args(arguments)
    if options.lagging + options.planted > options.topics or options.lagging < UNHELD:
        parser.error(f"--topics: expected at least --lagging and --planted together; --lagging: at least {UNHELD}")
    options.folder.mkdir(parents=True, exist_ok=True)
    measured = asyncio.run(measure(options))
    heading = f"{options.topics} LiteTopics, {options.lagging} of them lagging, {options.crossings} crossings"
    return finish("alerts", options, figures(measured), {"alerts": asdict(measured)}, heading)


if __name__ == "__main__":
    sys.exit(main())
