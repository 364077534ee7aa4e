"""Where driven clients call: a worker that asks the chat endpoint, and gateways, with TLS in front where need be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from litevoice_contracts.names import Names
from litevoice_dev import tls
from litevoice_dev.clients.catalog import Client
from litevoice_dev.clients.driven import Driven
from litevoice_dev.clients.endpoint import chat_endpoint
from litevoice_dev.ports import free_port
from litevoice_dev.progress import say
from litevoice_dev.stack import LocalStack, Member


class Place:
    def __init__(self, stack: LocalStack, folder: Path) -> None:
        self.stack = stack
        self.folder = folder
        self._certificate = tls.certificate(folder / "tls")

    async def gateway(self, policy: str) -> Member:
        """One more, ready, and so is the worker. `policy`: of its drain."""
        self.stack.gateway = {"drainPolicy": policy}
        gateway = self.stack.start_gateway()
        await asyncio.gather(*(member.wait_ready() for member in (gateway, *self.stack.workers)))
        return gateway

    async def driven(self, client: Client, installed_at: str, gateway: Member, ends: AsyncExitStack) -> Driven:
        """The client, about to call this gateway. `ends`: closes what is in front of it."""
        url = await self._url(client, gateway, ends)
        return Driven(client, installed_at, url, self.stack.api_key, self.log(client), self._certificate)

    def log(self, client: Client) -> Path:
        return self.folder / f"{client.name}.log"

    async def _url(self, client: Client, gateway: Member, ends: AsyncExitStack) -> str:
        if not client.tls:
            return gateway.url
        parts = urlsplit(gateway.url)
        port = free_port()
        server = await tls.serve(self._certificate, port, (str(parts.hostname), int(parts.port or 80)))
        ends.callback(server.close)
        return f"wss://localhost:{port}/v1"


@asynccontextmanager
async def place(folder: Path, endpoints: str, name_server: str, names: Names) -> AsyncIterator[Place]:
    """At a RocketMQ; without a gateway so far."""
    async with AsyncExitStack() as stack:
        chat = await stack.enter_async_context(chat_endpoint())
        responder = {"use": "openai", "options": {"endpoints": [{"baseUrl": chat, "model": "rules"}]}}
        local = LocalStack(
            folder / "stack",
            endpoints,
            name_server,
            names,
            worker={"pipelines": [{"name": "litevoice", "responder": responder}]},
            worker_names=("worker-0",),
            progress=say,
        )
        stack.callback(local.kill)
        await local.ensure_names()
        local.launch(gateways=0)
        yield Place(local, folder)
