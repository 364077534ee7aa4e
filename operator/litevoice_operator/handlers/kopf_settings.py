"""How kopf must be set up, with the reason for each setting."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator

import kopf

from litevoice_operator.api.base import GROUP
from litevoice_operator.api.labels import COMPONENT_LABEL, MANAGED_SELECTOR


class EndlessBackoffs:
    """Seconds between attempts, endless and without a length: kopf exits after the last attempt of a finite list, so an
    API server that is down for a minute would end the operator."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain((0.5, 1, 2, 3), itertools.repeat(5.0))


def operator_settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.networking.error_backoffs = EndlessBackoffs()
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    # Otherwise a watch whose connection died silently would be trusted for ever.
    settings.watching.connect_timeout = 5
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    # Only what is ours crosses the network, not the cluster's.
    settings.watching.label_selectors["", "v1", "pods"] = MANAGED_SELECTOR
    gateways = f"{MANAGED_SELECTOR},{COMPONENT_LABEL}=gateway"
    settings.watching.label_selectors["apps", "v1", "replicasets"] = gateways
    # CRDs and namespaces need not be watched, so the operator needs no permission for them.
    settings.scanning.disabled = True
    # Peers of equal priority pause one another.
    settings.peering.standalone = True
    settings.persistence.finalizer = f"{GROUP}/operator"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=f"operator.{GROUP}")
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=f"operator.{GROUP}")
    settings.posting.level = logging.WARNING
    return settings
