"""The gateway's parts put together, from the first connection to the report of the drain."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from litevoice_contracts.control import DrainReport
from litevoice_contracts.settings import GatewaySettings
from litevoice_gateway.admin_server import AdminServer
from litevoice_gateway.auth import ApiKeys
from litevoice_gateway.drain import Drain
from litevoice_gateway.hub import Hub
from litevoice_gateway.metrics import Metrics
from litevoice_gateway.protocols import ProtocolFactory
from litevoice_gateway.server import Server
from litevoice_gateway.settings import Keys

logger = logging.getLogger("litevoice_gateway")


def run(settings: GatewaySettings, keys: Keys, protocols: Sequence[ProtocolFactory]) -> DrainReport:
    """Until SIGTERM or SIGINT; then the drain. Raises BrokerError and OSError when it cannot start."""
    return uvloop.run(_serve(settings, keys, protocols))


async def _serve(settings: GatewaySettings, keys: Keys, protocols: Sequence[ProtocolFactory]) -> DrainReport:
    pod = os.environ.get("POD_NAME") or socket.gethostname()
    hub = Hub(settings, keys, Metrics(), pod, os.environ.get("POD_IP") or "127.0.0.1")
    drain = Drain(hub)
    admin = AdminServer(hub, drain, keys.admin_token, pod)
    server = Server(hub, ApiKeys(Path(settings.api_keys_dir), time.monotonic()), keys.signing_key, protocols)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await hub.start()
    await admin.start()
    await server.start()
    gc.collect()
    gc.freeze()
    logger.info("gateway listening", extra={"port": server.port, "admin_port": admin.port})
    await stop.wait()
    await drain.wait()
    await server.close()
    await hub.close()
    await admin.close()
    return drain.report  # only now: what the broker did not confirm in the end is counted
