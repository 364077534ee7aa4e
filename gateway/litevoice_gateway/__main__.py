"""`litevoice-gateway`: reads its settings, serves until SIGTERM, drains, and leaves a report."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import uvloop

from litevoice_broker.errors import BrokerError
from litevoice_contracts import json_logs
from litevoice_contracts.control import MAX_LISTED_SESSIONS, SESSION_SORTS, DrainReport
from litevoice_contracts.settings import GatewaySettings
from litevoice_gateway.admin_server import AdminServer
from litevoice_gateway.auth import ApiKeys
from litevoice_gateway.drain import Drain
from litevoice_gateway.hub import Hub
from litevoice_gateway.listing import ListingError, fetch, table
from litevoice_gateway.metrics import Metrics
from litevoice_gateway.protocols import ProtocolFactory
from litevoice_gateway.protocols.registry import PROTOCOLS
from litevoice_gateway.server import Server
from litevoice_gateway.settings import DEFAULT_PATH, Keys, SettingsError, load_keys, load_settings

logger = logging.getLogger("litevoice_gateway")

TERMINATION_LOG = Path("/dev/termination-log")


def main(protocols: Sequence[ProtocolFactory] = PROTOCOLS) -> int:
    """0 after a clean end, 2 when the settings do not fit."""
    parser = argparse.ArgumentParser(prog="litevoice-gateway", description="The litevoice WebSocket gateway.")
    parser.add_argument(
        "--config",
        type=Path,
        default=Path(os.environ.get("LITEVOICE_CONFIG", DEFAULT_PATH)),
        help=f"settings file, JSON (default: $LITEVOICE_CONFIG or {DEFAULT_PATH})",
    )
    parser.add_argument("--check-config", action="store_true", help="check settings and keys, then exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    sessions = commands.add_parser("sessions", help="list the sessions of the gateway on this host")
    sessions.add_argument("session", nargs="?", default="", help="only this one")
    sessions.add_argument("--sort", choices=SESSION_SORTS, default="requests", help="largest first")
    sessions.add_argument("--limit", type=int, default=100, help=f"at most {MAX_LISTED_SESSIONS}")
    arguments = parser.parse_args()
    try:
        settings = load_settings(arguments.config)
        keys = load_keys(settings)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    if arguments.check_config:
        print("settings and keys are valid")
        return 0
    if arguments.command == "sessions":
        return _list_sessions(settings, keys, arguments)
    json_logs.configure(settings.log_level)
    try:
        report = uvloop.run(serve(settings, keys, protocols))
        if TERMINATION_LOG.exists():
            TERMINATION_LOG.write_bytes(msgspec.json.encode(report))
    except (BrokerError, OSError) as error:
        logger.error("gateway cannot start", extra={"error": str(error)})
        return 1
    return 0


def _list_sessions(settings: GatewaySettings, keys: Keys, arguments: argparse.Namespace) -> int:
    try:
        print(table(fetch(settings, keys.admin_token.decode(), arguments.session, arguments.sort, arguments.limit)))
    except ListingError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


async def serve(settings: GatewaySettings, keys: Keys, protocols: Sequence[ProtocolFactory]) -> DrainReport:
    """Until SIGTERM or SIGINT; then the drain."""
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


if __name__ == "__main__":
    sys.exit(main())
