"""What the ReplicaSets of gateways tell: one for each revision of their template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from litevoice_operator.api.labels import INSTANCE_LABEL, REVISION_LABEL, TEMPLATE_HASH_ANNOTATION
from litevoice_operator.api.resource import Key
from litevoice_operator.observe.rollouts import Rollout, failures


@dataclass(frozen=True, slots=True)
class ReplicaSet:
    """Attributes:
    controller: uid of the object that owns it; "" for nobody.
    revision: of its template, as its pods bear it; template: hash of the template, "" for one of an early release.
    account: its pods' ServiceAccount.
    wanted: pods that it is to have; pods: that it has.
    settled: its controller has seen the latest change, and has made it true.
    failure: why it is stuck, in its controller's words.
    version: its resourceVersion.
    """

    name: str
    uid: str
    controller: str
    revision: str
    template: str
    account: str = ""
    made_at: str = ""
    wanted: int = 0
    pods: int = 0
    ready: int = 0
    settled: bool = False
    failure: str = ""
    version: str = ""


def read_replica_set(body: Mapping[str, Any]) -> ReplicaSet:
    """As the API server (or a watch) returns it."""
    metadata, spec, status = body.get("metadata", {}), body.get("spec", {}), body.get("status", {})
    template = spec.get("template", {})
    controllers = [owner for owner in metadata.get("ownerReferences") or [] if owner.get("controller")]
    wanted, pods = int(spec.get("replicas", 1)), int(status.get("replicas", 0))
    seen = int(status.get("observedGeneration", 0)) >= int(metadata.get("generation", 0))
    return ReplicaSet(
        name=str(metadata.get("name", "")),
        uid=str(metadata.get("uid", "")),
        controller=str(controllers[0].get("uid", "")) if controllers else "",
        revision=str((metadata.get("labels") or {}).get(REVISION_LABEL, "")),
        template=str((template.get("metadata", {}).get("annotations") or {}).get(TEMPLATE_HASH_ANNOTATION, "")),
        account=str(template.get("spec", {}).get("serviceAccountName", "")),
        made_at=str(metadata.get("creationTimestamp", "")),
        wanted=wanted,
        pods=pods,
        ready=int(status.get("readyReplicas", 0)),
        settled=seen and pods == wanted,
        failure=failures(status),
        version=str(metadata.get("resourceVersion", "")),
    )


def gateway_key(body: Mapping[str, Any]) -> Key:
    """Of the VoiceGateway that it was made for."""
    metadata = body.get("metadata", {})
    return str(metadata.get("namespace", "")), str((metadata.get("labels") or {}).get(INSTANCE_LABEL, ""))


def newest(sets: Sequence[ReplicaSet], template: str) -> ReplicaSet | None:
    """The one of that template. A Deployment may have made several of it (`kubectl rollout restart`): the last."""
    of_it = [one for one in sets if template and one.template == template]
    return max(of_it, key=lambda one: (one.made_at, one.name), default=None)


def orphans(sets: Sequence[ReplicaSet], name: str) -> list[ReplicaSet]:
    """Those that a Deployment of the VoiceGateway `name` has left: nobody's, and their pods run as its gateways."""
    account = f"{name}-gateway"
    return [one for one in sets if not one.controller and one.name.startswith(f"{account}-") and one.account == account]


def fleet(sets: Sequence[ReplicaSet], revision: str, desired: int) -> Rollout:
    """All of them as one. `revision`: the newest; `desired`: how many gateways there were to be lately, 0 when nobody
    knows."""
    wanted = sum(one.wanted for one in sets)
    return Rollout(
        wanted=desired or wanted,
        replicas=sum(one.pods for one in sets),
        ready=sum(one.ready for one in sets),
        settled=bool(sets)
        and all(one.settled and (one.revision == revision or not one.wanted) for one in sets)
        and wanted == (desired or wanted),
        failure="; ".join(dict.fromkeys(one.failure for one in sets if one.failure)),
        exists=bool(sets),
    )
