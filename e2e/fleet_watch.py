"""Looks at the gateways while they are scaled, rolled and struck: who they are, whether they go, what they hold."""

from __future__ import annotations

import asyncio
import base64
import time
from typing import Any

import httpx

from e2e.environment import GATEWAY, NAMESPACE
from e2e.fleet_nodes import CONTROL_PLANE
from e2e.shell import environment, kubectl_json
from litevoice_dev.fleet.questions import Questions
from litevoice_dev.fleet.records import Sample
from litevoice_dev.fleet.seen import seen
from litevoice_operator.manifests.paths import ADMIN_PORT
from litevoice_operator.observe.pods import Pod, addresses, read_pod

EVERY_SECONDS = 1.0
ANSWER_SECONDS = 2.0
SELECTOR = f"app.kubernetes.io/instance={GATEWAY},app.kubernetes.io/component=gateway"


class Watch:
    """Attributes:
    samples: oldest first. While no API server answers, pods are those that there were.
    """

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self._pods: list[Pod] = []
        self._cordoned: set[str] = set()

    async def run(self) -> None:
        """Until it is cancelled."""
        questions = await Questions.begin(
            ("docker", "exec", "-i", CONTROL_PLANE), await asyncio.to_thread(admin_token), ADMIN_PORT
        )
        pipe = asyncio.subprocess.PIPE
        proxy = await asyncio.create_subprocess_exec("kubectl", "proxy", "--port=0", stdout=pipe, env=environment())
        try:
            assert proxy.stdout is not None
            address = (await proxy.stdout.readline()).decode().split()[-1]
            async with httpx.AsyncClient(base_url=f"http://{address}", timeout=ANSWER_SECONDS, trust_env=False) as http:
                while True:
                    began = time.monotonic()
                    await self._look(http, questions)
                    await asyncio.sleep(max(0.0, EVERY_SECONDS - (time.monotonic() - began)))
        finally:
            proxy.kill()
            await proxy.wait()
            await questions.end()

    async def _look(self, http: httpx.AsyncClient, questions: Questions) -> None:
        try:
            pods = await _list(http, f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector={SELECTOR}")
            nodes = await _list(http, "/api/v1/nodes")
            self._pods = [read_pod(body) for body in pods]
            self._cordoned = {node["metadata"]["name"] for node in nodes if node["spec"].get("unschedulable")}
        except httpx.HTTPError:
            pass  # there is no API server at the moment: gateways go on, and so does this
        answers = await questions.ask(addresses(self._pods))
        pods_seen = (seen(pod, answers.get(pod.name), self._cordoned) for pod in self._pods if not pod.over)
        self.samples.append(Sample(time.monotonic(), tuple(pods_seen)))


async def _list(http: httpx.AsyncClient, path: str) -> list[Any]:
    answer = await http.get(path)
    answer.raise_for_status()
    items: list[Any] = answer.json()["items"]
    return items


def admin_token() -> str:
    """As docs/keys.md says."""
    pod = kubectl_json("get", "pods", "-n", NAMESPACE, "-l", SELECTOR)["items"][0]
    secret = next(v["secret"]["secretName"] for v in pod["spec"]["volumes"] if v["name"] == "keys")
    encoded = kubectl_json("get", "secret", "-n", NAMESPACE, secret)["data"]["admin-token"]
    return base64.b64decode(encoded).decode()
