"""What a VoiceGateway's manifests were built from, so that a pass that changes nothing builds nothing."""

from __future__ import annotations

from collections.abc import Sequence

from litevoice_operator.api.resolved import Gateway
from litevoice_operator.manifests import all_manifests
from litevoice_operator.manifests.keys import Keys
from litevoice_operator.manifests.objects import Manifest

REMEMBERED = 3
"""A pass asks for one as its spec says, and for one as it is scaled now."""


class Built:
    """Of one VoiceGateway. What is returned is returned again: nobody may change it."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._latest: list[tuple[Gateway, list[Manifest]]] = []

    def all(self, gateway: Gateway) -> Sequence[Manifest]:
        """As `all_manifests`."""
        for known, manifests in self._latest:
            if known == gateway:
                return manifests
        manifests = all_manifests(gateway, self._keys)
        self._latest = [(gateway, manifests), *self._latest[: REMEMBERED - 1]]
        return manifests

    def gateway_set(self, gateway: Gateway) -> Manifest:
        """The ReplicaSet among them."""
        return next(one for one in self.all(gateway) if one["kind"] == "ReplicaSet")
