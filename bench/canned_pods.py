"""Neighbours for an operator that is measured alone: the status of many pods, on an address each, over TLS.

    python -m bench.canned_pods COUNT

Each pod of `addresses(COUNT)` answers as a gateway or a worker does, and lets questions wait for a change as they do;
how many sessions it holds changes every CHANGE_SECONDS, so that there is something to write into a status. One line of
JSON a second: how often it was asked.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import tempfile
import time
from asyncio.sslproto import SSLProtocol
from pathlib import Path

from aiohttp import web

from litevoice_contracts.control import (
    ADMIN_CERTIFICATE_FILE,
    ADMIN_KEY_FILE,
    STATUS_PATH,
    DrainReport,
    GatewayStatus,
    WorkerStatus,
)
from litevoice_contracts.watching import Marks, Waiting, answer, gateway_marks, read_question, worker_marks
from litevoice_operator.adapters.gateways import TLS_BUFFER_BYTES
from litevoice_operator.manifests.certificates import admin_certificate
from litevoice_operator.manifests.keys import derive_keys
from litevoice_operator.manifests.paths import ADMIN_TLS_PORT
from tests.integration.operator.process import ROOT_KEY

NAMESPACE = "bench"
GATEWAYS, WORKERS = 8, 2
PODS = GATEWAYS + WORKERS
"""Of each VoiceGateway, gateways first."""
CHANGE_SECONDS = 10.0
MAX_SESSIONS = 100
REPORT_SECONDS = 1.0
PER_NETWORK = 250
LOOK_SECONDS = 1.0
"""A pod that is waited for looks so often whether it has something to tell: they all share a process."""


def gateway_name(number: int) -> str:
    return f"vgw-{number:03d}"


def addresses(count: int) -> list[str]:
    """Of this machine, all of them: Linux takes every address of 127.0.0.0/8 for its own."""
    return [f"127.20.{number // PER_NETWORK}.{number % PER_NETWORK + 1}" for number in range(count)]


def sessions(address: str, now: float) -> int:
    """40 to 59, other at each of its pods, and one more or less every CHANGE_SECONDS."""
    last = int(address.rpartition(".")[2])
    return 40 + (last * 7 + int(now / CHANGE_SECONDS)) % 20


def token(number: int) -> str:
    """That the pod wants: of its VoiceGateway's gateways or workers."""
    keys = derive_keys(ROOT_KEY, NAMESPACE, gateway_name(number // PODS))
    return keys.worker_token if is_worker(number) else keys.admin_token


def is_worker(number: int) -> bool:
    return number % PODS >= GATEWAYS


class Pod:
    asked = 0
    """Of all of them."""

    def __init__(self, number: int, address: str) -> None:
        self._address = address
        self._worker = is_worker(number)
        self._waiting = Waiting(lambda: self._marks(self._now()), time.monotonic, _sleep)

    async def status(self, request: web.Request) -> web.Response:
        Pod.asked += 1
        question = read_question(request.query)
        await self._waiting.wait(question, lambda: request.transport is None)
        now = self._now()
        told = answer(question, now, self._marks(now))
        headers = {"ETag": told.version}
        if not told.body:
            return web.Response(status=304, headers=headers)
        return web.Response(body=told.body, headers=headers, content_type="application/json")

    def _now(self) -> GatewayStatus | WorkerStatus:
        held = sessions(self._address, time.time())
        if self._worker:
            return WorkerStatus(self._address, True, "", held, MAX_SESSIONS, [])
        return GatewayStatus(self._address, True, "", held, MAX_SESSIONS, 0, 0, DrainReport(), in_turn=held // 10)

    def _marks(self, status: GatewayStatus | WorkerStatus) -> Marks:
        return worker_marks(status) if isinstance(status, WorkerStatus) else gateway_marks(status)


async def _sleep(seconds: float) -> None:
    await asyncio.sleep(max(LOOK_SECONDS, seconds))


def _context(token: str, folder: Path) -> ssl.SSLContext:
    made, context = admin_certificate(token), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    (folder / ADMIN_CERTIFICATE_FILE).write_bytes(made.certificate)
    (folder / ADMIN_KEY_FILE).write_bytes(made.key)
    context.load_cert_chain(folder / ADMIN_CERTIFICATE_FILE, folder / ADMIN_KEY_FILE)
    return context


async def main(count: int) -> None:
    SSLProtocol.max_size = TLS_BUFFER_BYTES
    contexts: dict[str, ssl.SSLContext] = {}
    pods = {address: Pod(number, address) for number, address in enumerate(addresses(count))}

    async def status(request: web.Request) -> web.Response:
        return await pods[request.host.partition(":")[0]].status(request)

    app = web.Application()
    app.add_routes([web.get(STATUS_PATH, status)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    with tempfile.TemporaryDirectory() as folder:
        for number, address in enumerate(pods):
            wanted = token(number)
            if wanted not in contexts:
                contexts[wanted] = _context(wanted, Path(folder))
            await web.TCPSite(runner, address, ADMIN_TLS_PORT, ssl_context=contexts[wanted]).start()
    while True:
        print(json.dumps({"line": "asked", "count": Pod.asked}), flush=True)
        await asyncio.sleep(REPORT_SECONDS)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
