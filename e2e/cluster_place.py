"""Scenarios on the cluster: pods are asked through kubectl, the audit runs as a pod."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from e2e.audit_pod import AuditPod
from e2e.environment import NAMESPACE, Endpoint, pod_holding
from e2e.shell import kubectl
from litevoice_dev.scenarios.place import Disturbance, Line, ReadLines


class ClusterPlace:
    """The example VoiceGateway. Callers know its Service alone."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    @property
    def urls(self) -> Sequence[str]:
        return [self._endpoint.url]

    @property
    def direct_url(self) -> str:
        return self._endpoint.direct_url

    @property
    def api_key(self) -> str:
        return self._endpoint.api_key

    async def holder(self, session_id: str) -> str:
        return await asyncio.to_thread(pod_holding, session_id)

    @contextlib.asynccontextmanager
    async def requests(self) -> AsyncIterator[ReadLines]:
        audit = AuditPod("requests")

        async def read() -> list[Line]:
            return await asyncio.to_thread(audit.lines)

        await asyncio.to_thread(audit.start)
        try:
            await asyncio.to_thread(audit.wait_ready)
            yield read
        finally:
            await asyncio.to_thread(audit.remove)

    async def replies(self, session_id: str) -> list[Line]:
        audit = AuditPod("replies", session_id)
        await asyncio.to_thread(audit.start)
        try:
            return await asyncio.to_thread(audit.wait_complete)
        finally:
            await asyncio.to_thread(audit.remove)


async def delete_pod(pod: str) -> None:
    await asyncio.to_thread(kubectl, "delete", "pod", "-n", NAMESPACE, pod, "--wait=false")


DELETE_POD = Disturbance("kubectl delete pod", delete_pod, cuts=False)
