"""Whether a fleet is at rest, so that a pass may believe what watches say. Pure.

A watch may be late, or miss that a pod is gone. So it is believed only while all is as it should be, every pod says so
itself (`decide.polling`), and nothing is to be done: whoever acts has looked, and asked, before.
"""

from __future__ import annotations

from collections.abc import Mapping

from litevoice_operator.decide.shrink import Shrink
from litevoice_operator.observe.pods import Pod
from litevoice_operator.observe.rollouts import Rollout
from litevoice_operator.observe.voice_gateway import Observed


def at_rest(seen: Observed) -> bool:
    """By pods, ReplicaSet and Deployment: there are as many as there are to be, of the newest revision, and none goes
    or is about to."""
    if not seen.newest or [(one.revision, bool(one.controller)) for one in seen.sets] != [(seen.newest, True)]:
        return False
    gateways = [pod for pod in seen.pods if pod.component == "gateway"]
    workers = [pod for pod in seen.pods if pod.component == "worker"]
    return (
        _complete(seen.gateways, len(gateways))
        and _complete(seen.workers, len(workers))
        and all(_stays(pod) for pod in (*gateways, *workers))
        and all(pod.revision == seen.newest and pod.node not in (seen.cordoned or ()) for pod in gateways)
    )


def vouched(seen: Observed) -> bool:
    """Every pod says that it works and stays."""
    for pod in seen.pods:
        if pod.component == "gateway":
            gateway = seen.answers.get(pod.name)
            if gateway is None or not gateway.ready or gateway.drain.state != "none":
                return False
        else:
            worker = seen.worker_answers.get(pod.name)
            if worker is None or not worker.ready:
                return False
    return True


def acts(step: Shrink, replicas: Mapping[str, int], desired: int) -> bool:
    """Something changes: who goes, or how many there are. `replicas` by revision, and `desired`: of now."""
    told = step.marks or step.drain or step.take_back or step.gone
    return bool(told) or dict(step.replicas) != dict(replicas) or step.desired != desired


def _complete(rollout: Rollout, pods: int) -> bool:
    return rollout.settled and pods == rollout.wanted == rollout.ready


def _stays(pod: Pod) -> bool:
    return pod.ready and not (pod.terminating or pod.goes_first)
