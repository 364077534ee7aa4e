"""Runs the operator: `litevoice-operator` or `python -m litevoice_operator`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys

import kopf

from litevoice_contracts import json_logs
from litevoice_contracts.errors import InvalidField
from litevoice_operator.adapters.cluster import BACKLOG_ALERT, VOICE_GATEWAY, Cluster, ClusterError
from litevoice_operator.adapters.gateways import Gateways
from litevoice_operator.api.base import GROUP, VERSION
from litevoice_operator.decide.crd_difference import INSTALL
from litevoice_operator.handlers.kopf_settings import operator_settings
from litevoice_operator.handlers.resources import register
from litevoice_operator.manifests.paths import ADMIN_PORT
from litevoice_operator.reconcile.controller import Controller
from litevoice_operator.reconcile.installed_crds import InstalledCrds
from litevoice_operator.reconcile.outbox import Outbox
from litevoice_operator.reconcile.pod_cache import PodCache
from litevoice_operator.reconcile.resources import Resources
from litevoice_operator.reconcile.shared import Shared
from litevoice_operator.server import serve
from litevoice_operator.settings import HELP, Settings

CRDS_PAUSE_SECONDS = 3.0

_log = logging.getLogger("litevoice_operator")


class Readiness:
    """Attributes:
    ready: set by kopf once its watches run.
    waits_for: what is missing until then, as /readyz and the log say.
    """

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self.waits_for = "starting"

    def __call__(self) -> str:
        return "" if self.ready.is_set() else self.waits_for

    def wait_for(self, what: str, **facts: object) -> None:
        """Logged when it changes."""
        if what != self.waits_for:
            _log.warning("operator waiting", extra={"for": what, **facts})
        self.waits_for = what


async def run(settings: Settings) -> None:
    """Until SIGTERM or SIGINT. Waits for the API server and the CRDs for as long as it takes."""
    stop, readiness = asyncio.Event(), Readiness()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = await serve(settings.listen_port, readiness)
    try:
        async with await Cluster.connect(settings.pod_name) as cluster, Gateways(ADMIN_PORT) as gateways:
            await _crds_served(cluster, readiness, stop)
            if stop.is_set():
                return
            readiness.waits_for = "its watches"
            shared = Shared(
                cluster,
                Resources(cluster, InstalledCrds(cluster)),
                gateways,
                PodCache(),
                Outbox(cluster.post_event),
                settings.defaults,
                settings.installed,
                settings.root_key,
            )
            controller = Controller(shared)
            try:
                await _watch(settings, controller, stop, readiness.ready)
            finally:
                await controller.close()
                await shared.outbox.close()
    finally:
        await runner.cleanup()


async def _watch(settings: Settings, controller: Controller, stop: asyncio.Event, ready: asyncio.Event) -> None:
    registry = kopf.OperatorRegistry()
    register(registry)
    _log.info("operator started", extra={"namespaces": list(settings.namespaces) or "all"})
    await kopf.operator(
        registry=registry,
        settings=operator_settings(),
        memo=kopf.Memo(controller=controller),
        clusterwide=not settings.namespaces,
        namespaces=settings.namespaces,
        stop_flag=stop,
        ready_flag=ready,
    )


async def _crds_served(cluster: Cluster, readiness: Readiness, stop: asyncio.Event) -> None:
    """kopf discovers resources only once, so they must exist before it starts."""
    while not stop.is_set():
        try:
            missing = {kind.plural for kind in (VOICE_GATEWAY, BACKLOG_ALERT)} - await cluster.served_resources()
            if not missing:
                return
            names = ", ".join(sorted(f"{plural}.{GROUP}" for plural in missing))
            readiness.wait_for(f"CRDs that serve {VERSION}: {names}; install them: {INSTALL}")
        except ClusterError as error:
            readiness.wait_for("the API server", error=str(error))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), CRDS_PAUSE_SECONDS)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="litevoice-operator",
        description="Runs the gateways and workers that VoiceGateways describe, and watches their backlogs.",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--check-config", action="store_true", help="check the environment and exit")
    arguments = parser.parse_args()
    try:
        settings = Settings.from_environment(os.environ)
    except InvalidField as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if arguments.check_config:
        print("the environment is valid")
        return 0
    # kopf logs every event and handler at info; the operator logs what is worth knowing itself.
    quiet = ["aiohttp.access"] if settings.log_level == "debug" else ["aiohttp.access", "kopf"]
    json_logs.configure(settings.log_level, quiet)
    os.environ.setdefault("POD_ID", settings.pod_name)  # otherwise kopf asks for the user's name, which may not exist
    asyncio.run(run(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
