"""A VoiceGateway with every default filled in: what the manifests are built from."""

from __future__ import annotations

from dataclasses import dataclass

from litevoice_contracts.errors import InvalidField
from litevoice_contracts.names import Names
from litevoice_operator.api.labels import Component
from litevoice_operator.api.resource import Metadata, Resource
from litevoice_operator.api.voice_gateway import VoiceGatewaySpec

DEFAULT_USER_ID = 65532


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the operator was installed with; an empty string: nothing."""

    gateway_image: str = ""
    worker_image: str = ""
    endpoints: str = ""
    name_server: str = ""
    admin_tls: bool = False
    user_id: int | None = DEFAULT_USER_ID
    """That pods run as; None: the cluster gives them one."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """One VoiceGateway, complete and valid."""

    namespace: str
    name: str
    uid: str
    spec: VoiceGatewaySpec
    topic_prefix: str
    names: Names
    endpoints: str
    name_server: str
    admin_tls: bool
    gateway_image: str
    worker_image: str
    user_id: int | None = DEFAULT_USER_ID
    """That its pods run as; None: the cluster gives them one."""
    worker_token_sha256: str = ""
    """Of the token that the workers' admin port wants."""
    alone: bool = False
    """There is to be one gateway, and the operator makes another one before its node is drained."""
    routed_by_label: bool = True
    """Every gateway pod has the label that the Service would select by."""
    gateway_partitions: int = 0
    """Partitions that gateways make sessions for while workers are told of more; 0: all."""

    def object_name(self, component: Component) -> str:
        """Name of a component's Service, ConfigMap, ServiceAccount …"""
        return f"{self.name}-{component}"


def resolve(metadata: Metadata, spec: VoiceGatewaySpec, defaults: Defaults, topic_prefix: str = "") -> Gateway:
    """Raises InvalidField (field relative to `spec`) if something is missing or invalid. `topic_prefix`: of topics that
    the spec does not name; empty: a new VoiceGateway's."""
    rocketmq = spec.rocketmq
    prefix = topic_prefix or Names.prefix(metadata.namespace, metadata.name)
    standard = Names.with_prefix(prefix, rocketmq.partitions, rocketmq.brokers)
    names = Names(
        rocketmq.request_topic or standard.request_topic,
        rocketmq.reply_topic or standard.reply_topic,
        rocketmq.partitions,
        rocketmq.brokers,
    )
    names.validate()
    return Gateway(
        namespace=metadata.namespace,
        name=metadata.name,
        uid=metadata.uid,
        spec=spec,
        topic_prefix=prefix,
        names=names,
        endpoints=_needed("rocketmq.endpoints", rocketmq.endpoints, defaults.endpoints),
        name_server=_needed("rocketmq.nameServer", rocketmq.name_server, defaults.name_server),
        admin_tls=defaults.admin_tls if rocketmq.admin_tls is None else rocketmq.admin_tls,
        gateway_image=_needed("image", spec.image, defaults.gateway_image),
        worker_image=_needed("workers.image", spec.workers.image, defaults.worker_image),
        user_id=defaults.user_id,
    )


def read_gateway(resource: Resource, defaults: Defaults, topic_prefix: str) -> Gateway:
    """The same, from the raw resource. Raises pydantic's ValidationError, too."""
    return resolve(resource.metadata, VoiceGatewaySpec.model_validate(resource.spec), defaults, topic_prefix)


def _needed(field: str, given: str | None, default: str) -> str:
    value = given or default
    if not value:
        raise InvalidField(field, "a value, because the operator was installed without a default for it")
    return value
