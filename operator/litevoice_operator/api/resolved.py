"""A VoiceGateway with every default filled in: what the manifests are built from."""

from __future__ import annotations

from dataclasses import dataclass

from litevoice_contracts.errors import InvalidField
from litevoice_contracts.names import Names
from litevoice_operator.api.labels import Component
from litevoice_operator.api.resource import Metadata, Resource
from litevoice_operator.api.voice_gateway import VoiceGatewaySpec


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the operator was installed with; an empty string: nothing."""

    gateway_image: str = ""
    worker_image: str = ""
    endpoints: str = ""
    name_server: str = ""
    admin_tls: bool = False


@dataclass(frozen=True, slots=True)
class Gateway:
    """One VoiceGateway, complete and valid."""

    namespace: str
    name: str
    uid: str
    spec: VoiceGatewaySpec
    names: Names
    endpoints: str
    name_server: str
    admin_tls: bool
    gateway_image: str
    worker_image: str

    def object_name(self, component: Component) -> str:
        """Name of a component's Deployment, Service, ConfigMap …"""
        return f"{self.name}-{component}"


def resolve(metadata: Metadata, spec: VoiceGatewaySpec, defaults: Defaults) -> Gateway:
    """Raises InvalidField (field relative to `spec`) if something is missing or invalid."""
    rocketmq = spec.rocketmq
    standard = Names.default(metadata.namespace, metadata.name, rocketmq.partitions)
    names = Names(
        rocketmq.request_topic or standard.request_topic,
        rocketmq.reply_topic or standard.reply_topic,
        rocketmq.partitions,
    )
    names.validate()
    return Gateway(
        namespace=metadata.namespace,
        name=metadata.name,
        uid=metadata.uid,
        spec=spec,
        names=names,
        endpoints=_needed("rocketmq.endpoints", rocketmq.endpoints, defaults.endpoints),
        name_server=_needed("rocketmq.nameServer", rocketmq.name_server, defaults.name_server),
        admin_tls=defaults.admin_tls if rocketmq.admin_tls is None else rocketmq.admin_tls,
        gateway_image=_needed("image", spec.image, defaults.gateway_image),
        worker_image=_needed("workers.image", spec.workers.image, defaults.worker_image),
    )


def read_gateway(resource: Resource, defaults: Defaults) -> Gateway:
    """The same, from the raw resource. Raises pydantic's ValidationError, too."""
    return resolve(resource.metadata, VoiceGatewaySpec.model_validate(resource.spec), defaults)


def _needed(field: str, given: str | None, default: str) -> str:
    value = given or default
    if not value:
        raise InvalidField(field, "a value, because the operator was installed without a default for it")
    return value
