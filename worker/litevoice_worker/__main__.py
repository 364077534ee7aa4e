"""The program `litevoice-worker`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
import uvloop

from litevoice_broker.errors import BrokerError
from litevoice_contracts import json_logs
from litevoice_contracts.control import RefusedSettings
from litevoice_contracts.errors import InvalidField
from litevoice_contracts.settings import WorkerSettings
from litevoice_worker.apart import apart
from litevoice_worker.apart.watch import Deaths
from litevoice_worker.plugins import make_pipelines
from litevoice_worker.settings import DEFAULT_PATH, load, make_members
from litevoice_worker.worker import Worker

TERMINATION_LOG = Path("/dev/termination-log")
logger = logging.getLogger("litevoice_worker")

CHATTY = ("httpx", "httpcore")
"""They log every request."""


def main() -> None:
    """Exit codes: 0 done, 1 failed, 2 invalid settings."""
    parser = argparse.ArgumentParser(
        prog="litevoice-worker",
        description="Turns the packets of voice sessions into responses: voice activity, transcript, response, speech.",
        epilog=f"Settings: the JSON file named by LITEVOICE_CONFIG (default {DEFAULT_PATH}). "
        "POD_NAME and POD_IP say who this worker is.",
    )
    parser.add_argument("--check-config", action="store_true", help="check the settings and what they need, then exit")
    arguments = parser.parse_args()
    environment = {"POD_NAME": socket.gethostname(), "POD_IP": "127.0.0.1", **os.environ}
    try:
        settings = load(environment.get("LITEVOICE_CONFIG", DEFAULT_PATH))
        json_logs.configure(settings.log_level, quiet=CHATTY)
        uvloop.run(_run(settings, environment, check_only=arguments.check_config))
    except InvalidField as error:
        print(f"litevoice-worker: {error}", file=sys.stderr)
        _tell_operator(error)
        sys.exit(2)
    except (BrokerError, OSError) as error:
        print(f"litevoice-worker: {error}", file=sys.stderr)
        sys.exit(1)
    if arguments.check_config:
        print("the settings are valid")


def _tell_operator(error: InvalidField) -> None:
    """It makes a condition of it. Kubernetes keeps 4 KiB."""
    if TERMINATION_LOG.exists():
        TERMINATION_LOG.write_bytes(msgspec.json.encode(RefusedSettings(error.field, error.expected[:1024])))


async def _run(settings: WorkerSettings, environment: Mapping[str, str], *, check_only: bool) -> None:
    deaths = Deaths()
    pipelines = await make_pipelines(settings.pipelines, apart(settings.log_level, deaths))
    if check_only:
        await pipelines.close()
        return
    worker = Worker(settings, pipelines, make_members(settings, environment), environment, deaths)
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    await worker.run(stop)


if __name__ == "__main__":
    main()
