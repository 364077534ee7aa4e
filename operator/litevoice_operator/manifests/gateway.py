"""The gateways' ReplicaSet: one for each revision of their template."""

from __future__ import annotations

from litevoice_operator.api.labels import ACCEPTING_LABEL
from litevoice_operator.api.resolved import Gateway
from litevoice_operator.manifests import paths
from litevoice_operator.manifests.keys import Keys, keys_secret_name
from litevoice_operator.manifests.objects import Manifest
from litevoice_operator.manifests.pods import Program, replica_set, secret_mount


def gateway_set(gateway: Gateway, keys: Keys) -> Manifest:
    """The newest one, with `spec.replicas`."""
    spec = gateway.spec
    program = Program(
        component="gateway",
        image=gateway.gateway_image,
        replicas=spec.replicas,
        mounts=[
            secret_mount("api-keys", paths.API_KEYS_DIR, spec.auth.api_keys_secret),
            secret_mount("keys", paths.KEYS_DIR, keys_secret_name(gateway, keys)),
        ],
        grace_seconds=spec.drain.grace_seconds,
        ports={"ws": paths.CLIENT_PORT},
        # Endpoints are updated while the process still accepts: no client is sent to a draining pod.
        pre_stop={"sleep": {"seconds": 1}},
        labels={ACCEPTING_LABEL: "true"},
    )
    return replica_set(gateway, program, spec.pod)
