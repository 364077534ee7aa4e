"""A VoiceGateway without Kubernetes: RocketMQ, gateways, workers, and the operator's API before what it knows of them.

Only what the API server would have told stands here in its place: which pods there are, and who may ask.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from aiohttp import web
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration

from litevoice_broker.admin import Admin
from litevoice_broker.config import AdminAccess
from litevoice_contracts.names import Names
from litevoice_contracts.settings import PipelineSettings
from litevoice_dev.chaos.links import Link
from litevoice_dev.ports import HOST, free_port
from litevoice_dev.rocketmq import LocalRocketMQ
from litevoice_dev.stack import LocalStack
from litevoice_dev.try_it import in_daemon_thread
from litevoice_operator.adapters.broker import Broker, Installed
from litevoice_operator.adapters.cluster import Cluster, User
from litevoice_operator.adapters.gateways import Gateways
from litevoice_operator.admin_api import AdminApi, Guard
from litevoice_operator.manifests.keys import derive_keys
from litevoice_operator.observe.pods import Pod
from litevoice_operator.reconcile.acts import Acts
from litevoice_operator.reconcile.backlogs import Backlogs
from litevoice_operator.reconcile.console import Console
from litevoice_operator.reconcile.inquiries import Inquiries
from litevoice_operator.reconcile.outbox import Outbox
from litevoice_operator.reconcile.pod_cache import PodCache
from litevoice_operator.reconcile.polls import Polls
from litevoice_operator.reconcile.shared import GatewayView, Shared
from litevoice_operator.server import Door, serve

KEY = ("voice", "walk")
TOKEN = "walk"  # noqa: S105 - for a port of this machine, while the walk goes on
SLOW_SECONDS, NEVER_SECONDS = 14, 30
STAGES = {"transcriber": "asr", "responder": "respond", "synthesizer": "tts"}
MEMBERS = {
    "gateway-0": ("node-a", "127.0.11.1"),
    "gateway-1": ("node-b", "127.0.11.2"),
    "gateway-2": ("node-c", "127.0.11.3"),
    "gateway-3": ("node-c", "127.0.11.6"),
    "worker-0": ("node-a", "127.0.11.4"),
    "worker-1": ("node-b", "127.0.11.5"),
}
"""Node, and address of the admin port. Gateway 2 reaches the proxy by a link of its own, the workers by another one.
Gateway 3 has room for one session."""
WRONG_KEY = "wrong-key"
"""The pipeline whose endpoint wants another key."""
FAILING = "failing"
"""The pipeline whose speech endpoint answers at once that it cannot."""


class Anybody:
    """Stands for the API server's reviews."""

    async def reviewed(self, token: str, audience: str) -> User | None:
        return User("walker", ()) if (token, audience) == (TOKEN, "litevoice") else None

    async def may(self, user: User, namespace: str, verb: str, resource: str, subresource: str) -> bool:
        about = f"{resource}/{subresource}"
        return (user.name, namespace, verb, about) == ("walker", KEY[0], "get", "voicegateways/sessions")


@dataclass
class WalkPlace:
    """`pods`: what the operator knows of them; `link`: gateway 2's; `asking`: whoever walks has two hands."""

    stack: LocalStack
    rocketmq: LocalRocketMQ
    link: Link
    workers_link: Link
    url: str
    pods: PodCache = field(default_factory=PodCache)
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    def node(self, name: str) -> str:
        return MEMBERS[name][0]

    async def settings(self) -> dict[str, dict[str, str]]:
        """Of each broker."""
        admin = Admin(self.rocketmq.name_server)
        try:
            return await admin.settings()
        finally:
            await admin.close()

    def forget_pod(self, name: str) -> None:
        """As when the pod's object is deleted."""
        pod = self.pods.get(KEY, name)
        assert pod is not None
        self.pods.remove(pod)


@contextlib.asynccontextmanager
async def place(folder: Path) -> AsyncIterator[WalkPlace]:
    async with contextlib.AsyncExitStack() as rest:
        models = await rest.enter_async_context(_models())
        rocketmq = LocalRocketMQ(folder / "rocketmq")
        rest.callback(rocketmq.kill)
        await in_daemon_thread(rocketmq.start)
        links = [await Link(int(rocketmq.endpoints.rpartition(":")[2])).start() for _ in range(2)]
        for one in links:
            rest.push_async_callback(one.close)
        link, workers_link = links
        root = secrets.token_bytes(32)
        keys, admin_port = derive_keys(root, *KEY), free_port()
        key_file = folder / "model-key"
        key_file.write_text("no-longer-valid")
        pipelines = list(_pipelines(models, key_file))
        stack = LocalStack(
            folder / "stack",
            rocketmq.endpoints,
            rocketmq.name_server,
            names=Names("walk-requests", "walk-replies", 4),
            gateway={"models": [pipeline.name for pipeline in pipelines]},
            worker={
                "pipelines": [pipeline.model_dump(by_alias=True) for pipeline in pipelines],
                "adminTokenSha256": hashlib.sha256(keys.worker_token.encode()).hexdigest(),
            },
            ways={"gateway-2": link.address, **dict.fromkeys(("worker-0", "worker-1"), workers_link.address)},
            admin_token=keys.admin_token,
            admin_hosts={name: address for name, (_, address) in MEMBERS.items()},
            admin_port=admin_port,
        )
        rest.callback(stack.kill)
        await stack.start(gateways=3)
        stack.gateway = {**stack.gateway, "maxSessions": 1}
        await stack.start_gateway().wait_ready()
        walk = WalkPlace(stack, rocketmq, link, workers_link, "")
        walk.pods.replace(KEY, [_pod(name) for name in MEMBERS])
        walk.url = await _operator(rest, walk, root, admin_port)
        yield walk


async def _operator(rest: contextlib.AsyncExitStack, walk: WalkPlace, root: bytes, admin_port: int) -> str:
    """Its URL."""
    keys, nothing = derive_keys(root, *KEY), cast(Any, None)
    configuration = Configuration()
    configuration.host = f"http://{HOST}:9"  # there is none: the Events of pods are missing
    cluster = await rest.enter_async_context(Cluster(ApiClient(configuration), "operator"))
    gateways = await rest.enter_async_context(Gateways(admin_port))
    installed = Installed(walk.rocketmq.name_server, AdminAccess())
    broker = Broker(installed)
    rest.push_async_callback(broker.close)
    await broker.use(walk.rocketmq.name_server, admin_tls=False)
    view = GatewayView(None, walk.stack.names, Backlogs(KEY, broker, gateways, walk.pods, keys.admin_token))
    shared = Shared(
        cluster=cluster,
        resources=nothing,
        gateways=gateways,
        polls=Polls(gateways),
        pods=walk.pods,
        outbox=Outbox(cluster.post_event),
        turns=nothing,
        nodes=nothing,
        notifier=nothing,
        defaults=nothing,
        installed=installed,
        root_key=root,
        acting=asyncio.Event(),
        views={KEY: view},
    )
    inquiries, port, door = Inquiries(shared, nothing, "operator"), free_port(), Door()
    api = AdminApi(Guard(Anybody()), inquiries, Acts(shared), Console(shared, inquiries, "operator"))
    door.inside = api.handle
    runner = await serve(port, str, door)
    rest.push_async_callback(runner.cleanup)
    rest.push_async_callback(api.close)
    return f"http://{HOST}:{port}"


def _pod(name: str) -> Pod:
    node, address = MEMBERS[name]
    component = name.partition("-")[0]
    return Pod(KEY[0], name, name, KEY[1], component, node, address, True, False, 0.0, False, "", None)


def _pipelines(url: str, key_file: Path) -> list[PipelineSettings]:
    """One that works, then one for each stage whose endpoint is slow, and whose never answers: `slow-asr` …; WRONG_KEY
    and FAILING."""

    def use(endpoint: dict[str, Any]) -> dict[str, Any]:
        return {"use": "openai", "options": {"endpoints": [{"model": "m", **endpoint}]}}

    made = [PipelineSettings(name="well")]
    for stage, short in STAGES.items():
        for name, seconds in (("slow", SLOW_SECONDS), ("stuck", NEVER_SECONDS)):
            waits = use({"baseUrl": f"{url}/{seconds}/v1", "timeoutSeconds": 60})
            made.append(PipelineSettings.model_validate({"name": f"{name}-{short}", stage: waits}))
    locked = use({"baseUrl": f"{url}/locked/v1", "apiKeyFile": str(key_file)})
    made.append(PipelineSettings.model_validate({"name": WRONG_KEY, "responder": locked}))
    made.append(PipelineSettings.model_validate({"name": FAILING, "synthesizer": use({"baseUrl": f"{url}/0/v1"})}))
    return made


@contextlib.asynccontextmanager
async def _models() -> AsyncIterator[str]:
    """A model endpoint that takes every request, and lets it wait for as many seconds as the path says; under `locked`
    it knows no key."""

    async def wait(request: web.Request) -> web.Response:
        await asyncio.sleep(int(request.match_info["seconds"]))
        return web.json_response({"error": {"message": "it has waited"}}, status=503)

    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({"error": {"message": "the key is not known"}}, status=401)

    app, port = web.Application(), free_port()
    app.add_routes([web.post("/locked/v1/{path:.*}", refuse), web.post("/{seconds}/v1/{path:.*}", wait)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, HOST, port).start()
    try:
        yield f"http://{HOST}:{port}"
    finally:
        await runner.cleanup()
