"""Whole passes over a VoiceGateway, with an API server in memory and a broker that is not there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest

from litevoice_broker.config import AdminAccess
from litevoice_contracts.control import DrainReport
from litevoice_dev.ports import free_port
from litevoice_operator.adapters.broker import Installed
from litevoice_operator.adapters.cluster import ClusterError
from litevoice_operator.adapters.gateways import Gateways
from litevoice_operator.api.resolved import Defaults
from litevoice_operator.api.resource import Resource
from litevoice_operator.decide.notifications import EventText
from litevoice_operator.decide.shrink import Shrink
from litevoice_operator.observe.rollouts import Rollout
from litevoice_operator.observe.voice_gateway import Observed
from litevoice_operator.reconcile.controller import Controller
from litevoice_operator.reconcile.installed_crds import InstalledCrds
from litevoice_operator.reconcile.nodes import Nodes
from litevoice_operator.reconcile.pod_cache import PodCache
from litevoice_operator.reconcile.polls import Polls
from litevoice_operator.reconcile.resources import Resources
from litevoice_operator.reconcile.scaling import Scaling
from litevoice_operator.reconcile.shared import Shared
from litevoice_operator.reconcile.turns import Turns
from litevoice_operator.reconcile.voice_gateway import GatewayReconciler, finalize
from tests.unit.operator.shelf import Shelf
from tests.unit.operator.test_manifests import gateway
from tests.unit.operator.test_rest import pod

KEY = ("shop", "demo")
SPEC: Mapping[str, Any] = {"auth": {"apiKeysSecret": "keys"}, "rocketmq": {"partitions": 1}}
INVALID = [{"name": "a", "voices": {"default": "x"}}]


class Post:
    """Takes Events."""

    def __init__(self) -> None:
        self.events: list[EventText] = []

    async def send(self, _: Mapping[str, str], event: EventText) -> bool:
        self.events.append(event)
        return True

    @property
    def reasons(self) -> list[str]:
        return [event.reason for event in self.events]


def shared(shelf: Shelf, gateways: Gateways) -> tuple[Shared, Post]:
    """`gateways`: none of them exists."""
    cluster, post, nowhere = cast(Any, shelf), Post(), f"127.0.0.1:{free_port()}"
    acting = asyncio.Event()
    acting.set()
    defaults = Defaults("gateway:1", "worker:1", nowhere, nowhere)
    made = Shared(
        cluster, Resources(cluster, InstalledCrds(cluster)), gateways, Polls(gateways), PodCache(), cast(Any, post),
        Turns(1), Nodes(cluster), cast(Any, None), defaults, Installed(nowhere, AdminAccess()), b"k" * 32, acting,
    )  # fmt: skip
    return made, post


async def test_a_scale_up_whose_status_cannot_be_written_is_told_once() -> None:
    """And it is not gone back from at once, as if nobody had asked for more before."""
    shelf = Shelf("demo", {**SPEC, "autoscaling": {"minReplicas": 1, "maxReplicas": 5, "sessionsPerPod": 10}})
    async with Gateways(9090) as gateways:
        all_of_it, post = shared(shelf, gateways)
        reconciler = GatewayReconciler(all_of_it, KEY)
        await reconciler.reconcile()
        assert shelf.gateway["status"]["desiredReplicas"] == 1
        shelf.refused = {"status"}
        shelf.change_spec(autoscaling={"minReplicas": 3, "maxReplicas": 5, "sessionsPerPod": 10})
        for _ in range(5):
            with pytest.raises(ClusterError):
                await reconciler.reconcile()
        assert post.reasons == ["ScaledUp"]
        shelf.change_spec(autoscaling={"minReplicas": 1, "maxReplicas": 5, "sessionsPerPod": 10})
        with pytest.raises(ClusterError):
            await reconciler.reconcile()
        (replica_set,) = shelf.of("ReplicaSet")
        assert replica_set["spec"]["replicas"] == 3, "stabilizationSeconds"
        shelf.refused = set()
        await reconciler.reconcile()
        assert (shelf.gateway["status"]["desiredReplicas"], post.reasons) == (3, ["ScaledUp"])
        await reconciler.close()


async def test_whether_it_is_paused_is_known_of_an_invalid_spec_too() -> None:
    shelf = Shelf("demo", {**SPEC, "paused": True})
    async with Gateways(9090) as gateways:
        all_of_it, post = shared(shelf, gateways)
        reconciler = GatewayReconciler(all_of_it, KEY)
        for pipelines in ([], INVALID, []):
            shelf.change_spec(pipelines=pipelines)
            await reconciler.reconcile()
            assert shelf.conditions["Ready"][1] == ("InvalidSpec" if pipelines else "BrokerUnavailable")
            assert shelf.conditions["Paused"] == ("True", "Paused")
        shelf.change_spec(pipelines=INVALID, paused=False)
        await reconciler.reconcile()
        shelf.change_spec(pipelines=[])
        await reconciler.reconcile()
        assert post.reasons == ["Paused", "Resumed"]
        await reconciler.close()


@pytest.mark.parametrize(("partitions", "told"), [(1, ["BrokerCleanupFailed"]), (0, [])])
async def test_what_an_invalid_spec_leaves_at_the_broker_is_told(partitions: int, told: list[str]) -> None:
    """`partitions`: what the status says; 0 of one that was never valid, so nothing was made."""
    shelf = Shelf("demo", {**SPEC, "pipelines": INVALID})
    async with Gateways(9090) as gateways:
        all_of_it, post = shared(shelf, gateways)
        await finalize(all_of_it, Resource.model_validate({**shelf.gateway, "status": {"partitions": partitions}}))
        assert post.reasons == told
        assert all("spec.pipelines.0.voices" in event.message for event in post.events)


class Deaf:
    """A gateway that answers once it hears."""

    hears = False

    async def drain(self, *_: Any) -> DrainReport | None:
        return DrainReport(state="draining", sessions=3) if self.hears else None


async def test_a_drain_is_told_of_and_its_time_begins_once_the_gateway_has_answered() -> None:
    shelf = Shelf("demo", SPEC)
    async with Gateways(9090) as none:
        all_of_it, post = shared(shelf, none)
        deaf = Deaf()
        object.__setattr__(all_of_it, "gateways", deaf)
        scaling = Scaling(all_of_it, KEY, "token")
        marked = pod("g-1", goes_first=True, revision="n")
        all_of_it.pods.put(marked)
        step = Shrink({"n": 1}, 1, drain=("g-1",))
        for at in (100.0, 180.0, 182.0):
            deaf.hears = at > 100.0
            seen = Observed(Rollout(), pods=[marked], newest="n", at=at)
            decided = scaling.decide(gateway(replicas=0), seen)
            object.__setattr__(decided, "step", step)
            await scaling.scale(gateway(replicas=0), seen, decided, {})
            assert scaling._asked["g-1"] == (100.0 if at == 100.0 else 180.0)
    assert post.reasons == ["Draining"]


async def test_who_is_made_again_at_once_is_looked_after() -> None:
    """In the operator's own namespace nothing holds the former one back, and the news of it may come later."""
    shelf = Shelf("demo", SPEC)
    async with Gateways(9090) as gateways:
        all_of_it, _ = shared(shelf, gateways)
        controller = Controller(all_of_it, cast(Any, None), "shop")
        # Of an invalid spec, so that no broker that does not answer is waited for.
        metadata = {**shelf.gateway["metadata"], "uid": "uid-0"}
        former = {**shelf.gateway, "metadata": metadata, "spec": {"replicas": "no"}}
        controller.resource_event(former, deleted=False)
        controller.resource_event(shelf.gateway, deleted=False)
        controller.resource_event(former, deleted=True)
        while controller._cleanups:
            await asyncio.sleep(0.01)
        assert ("VoiceGateway", KEY) in controller._loops
        await controller.close()
