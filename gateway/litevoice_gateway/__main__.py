"""`litevoice-gateway`: reads its settings, serves until SIGTERM, drains, and leaves a report."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from litevoice_broker.errors import BrokerError
from litevoice_contracts import json_logs
from litevoice_contracts.control import MAX_LISTED_SESSIONS, SESSION_SORTS
from litevoice_contracts.settings import GatewaySettings
from litevoice_gateway.listing import ListingError, fetch, table
from litevoice_gateway.protocols import ProtocolFactory
from litevoice_gateway.protocols.registry import PROTOCOLS
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
    from litevoice_gateway import serving  # takes longer to import than all that the list of sessions takes

    json_logs.configure(settings.log_level)
    try:
        report = serving.run(settings, keys, protocols)
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


if __name__ == "__main__":
    sys.exit(main())
