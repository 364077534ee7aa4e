"""What the pods of gateways and workers have in common: hardening, placement, mounts, probes. And the workers'
Deployment, the gateways' ReplicaSet."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from litevoice_operator.api.labels import (
    ADMIN_TLS,
    REVISION_LABEL,
    TEMPLATE_HASH_ANNOTATION,
    Component,
    labels,
    selector_labels,
)
from litevoice_operator.api.placement import Spread
from litevoice_operator.api.pod_template import PodSettings
from litevoice_operator.api.resolved import Gateway
from litevoice_operator.manifests import paths
from litevoice_operator.manifests.configs import config_hash
from litevoice_operator.manifests.objects import Manifest, manifest

CONFIG_HASH_ANNOTATION = "litevoice.dev/config-hash"
SECRET_MODE = 0o440
SPREADS = (Spread(topology_key="kubernetes.io/hostname"),)
"""Only a preference: a small cluster must still run all pods. Over zones by affinity (`_apart`): the scheduler counts
only nodes that have the keys of all constraints, so one for zones would undo this one where nodes tell no zone."""
REVISION_LENGTH = 10
DEFAULT_REQUESTS = {"cpu": "100m", "memory": "256Mi"}


@dataclass(frozen=True, slots=True)
class Mount:
    """A volume and where it is mounted (read-only); `source` is the volume's own part of the pod spec."""

    name: str
    path: str
    source: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Program:
    """What differs between the components' pods."""

    component: Component
    image: str
    replicas: int
    mounts: Sequence[Mount]
    grace_seconds: int
    ports: Mapping[str, int] = field(default_factory=dict)
    pre_stop: Mapping[str, Any] | None = None
    service_account_token: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)


def secret_mount(name: str, path: str, secret: str, keys: Mapping[str, str] | None = None) -> Mount:
    """A Secret as files; `keys` maps its keys to file names, None takes all."""
    source: dict[str, Any] = {"secretName": secret, "defaultMode": SECRET_MODE}
    if keys is not None:
        source["items"] = [{"key": key, "path": path} for key, path in keys.items()]
    return Mount(name, path, {"secret": source})


def _broker_mounts(gateway: Gateway) -> list[Mount]:
    rocketmq, mounts = gateway.spec.rocketmq, []
    if rocketmq.credentials_secret:
        mounts.append(secret_mount("broker", paths.BROKER_CREDENTIALS_DIR, rocketmq.credentials_secret))
    if rocketmq.ca_secret:
        only_ca = {paths.BROKER_CA_FILE: paths.BROKER_CA_FILE}
        mounts.append(secret_mount("broker-ca", paths.BROKER_CA_DIR, rocketmq.ca_secret, only_ca))
    return mounts


def deployment(gateway: Gateway, program: Program, pod: PodSettings) -> Manifest:
    """Pods are replaced one by one, each once the new one is ready: a rollout never reduces capacity."""
    return manifest(
        gateway,
        program.component,
        "apps/v1",
        "Deployment",
        spec={
            "replicas": program.replicas,
            "selector": {"matchLabels": selector_labels(gateway.name, program.component)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": _template(gateway, program, pod),
        },
    )


def replica_set(gateway: Gateway, program: Program, pod: PodSettings) -> Manifest:
    """Of the current template: its name, its selector and its pods' labels say which one that is."""
    template = _template(gateway, program, pod)
    revision = template["metadata"]["annotations"][TEMPLATE_HASH_ANNOTATION][:REVISION_LENGTH]
    template["metadata"]["labels"][REVISION_LABEL] = revision
    made = manifest(
        gateway,
        program.component,
        "apps/v1",
        "ReplicaSet",
        f"{gateway.object_name(program.component)}-{revision}",
        spec={
            "replicas": program.replicas,
            "selector": {"matchLabels": {**selector_labels(gateway.name, program.component), REVISION_LABEL: revision}},
            "template": template,
        },
    )
    made["metadata"]["labels"][REVISION_LABEL] = revision
    return made


def _template(gateway: Gateway, program: Program, pod: PodSettings) -> dict[str, Any]:
    own = {**labels(gateway.name, program.component), **program.labels}
    annotations = {**pod.annotations, CONFIG_HASH_ANNOTATION: config_hash(gateway, program.component)}
    metadata = {"labels": {**pod.labels, **own}, "annotations": annotations}
    template = {"metadata": metadata, "spec": _pod_spec(gateway, program, pod)}
    text = json.dumps(template, sort_keys=True)
    annotations[TEMPLATE_HASH_ANNOTATION] = hashlib.sha256(text.encode()).hexdigest()[:16]
    return template


def _pod_spec(gateway: Gateway, program: Program, pod: PodSettings) -> dict[str, Any]:
    name, user = gateway.object_name(program.component), gateway.user_id
    mounts = [
        Mount("config", paths.CONFIG_DIR, {"configMap": {"name": name}}),
        *program.mounts,
        *_broker_mounts(gateway),
    ]
    spec: dict[str, Any] = {
        "serviceAccountName": name,
        "automountServiceAccountToken": program.service_account_token,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": program.grace_seconds,
        "securityContext": {
            "runAsNonRoot": True,
            **({} if user is None else dict.fromkeys(("runAsUser", "runAsGroup", "fsGroup"), user)),
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            _spread(gateway, program.component, spread) for spread in pod.topology_spread_constraints or SPREADS
        ],
        "containers": [_container(program, pod, mounts)],
        "volumes": [
            {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}},
            *({"name": mount.name, **mount.source} for mount in mounts),
            *(volume.to_object() for volume in pod.volumes),
        ],
    }
    if pod.affinity:
        spec["affinity"] = pod.affinity.to_object()
    elif not pod.topology_spread_constraints:
        spec["affinity"] = _apart(gateway, program.component)
    if pod.priority_class_name:
        spec["priorityClassName"] = pod.priority_class_name
    if pod.node_selector:
        spec["nodeSelector"] = dict(pod.node_selector)
    if pod.tolerations:
        spec["tolerations"] = [_without_empty(toleration.to_object()) for toleration in pod.tolerations]
    if pod.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in pod.image_pull_secrets]
    return spec


def _container(program: Program, pod: PodSettings, mounts: Sequence[Mount]) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": program.component,
        "image": program.image,
        "env": [
            {"name": "LITEVOICE_CONFIG", "value": f"{paths.CONFIG_DIR}/{paths.CONFIG_FILE}"},
            {"name": "HOME", "value": "/tmp"},  # noqa: S108 - the only writable folder of the container
            *(
                {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}
                for name, path in (("POD_NAME", "metadata.name"), ("POD_IP", "status.podIP"))
            ),
            *(variable.to_object() for variable in pod.env),
        ],
        "ports": [
            {"name": name, "containerPort": port, "protocol": "TCP"}
            for name, port in {**program.ports, "admin": paths.ADMIN_PORT, ADMIN_TLS: paths.ADMIN_TLS_PORT}.items()
        ],
        "resources": _resources(pod),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "readinessProbe": _probe("/readyz", period_seconds=2, failure_threshold=2),
        "livenessProbe": _probe("/healthz", period_seconds=10, failure_threshold=6),
        "terminationMessagePolicy": "File",
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
            *({"name": mount.name, "mountPath": mount.path, "readOnly": True} for mount in mounts),
            *(mount.to_object() for mount in pod.volume_mounts),
        ],
    }
    if pod.env_from:
        container["envFrom"] = [source.to_object() for source in pod.env_from]
    if pod.image_pull_policy:
        container["imagePullPolicy"] = pod.image_pull_policy
    if program.pre_stop is not None:
        container["lifecycle"] = {"preStop": dict(program.pre_stop)}
    return container


def _resources(pod: PodSettings) -> dict[str, Any]:
    """A limit without a request is the request, too, so only what has neither is filled in."""
    requests = {key: value for key, value in DEFAULT_REQUESTS.items() if key not in pod.resources.limits}
    resources: dict[str, Any] = {"requests": {**requests, **pod.resources.requests}}
    if pod.resources.limits:
        resources["limits"] = dict(pod.resources.limits)
    return resources


def _probe(path: str, *, period_seconds: int, failure_threshold: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "admin"},
        "periodSeconds": period_seconds,
        "timeoutSeconds": 2,
        "failureThreshold": failure_threshold,
    }


def _spread(gateway: Gateway, component: Component, spread: Spread) -> dict[str, Any]:
    """Counted per rollout, so old pods do not skew it."""
    return {
        **spread.to_object(),
        "labelSelector": {"matchLabels": selector_labels(gateway.name, component)},
        "matchLabelKeys": [REVISION_LABEL],
    }


def _apart(gateway: Gateway, component: Component) -> dict[str, Any]:
    """Rather in different zones, where there are some."""
    zones = {
        "topologyKey": "topology.kubernetes.io/zone",
        "labelSelector": {"matchLabels": selector_labels(gateway.name, component)},
        "matchLabelKeys": [REVISION_LABEL],
    }
    preferred = [{"weight": 100, "podAffinityTerm": zones}]
    return {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}


def _without_empty(toleration: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in toleration.items() if value != ""}
