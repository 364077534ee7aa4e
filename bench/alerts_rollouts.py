"""Rollouts of gateways under callers who never stop asking, while somebody looks whether an alert fires."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.outage import Caller, Model
from litevoice_contracts.names import Names
from litevoice_dev.ports import HOST
from litevoice_dev.progress import say
from litevoice_dev.rocketmq import LocalRocketMQ
from litevoice_dev.stack import LocalStack, Member
from litevoice_operator.manifests.keys import derive_keys
from litevoice_operator.manifests.paths import ADMIN_PORT
from tests.integration.operator.process import ROOT_KEY, Namespace, pod_ip
from tests.integration.operator.test_alerts import pod_status

CALLERS = 20
GATEWAYS = 2
SETTLE_SECONDS = 3.0
LOOK_SECONDS = 0.3


async def false_alarms(
    namespace: Namespace,
    rocketmq: LocalRocketMQ,
    names: Names,
    folder: Path,
    fire: Callable[[], set[str]],
    rollouts: int,
) -> tuple[list[str], int]:
    """Alerts that have fired meanwhile, of those that `fire` says, and how many answers the callers had."""
    keys = derive_keys(ROOT_KEY, namespace.name, "demo")
    hosts = {f"gateway-{index}": pod_ip(20 + index) for index in range(GATEWAYS)}
    hosts |= {f"gateway-{step % GATEWAYS}-next-{step + 1}": pod_ip(30 + step) for step in range(rollouts)}
    hosts |= {f"worker-{index}": pod_ip(10 + index) for index in range(2)}
    model, tasks, found = Model(), list[asyncio.Task[None]](), set[str]()
    async with model.serving() as port:
        endpoint = {"baseUrl": f"http://{HOST}:{port}/v1", "model": "echo"}
        responder = {"use": "openai", "options": {"endpoints": [endpoint]}}
        stack = LocalStack(
            folder / "stack",
            rocketmq.endpoints,
            rocketmq.name_server,
            names=names,
            gateway={"drainPolicy": "Migrate"},
            worker={
                "pipelines": [{"name": "echo", "responder": responder}],
                "adminTokenSha256": hashlib.sha256(keys.worker_token.encode()).hexdigest(),
            },
            admin_token=keys.admin_token,
            admin_hosts=hosts,
            admin_port=ADMIN_PORT,
            progress=say,
        )
        try:
            stack.launch(GATEWAYS)
            await stack.wait_ready()
            for member in (*stack.gateways, *stack.workers):
                _appear(namespace, member, hosts)
            callers = [
                Caller(number, stack.gateways[number % GATEWAYS].url, stack.api_key) for number in range(CALLERS)
            ]
            tasks += [asyncio.create_task(caller.run()) for caller in callers]
            watch = asyncio.create_task(_watch(fire, found))
            tasks.append(watch)
            for step in range(rollouts):
                await asyncio.sleep(SETTLE_SECONDS)
                await _replace(namespace, stack, step % GATEWAYS, hosts, callers)
                say(f"rollout {step + 1}: {sum(len(caller.answers) for caller in callers)} answers so far")
            await asyncio.sleep(SETTLE_SECONDS)
            if watch.done():
                watch.result()  # what nobody has looked at is no proof
            return sorted(found), sum(len(caller.answers) for caller in callers)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.to_thread(stack.kill)
            for member in (*stack.gateways, *stack.workers):
                if namespace.get("v1", "pods", member.name) is not None:
                    _vanish(namespace, member)


async def _replace(
    namespace: Namespace, stack: LocalStack, index: int, hosts: dict[str, str], callers: Sequence[Caller]
) -> None:
    """As a kubelet ends a pod and begins the next; meanwhile the pod is listed as ending, and callers who come back
    find the other one, as behind a Service."""
    gone, other = stack.gateways[index], stack.gateways[(index + 1) % GATEWAYS]
    for caller in callers:
        caller.url = other.url
    namespace.server.request("DELETE", namespace.path("v1", "pods", gone.name))
    gone.terminate()
    await gone.wait_gone()
    _vanish(namespace, gone)
    new = stack.replace_gateway(gone)
    await new.wait_ready()
    _appear(namespace, new, hosts)


def _appear(namespace: Namespace, member: Member, hosts: dict[str, str]) -> None:
    component = member.name.partition("-")[0]
    namespace.make_pod(member.name, "demo", component, "node-a", **pod_status(hosts[member.name]))


def _vanish(namespace: Namespace, member: Member) -> None:
    namespace.server.request("DELETE", f"{namespace.path('v1', 'pods', member.name)}?gracePeriodSeconds=0")


async def _watch(fire: Callable[[], set[str]], found: set[str]) -> None:
    while True:
        found.update(await asyncio.to_thread(fire))
        await asyncio.sleep(LOOK_SECONDS)
