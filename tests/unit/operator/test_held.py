"""What pods have said before changes nothing: then they are asked."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from litevoice_contracts.control import WorkerStatus
from litevoice_operator.adapters.gateways import Gateways
from litevoice_operator.observe.rollouts import Rollout
from litevoice_operator.observe.voice_gateway import Observed
from litevoice_operator.reconcile.pod_cache import PodCache
from litevoice_operator.reconcile.worker_scaling import WorkerScaling
from litevoice_worker.admin import AdminServer
from tests.unit.operator.test_manifests import gateway
from tests.unit.operator.test_rest import pod

KEY, TOKEN, HERE = ("shop", "demo"), "t" * 64, "127.0.0.1"
IDLE = WorkerStatus("w", True, "", 0, 100, [0])
BUSY = WorkerStatus("w", True, "", 0, 100, [0], busy=0.6)


@pytest.mark.parametrize(
    ("held", "said", "says", "replicas"),
    [
        (True, IDLE, BUSY, 2),
        (True, IDLE, IDLE, 1),
        (True, BUSY, IDLE, 2),  # nothing is to change: nobody is asked
        (False, IDLE, BUSY, 1),  # they were asked in this pass
    ],
)
async def test_workers_are_asked_before_their_number_changes(
    held: bool, said: WorkerStatus, says: WorkerStatus, replicas: int
) -> None:
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    worker = AdminServer(CollectorRegistry(), lambda: "", digest, lambda: says, lambda _: None, lambda _: None)
    await worker.start(HERE, 0)
    cache = PodCache()
    workers = [pod(f"w-{number}", "worker", ip=HERE) for number in range(2)]
    cache.replace(KEY, workers)
    there = Rollout(wanted=2, replicas=2, ready=2, settled=True)
    answers = {one.name: said for one in workers}
    seen = Observed(workers=there, pods=workers, worker_answers=answers, held=held)
    autoscaling = {"minReplicas": 1, "maxReplicas": 4, "scaleDown": {"stabilizationSeconds": 0}}
    wanted = gateway(workers={"autoscaling": autoscaling})
    async with Gateways(worker.port) as gateways:
        shared = SimpleNamespace(views={}, pods=cache, gateways=gateways)
        scaled, _ = await WorkerScaling(cast(Any, shared), KEY, TOKEN).scale(wanted, seen)
    await worker.close()
    assert scaled.spec.workers.replicas == replicas
