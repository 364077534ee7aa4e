"""Mounts of the broker's credentials and certificate authority, the same for gateways and workers."""

from __future__ import annotations

from litevoice_operator.api.resolved import Gateway
from litevoice_operator.manifests import paths
from litevoice_operator.manifests.deployment import Mount, secret_mount


def broker_mounts(gateway: Gateway) -> list[Mount]:
    rocketmq = gateway.spec.rocketmq
    mounts = []
    if rocketmq.credentials_secret:
        mounts.append(secret_mount("broker", paths.BROKER_CREDENTIALS_DIR, rocketmq.credentials_secret))
    if rocketmq.ca_secret:
        only_ca = {paths.BROKER_CA_FILE: paths.BROKER_CA_FILE}
        mounts.append(secret_mount("broker-ca", paths.BROKER_CA_DIR, rocketmq.ca_secret, only_ca))
    return mounts
