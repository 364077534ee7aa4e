"""Requests to the API server: how many are under way, and who waits."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration

from litevoice_operator.adapters.cluster import LEASE, MAX_CONCURRENT, POD, Cluster
from litevoice_operator.decide.notifications import EventText


class Slow:
    """An API server that answers nobody but those who ask for a lease, until it is told to."""

    def __init__(self) -> None:
        self.under_way = self.most = 0
        self.may_answer = asyncio.Event()

    async def answer(self, request: web.Request) -> web.Response:
        if "leases" not in request.path:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            await self.may_answer.wait()
            self.under_way -= 1
        return web.json_response({"metadata": {"name": request.path.rpartition("/")[2]}})


@asynccontextmanager
async def slow_api_server() -> AsyncIterator[tuple[Slow, Cluster]]:
    slow, app = Slow(), web.Application()
    app.router.add_get("/{path:.*}", slow.answer)
    async with TestServer(app) as server:
        configuration = Configuration()
        configuration.host = str(server.make_url("")).rstrip("/")
        async with Cluster(ApiClient(configuration), "test") as cluster:
            try:
                yield slow, cluster
            finally:
                slow.may_answer.set()


async def test_events_about_objects_with_the_longest_names_have_names_of_their_own() -> None:
    posted = list[str]()

    async def take(request: web.Request) -> web.Response:
        posted.append((await request.json())["metadata"]["name"])
        return web.json_response({})

    app = web.Application()
    app.router.add_post("/{path:.*}", take)
    async with TestServer(app) as server:
        configuration = Configuration()
        configuration.host = str(server.make_url("")).rstrip("/")
        async with Cluster(ApiClient(configuration), "test") as cluster:
            for name in ("a" * 253, "a" * 199 + "-." + "b" * 52):
                about = {"namespace": "shop", "name": name, "uid": "u"}
                for once in (None, ("Firing critical 2026-11-29T02:00:00Z", 1.8e9)):
                    await cluster.post_event(about, EventText("Normal", "Firing", "", once))
    assert len(set(posted)) == 4
    for name in posted:
        assert len(name) <= 253
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", name), name


async def test_many_requests_take_turns_and_the_lease_waits_for_none() -> None:
    """The pool of the client has 100 connections: a burst would keep the lease from being renewed."""
    async with slow_api_server() as (slow, cluster):
        asked = [asyncio.create_task(cluster.get(POD, "default", f"pod-{number}")) for number in range(300)]
        while slow.under_way < MAX_CONCURRENT:
            await asyncio.sleep(0.01)
        assert await asyncio.wait_for(cluster.get(LEASE, "default", "operator"), 5)
        assert slow.most == MAX_CONCURRENT
        slow.may_answer.set()
        assert all(await asyncio.gather(*asked))
