"""What the operator costs with 10, 100 and 1,000 pods, once all is settled, on a real API server and a real RocketMQ.

    python -m bench.operator [--pods 10 100 1000] [--seconds 60]

Ten pods for each VoiceGateway: eight gateways, two workers; each VoiceGateway has a BacklogAlert. Pods exist for the
API server alone, as with kwok; they answer from one process (`bench.canned_pods`), over TLS, and the sessions that they
hold come and go. What the API server is asked for is read from its audit log. Beside the operator, at the same time and
with the same events, runs kopf alone with the same watches (`bench.bare_operator`): what is left is the operator's own.

Prints one table, writes raw data, and exits with 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
import time
from collections.abc import Awaitable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx

from bench import proc
from bench.canned_pods import GATEWAYS, NAMESPACE, PODS, WORKERS, addresses, gateway_name
from bench.counted_operator import BROKER_CALLS
from bench.operator_figures import Load, audited, comparison, figures
from bench.programs import cache
from bench.report import add_output, finish
from litevoice_dev import processes
from litevoice_dev.progress import say
from litevoice_dev.rocketmq import LocalRocketMQ
from litevoice_operator.api.labels import ADMIN_TLS
from litevoice_operator.decide.polling import MOST_WAIT_SECONDS
from litevoice_operator.manifests.paths import ADMIN_TLS_PORT
from tests.integration.apiserver import ApiServer, clean_environment, programs
from tests.integration.operator.process import RESOURCES, OperatorProcess, backlog_alert, grant_chart_rules

AT_ONCE = 16
READY_SECONDS = 600.0
SETTLE_SECONDS = MOST_WAIT_SECONDS + 45.0
"""After all are ready: longer than the operator's longest pause, than a question may wait, and than a connection that
nobody uses is kept."""
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [{"level": "Metadata", "users": ["operator"]}, {"level": "None"}],
}


class CountedOperator(OperatorProcess):
    module = "bench.counted_operator"

    def broker_calls(self) -> float:
        lines = (line for line in self.metrics().splitlines() if line.startswith(f"{BROKER_CALLS}_total "))
        return float(next(lines).split()[1])


class Fleet:
    """VoiceGateways of one namespace, and what controllers and kubelets would write of them."""

    def __init__(self, server: ApiServer) -> None:
        kubeconfig = json.loads(server.kubeconfig.read_text())
        token = kubeconfig["users"][0]["user"]["token"]
        limits = httpx.Limits(max_connections=AT_ONCE)
        self._http = httpx.AsyncClient(
            base_url=server.url, headers={"Authorization": f"Bearer {token}"}, verify=False, limits=limits, timeout=60,
            trust_env=False,
        )  # fmt: skip
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._gateways = 0

    async def close(self) -> None:
        await self._http.aclose()

    async def grow(self, count: int) -> None:
        """To so many VoiceGateways, all of whose pods are ready."""
        names = [gateway_name(number) for number in range(self._gateways, count)]
        await self._each(self._make(name) for name in names)
        say(f"{count} VoiceGateways: waiting for their objects")
        owned = await self._until(lambda: self._owned(names), "the operator to make all objects")
        say(f"{count} VoiceGateways: their pods")
        ips = addresses(count * PODS)
        pods = []
        for number, name in enumerate(names, self._gateways):
            for kind, size, first in (("replicasets", GATEWAYS, 0), ("deployments", WORKERS, GATEWAYS)):
                made = owned[name, kind]
                own = ips[number * PODS + first : number * PODS + first + size]
                pods += [self._pod(made, index, ip) for index, ip in enumerate(own)]
                pods.append(self._rolled_out(made, kind, size))
        await self._each(pods)
        self._gateways = count

    async def wait_ready(self) -> None:
        await self._until(self._all_ready, "all VoiceGateways and BacklogAlerts to be ready and settled")

    async def _make(self, name: str) -> None:
        spec = {"auth": {"apiKeysSecret": "api-keys"}, "replicas": GATEWAYS, "workers": {"replicas": WORKERS},
                "rocketmq": {"partitions": 1}}  # fmt: skip
        body = {
            "apiVersion": "litevoice.dev/v1alpha1",
            "kind": "VoiceGateway",
            "metadata": {"name": name},
            "spec": spec,
        }
        await self._request("POST", f"{RESOURCES}/{NAMESPACE}/voicegateways", body)
        await self._request("POST", f"{RESOURCES}/{NAMESPACE}/backlogalerts", backlog_alert(name, name, "Requests"))

    async def _owned(self, names: Sequence[str]) -> dict[tuple[str, str], dict[str, Any]]:
        """VoiceGateway and plural → its object; {} until all are there."""
        found = {}
        for plural in ("replicasets", "deployments"):
            listed = await self._request("GET", f"/apis/apps/v1/namespaces/{NAMESPACE}/{plural}")
            for item in listed["items"]:
                found[item["metadata"]["labels"]["app.kubernetes.io/instance"], plural] = item
        return (
            found if all((name, plural) in found for name in names for plural in ("replicasets", "deployments")) else {}
        )

    async def _pod(self, made: dict[str, Any], index: int, ip: str) -> None:
        template, owner = made["spec"]["template"]["metadata"], made["metadata"]["name"]
        name, ports = f"{owner}-{index}", [{"name": ADMIN_TLS, "containerPort": ADMIN_TLS_PORT}]
        body = {
            "metadata": {"name": name, "labels": template["labels"], "annotations": template.get("annotations", {})},
            "spec": {"nodeName": f"node-{index}", "containers": [{"name": "main", "image": "none", "ports": ports}]},
        }
        await self._request("POST", f"/api/v1/namespaces/{NAMESPACE}/pods", body)
        running = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
        status = {
            "phase": "Running",
            "podIP": ip,
            "podIPs": [{"ip": ip}],
            "conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True"}],
            "containerStatuses": [
                {"name": "main", "image": "none", "imageID": "", "ready": True, "restartCount": 0, "state": running}
            ],
        }
        await self._request("PATCH", f"/api/v1/namespaces/{NAMESPACE}/pods/{name}/status", {"status": status})

    async def _rolled_out(self, made: dict[str, Any], plural: str, size: int) -> None:
        metadata = made["metadata"]
        status = {"observedGeneration": metadata["generation"], "replicas": size, "readyReplicas": size,
                  "availableReplicas": size}  # fmt: skip
        status |= {"updatedReplicas": size} if plural == "deployments" else {}
        path = f"/apis/apps/v1/namespaces/{NAMESPACE}/{plural}/{metadata['name']}/status"
        await self._request("PATCH", path, {"status": status})

    async def _all_ready(self) -> bool:
        for plural, states in (("voicegateways", {"Ready": "True", "Reconciling": "False"}),
                               ("backlogalerts", {"Ready": "True"})):  # fmt: skip
            listed = await self._request("GET", f"{RESOURCES}/{NAMESPACE}/{plural}")
            for item in listed["items"]:
                said = {one["type"]: one["status"] for one in item.get("status", {}).get("conditions", [])}
                if any(said.get(kind) != wanted for kind, wanted in states.items()):
                    return False
        return True

    async def _request(self, method: str, path: str, body: Any = None) -> Any:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        async with self._slots:
            answer = await self._http.request(method, path, json=body, headers={"Content-Type": kind})
        if answer.is_error:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
        return answer.json()

    async def _each(self, work: Iterable[Awaitable[None]]) -> None:
        await asyncio.gather(*work)

    async def _until(self, condition: Any, what: str) -> Any:
        """What `condition` returns, once that is something. Raises RuntimeError."""
        deadline = time.monotonic() + READY_SECONDS
        while not (found := await condition()):
            if time.monotonic() > deadline:
                raise RuntimeError(f"waited {READY_SECONDS:.0f} s for {what}")
            await asyncio.sleep(1)
        return found


def asked(log: Path) -> int:
    """How often pods were asked, as their process has said last."""
    lines = [line for line in log.read_text().splitlines() if line.startswith('{"line"') and line.endswith("}")]
    return int(json.loads(lines[-1])["count"]) if lines else 0


async def measure(options: argparse.Namespace) -> list[Load]:
    folder: Path = options.folder
    audit, policy = folder / "audit.log", folder / "policy.json"
    policy.write_text(json.dumps(AUDIT_POLICY))
    rocketmq = LocalRocketMQ(folder / "rocketmq", fresh=True, progress=say)
    server = ApiServer(folder / "api", programs(), f"--audit-policy-file={policy}", f"--audit-log-path={audit}")
    async with AsyncExitStack() as stack:
        stack.callback(rocketmq.kill)
        stack.callback(server.stop)
        await asyncio.gather(asyncio.to_thread(rocketmq.start), asyncio.to_thread(server.start))
        await asyncio.to_thread(server.install_definitions)
        await asyncio.to_thread(grant_chart_rules, server)
        server.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        operator = CountedOperator(server, rocketmq, folder / "operator")
        stack.callback(operator.kill)
        canned = folder / "pods.log"
        neighbours = [
            processes.spawn([sys.executable, "-m", "bench.canned_pods", str(max(options.pods))], log=canned),
            processes.spawn(
                [sys.executable, "-m", "bench.bare_operator"],
                log=folder / "bare.log",
                env=clean_environment(KUBECONFIG=str(server.kubeconfig), PATH=os.environ["PATH"]),
            ),
        ]
        for process in neighbours:
            stack.callback(processes.kill, process)
        await asyncio.to_thread(operator.start)
        fleet = Fleet(server)
        stack.push_async_callback(fleet.close)
        pids = {operator.pid: "operator", neighbours[1].pid: "kopf alone", server.pid: "API server"}
        loads = []
        for pods in options.pods:
            await fleet.grow(pods // PODS)
            await fleet.wait_ready()
            say(f"{pods} pods: settled, measuring in {SETTLE_SECONDS:.0f} s for {options.seconds} s")
            await asyncio.sleep(SETTLE_SECONDS)
            loads.append(await _load(pods, options.seconds, pids, operator, audit, canned))
            last = loads[-1]
            say(f"{pods} pods: {last.cores * 100:.1f} % of a core, {last.memory_mebibytes:.0f} MiB, "
                f"{last.all_requests:.1f} requests/s")  # fmt: skip
        return loads


async def _load(
    pods: int, seconds: int, pids: dict[int, str], operator: CountedOperator, audit: Path, canned: Path
) -> Load:
    sampler = proc.Sampler(pids)
    began, calls, questions, first = time.time(), operator.broker_calls(), asked(canned), sampler.sample(0.0)
    await asyncio.sleep(seconds)
    last, until = sampler.sample(0.0), time.time()
    took = until - began
    cores = {part: (last.parts[part] - first.parts[part]) / took for part in last.parts}
    # Raises OSError when one of them has ended.
    memory = {name: proc.memory_bytes(pid, "Rss") / (1 << 20) for pid, name in pids.items()}
    calls, questions = operator.broker_calls() - calls, asked(canned) - questions
    await asyncio.sleep(2)  # the audit log has it all
    return Load(
        pods=pods,
        seconds=took,
        requests=dict(audited((await asyncio.to_thread(audit.read_text)).splitlines(), began, until)),
        broker_calls=calls,
        asked=questions,
        cores=cores["operator"],
        memory_mebibytes=memory["operator"],
        bare_cores=cores["kopf alone"],
        bare_memory_mebibytes=memory["kopf alone"],
        api_server_cores=cores["API server"],
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.operator", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pods", type=int, nargs="+", default=[10, 100, 1000], help="(default: 10 100 1000)")
    parser.add_argument(
        "--seconds", type=int, default=MOST_WAIT_SECONDS, help="of each measurement (default: %(default)s)"
    )
    parser.add_argument("--folder", type=Path, default=cache() / "bench" / "operator", help="stores and logs")
    add_output(parser)
    options = parser.parse_args(arguments)
    wrong = [pods for pods in options.pods if pods < PODS or pods % PODS or pods > 10_000]
    if wrong or sorted(set(options.pods)) != options.pods:
        parser.error(f"--pods: expected multiples of {PODS} up to 10000, growing, got {options.pods}")
    if options.seconds < MOST_WAIT_SECONDS:
        parser.error(f"--seconds: expected at least {MOST_WAIT_SECONDS}, as long as a question to a pod may wait")
    shutil.rmtree(options.folder, ignore_errors=True)
    options.folder.mkdir(parents=True)
    proc.allow_open_files(4 * max(options.pods))
    loads = asyncio.run(measure(options))
    heading = f"{PODS} pods for each VoiceGateway, {options.seconds} s each\n\n{comparison(loads)}"
    return finish("operator", options, figures(loads), {"loads": [asdict(one) for one in loads]}, heading)


if __name__ == "__main__":
    sys.exit(main())
