"""The gateways' Deployment."""

from __future__ import annotations

from litevoice_operator.api.resolved import Gateway
from litevoice_operator.manifests import paths
from litevoice_operator.manifests.deployment import Program, deployment, secret_mount
from litevoice_operator.manifests.keys import keys_secret_name
from litevoice_operator.manifests.objects import Manifest

GRACE_BEYOND_DRAIN_SECONDS = 30
"""After the drain: the broker's confirmations, closing connections, and the preStop second."""


def gateway_deployment(gateway: Gateway) -> Manifest:
    spec = gateway.spec
    program = Program(
        component="gateway",
        image=gateway.gateway_image,
        replicas=spec.replicas,
        mounts=[
            secret_mount("api-keys", paths.API_KEYS_DIR, spec.auth.api_keys_secret),
            secret_mount("keys", paths.KEYS_DIR, keys_secret_name(gateway)),
        ],
        grace_seconds=grace_seconds(gateway),
        ports={"ws": paths.CLIENT_PORT},
        # Endpoints are updated while the process still accepts: no client is sent to a draining pod.
        pre_stop={"sleep": {"seconds": 1}},
    )
    return deployment(gateway, program, spec.pod)


def grace_seconds(gateway: Gateway) -> int:
    return gateway.spec.drain.timeout_seconds + GRACE_BEYOND_DRAIN_SECONDS
