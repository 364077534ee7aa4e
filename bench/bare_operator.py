"""What an operator costs that only looks: kopf with our watches and settings, and handlers that do nothing.

KUBECONFIG=… python -m bench.bare_operator
"""

from __future__ import annotations

import asyncio
from typing import Any

import kopf

from litevoice_operator.api.base import GROUP, VERSION
from litevoice_operator.handlers.kopf_settings import operator_settings
from litevoice_operator.handlers.resources import login


async def look(**_: Any) -> None:
    return None


async def main() -> None:
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(login)
    for plural in ("voicegateways", "backlogalerts"):
        kopf.on.event(GROUP, VERSION, plural, registry=registry)(look)
    kopf.on.event("", "v1", "pods", registry=registry)(look)
    kopf.on.event("apps", "v1", "replicasets", registry=registry)(look)
    settings = operator_settings()
    # It deletes nothing, so it would take the operator's finalizer away, again and again.
    settings.persistence.finalizer = f"bench.{GROUP}/looks-only"
    await kopf.operator(registry=registry, settings=settings, clusterwide=True)


if __name__ == "__main__":
    asyncio.run(main())
