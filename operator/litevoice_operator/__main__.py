"""Runs the operator: `litevoice-operator` or `python -m litevoice_operator`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import resource
import signal
import sys

import kopf

from litevoice_broker.waiting import set_within
from litevoice_contracts import json_logs
from litevoice_contracts.errors import InvalidField
from litevoice_operator.adapters.channels import ChannelClient
from litevoice_operator.adapters.cluster import BACKLOG_ALERT, VOICE_GATEWAY, Cluster, ClusterError
from litevoice_operator.adapters.gateways import Gateways
from litevoice_operator.admin_api import AdminApi, Guard
from litevoice_operator.api.base import GROUP, VERSION
from litevoice_operator.decide.crd_difference import INSTALL
from litevoice_operator.handlers.kopf_settings import operator_settings
from litevoice_operator.handlers.resources import register
from litevoice_operator.manifests.paths import ADMIN_PORT
from litevoice_operator.metrics import ACTING
from litevoice_operator.reconcile.acts import Acts
from litevoice_operator.reconcile.console import Console
from litevoice_operator.reconcile.controller import Controller
from litevoice_operator.reconcile.healing import Healer
from litevoice_operator.reconcile.inquiries import Inquiries
from litevoice_operator.reconcile.installed_crds import InstalledCrds
from litevoice_operator.reconcile.leadership import Leadership
from litevoice_operator.reconcile.nodes import Nodes
from litevoice_operator.reconcile.notifier import Notifier
from litevoice_operator.reconcile.outbox import Outbox
from litevoice_operator.reconcile.pod_cache import PodCache
from litevoice_operator.reconcile.polls import Polls
from litevoice_operator.reconcile.resources import Resources
from litevoice_operator.reconcile.shared import Shared
from litevoice_operator.reconcile.turns import Turns
from litevoice_operator.server import Door, serve
from litevoice_operator.settings import HELP, Settings

CRDS_PAUSE_SECONDS = 3.0

_log = logging.getLogger("litevoice_operator")


class Readiness:
    """Attributes:
    ready: set by kopf once its watches run.
    standing_by: another operator acts; this one is ready to follow it.
    waits_for: what is missing until then, as /readyz and the log say.
    """

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self.standing_by = False
        self.waits_for = "starting"

    def __call__(self) -> str:
        return "" if self.standing_by or self.ready.is_set() else self.waits_for

    def wait_for(self, what: str, **facts: object) -> None:
        """Logged when it changes."""
        if what != self.waits_for:
            _log.warning("operator waiting", extra={"for": what, **facts})
        self.waits_for = what


async def run(settings: Settings) -> None:
    """Until SIGTERM or SIGINT. Waits for the API server and the CRDs for as long as it takes."""
    stop, readiness = asyncio.Event(), Readiness()
    _stop_at_signals(stop)
    door = Door()
    runner = await serve(settings.listen_port, readiness, door)
    try:
        async with (
            await Cluster.connect(settings.pod_name) as cluster,
            Gateways(ADMIN_PORT) as gateways,
            ChannelClient() as channels,
        ):
            await _crds_served(cluster, readiness, stop)
            if stop.is_set():
                return
            leadership = await _elected(settings, cluster, readiness, stop, door)
            if stop.is_set():
                return
            readiness.waits_for = "its watches"
            crds, nodes = InstalledCrds(cluster), Nodes(cluster)
            await nodes.begin()
            shared = Shared(
                cluster,
                Resources(cluster, crds),
                gateways,
                Polls(gateways),
                PodCache(),
                Outbox(cluster.post_event),
                Turns(settings.rollouts_at_a_time),
                nodes,
                Notifier(settings.channels, channels, settings.resend_seconds),
                settings.defaults,
                settings.installed,
                settings.root_key,
                leadership.acting,
            )
            inquiries, acts = Inquiries(shared, crds, settings.pod_name), Acts(shared)
            controller = Controller(shared, Healer(shared, inquiries, acts), settings.pod_namespace)
            console = Console(shared, inquiries, settings.pod_name)
            api = AdminApi(Guard(cluster), inquiries, acts, console)
            door.inside = api.handle
            ACTING.set(1)
            notifying = asyncio.create_task(shared.notifier.run(), name="notifier")
            ending = asyncio.create_task(_close_at(stop, readiness.ready, api), name="console")
            try:
                await _watch(settings, controller, stop, readiness.ready)
            finally:
                door.inside = None
                ending.cancel()
                await api.close()
                ACTING.set(0)
                notifying.cancel()
                await controller.close()
                await shared.polls.close()
                await asyncio.gather(notifying, return_exceptions=True)
                await nodes.close()
                await shared.outbox.close()
                await leadership.close()
    finally:
        await runner.cleanup()


def _stop_at_signals(stop: asyncio.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


async def _close_at(stop: asyncio.Event, ready: asyncio.Event, api: AdminApi) -> None:
    """At once: at its end kopf cancels whatever was begun after it, connections too. It takes the signals for itself
    when it begins."""
    await ready.wait()
    _stop_at_signals(stop)
    await stop.wait()
    await api.close()


async def _elected(
    settings: Settings, cluster: Cluster, readiness: Readiness, stop: asyncio.Event, door: Door
) -> Leadership:
    """Returns once this operator may act, or is to stop. One whose Lease was taken ends: all that it knows is stale."""
    leadership = Leadership(cluster, (settings.pod_namespace, settings.lease_name), settings.pod_name, stop.set)
    door.acting = lambda: leadership.holder
    await leadership.begin()
    readiness.standing_by = not leadership.acting.is_set()
    waits = [asyncio.create_task(event.wait()) for event in (leadership.acting, stop)]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    return leadership


async def _watch(settings: Settings, controller: Controller, stop: asyncio.Event, ready: asyncio.Event) -> None:
    registry = kopf.OperatorRegistry()
    register(registry, settings.pod_namespace)
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
        await set_within(stop, CRDS_PAUSE_SECONDS)


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
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a connection to each pod
    os.environ.setdefault("POD_ID", settings.pod_name)  # otherwise kopf asks for the user's name, which may not exist
    asyncio.run(run(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
