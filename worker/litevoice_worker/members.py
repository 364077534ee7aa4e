"""Which workers are ready: a fixed list, or the EndpointSlices of their Service. While the API server is away, and
while no worker is ready at all, the last known list stays in force."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import httpx

from litevoice_contracts.addresses import url_host

logger = logging.getLogger(__name__)

ACCOUNT_DIR = Path("/var/run/secrets/kubernetes.io/serviceaccount")
WATCH_SECONDS = 240
_BACKOFF_FIRST_SECONDS, _BACKOFF_MAX_SECONDS = 0.5, 10.0


class Members(Protocol):
    @property
    def ready(self) -> frozenset[str] | None:
        """Pod names of the ready workers; None until they are first known."""

    def on_change(self, callback: Callable[[], None]) -> None: ...

    def ask_again(self) -> None:
        """The network was away: a connection from before may stay silent for minutes."""

    async def start(self) -> None: ...

    async def close(self) -> None: ...


class StaticMembers:
    """A list that never changes; whether one of them is alive, the fences tell."""

    def __init__(self, names: frozenset[str]) -> None:
        self.ready: frozenset[str] | None = names

    def on_change(self, callback: Callable[[], None]) -> None:
        """Never called."""

    def ask_again(self) -> None: ...

    async def start(self) -> None: ...

    async def close(self) -> None: ...


class EndpointSliceMembers:
    """Lists and watches the EndpointSlices of a Service with the pod's own ServiceAccount.

    `server` is the API server's URL; `account_dir` holds the files token (rotated, so read anew for each request) and
    ca.crt.
    """

    def __init__(self, service: str, server: str, account_dir: Path = ACCOUNT_DIR) -> None:
        namespace, _, name = service.partition("/")
        self._path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        self._selector = f"kubernetes.io/service-name={name}"
        self._server = server
        self._account_dir = account_dir
        self._slices: dict[str, frozenset[str]] = {}
        self._callbacks: list[Callable[[], None]] = []
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self.ready: frozenset[str] | None = None

    def on_change(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    async def start(self) -> None:
        """Returns at once; keeps trying in the background."""
        self._task = asyncio.create_task(self._run(), name="workers")

    def ask_again(self) -> None:
        if self._task is not None and not self._task.cancelling() and self._task.cancel():
            self._task.add_done_callback(self._begin_again)

    def _begin_again(self, _: asyncio.Task[None]) -> None:
        if not self._closed:
            self._task = asyncio.create_task(self._run(), name="workers")

    async def close(self) -> None:
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        backoff = _BACKOFF_FIRST_SECONDS
        while True:
            try:
                async with self._client() as client:
                    version = await self._list(client)
                    backoff = _BACKOFF_FIRST_SECONDS
                    while True:
                        version = await self._watch(client, version)
            except Exception as error:
                # Whatever it was: sessions go on with the last known workers, and a new list heals it.
                logger.warning("cannot watch the workers' EndpointSlices", extra={"error": _reason(error)})
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, _BACKOFF_MAX_SECONDS)

    def _client(self) -> httpx.AsyncClient:
        authorities = self._account_dir / "ca.crt"
        verify: ssl.SSLContext | bool = True
        if authorities.exists():
            verify = ssl.create_default_context(cafile=str(authorities))
        timeout = httpx.Timeout(10, read=WATCH_SECONDS + 30)
        return httpx.AsyncClient(base_url=self._server, verify=verify, timeout=timeout)

    def _headers(self) -> dict[str, str]:
        token = self._account_dir / "token"
        return {"Authorization": f"Bearer {token.read_text().strip()}"} if token.exists() else {}

    async def _list(self, client: httpx.AsyncClient) -> str:
        """Takes over the whole list; returns its resource version."""
        response = await client.get(
            self._path, params={"labelSelector": self._selector}, headers=self._headers(), timeout=10
        )
        response.raise_for_status()
        listed = response.json()
        self._slices = {item["metadata"]["name"]: ready_pods(item) for item in listed["items"]}
        self._changed()
        return str(listed["metadata"]["resourceVersion"])

    async def _watch(self, client: httpx.AsyncClient, version: str) -> str:
        """Follows changes until the server ends the watch; returns the resource version to go on from."""
        parameters = {
            "labelSelector": self._selector,
            "watch": "1",
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH_SECONDS),
            "allowWatchBookmarks": "true",
        }
        async with client.stream("GET", self._path, params=parameters, headers=self._headers()) as response:
            response.raise_for_status()
            async for line in response.aiter_lines():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise RuntimeError(f"watch ended with status {event['object'].get('code')}")
                version = event["object"]["metadata"]["resourceVersion"]
                self._apply(event["type"], event["object"])
        return version

    def _apply(self, kind: str, item: Mapping[str, Any]) -> None:
        name = item["metadata"].get("name", "")
        if kind in ("ADDED", "MODIFIED"):
            self._slices[name] = ready_pods(item)
        elif kind == "DELETED":
            self._slices.pop(name, None)
        else:
            return
        self._changed()

    def _changed(self) -> None:
        ready = frozenset().union(*self._slices.values())
        if not ready and self.ready:
            # That nobody is ready says that all suffer from the same, not that others have taken over.
            logger.warning("no worker is ready, the last known ones stay", extra={"workers": sorted(self.ready)})
            return
        if ready != self.ready:
            self.ready = ready
            logger.info("ready workers changed", extra={"workers": sorted(ready)})
            for callback in self._callbacks:
                callback()


def ready_pods(endpoint_slice: Mapping[str, Any]) -> frozenset[str]:
    """Names of the pods in an EndpointSlice that are ready; an absent condition means ready."""
    return frozenset(
        endpoint["targetRef"]["name"]
        for endpoint in endpoint_slice.get("endpoints") or ()
        if (endpoint.get("conditions") or {}).get("ready", True) is not False
        and (endpoint.get("targetRef") or {}).get("kind") == "Pod"
    )


def api_server(environment: Mapping[str, str] = os.environ) -> str:
    """URL of the API server as a pod is told. Raises KeyError outside a pod."""
    host = url_host(environment["KUBERNETES_SERVICE_HOST"])
    return f"https://{host}:{environment.get('KUBERNETES_SERVICE_PORT', '443')}"


def _reason(error: Exception) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"status {error.response.status_code}"
    return type(error).__name__
