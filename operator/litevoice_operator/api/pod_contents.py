"""What teams add to the containers, in Kubernetes' own words: environment and volumes. Nothing of the node, and nothing
in the place of what litevoice puts there."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from litevoice_operator.api.base import Api, ObjectName, Quantity, rules

OWN_ENVIRONMENT = ("LITEVOICE_CONFIG", "HOME", "POD_NAME", "POD_IP")
OWN_VOLUMES = (
    "tmp", "config", "api-keys", "keys", "broker", "broker-ca", "transcriber-key", "responder-key", "synthesizer-key",
)  # fmt: skip
"""And `secret-<number>`."""
OWN_FOLDER = "/etc/litevoice"

_VARIABLE = r"^[-._a-zA-Z][-._a-zA-Z0-9]*$"
ConfigKey = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]


def _listed(names: tuple[str, ...]) -> str:
    return "[" + ", ".join(f"'{name}'" for name in names) + "]"


def _exactly_one(*fields: str) -> str:
    return "[" + ", ".join(f"has(self.{field})" for field in fields) + "].filter(given, given).size() == 1"


class KeyReference(Api):
    """One key of a Secret or ConfigMap of the same namespace."""

    name: ObjectName
    """Name of the object."""
    key: ConfigKey
    """Key in it."""
    optional: bool | None = None
    """Start without it, if it does not exist."""


class PodField(Api):
    """A field of the pod."""

    field_path: Annotated[str, Field(min_length=1, max_length=253)]
    """For example `metadata.namespace` or `spec.nodeName`."""


class VariableSource(Api):
    """Where a value comes from."""

    model_config = rules(
        (
            _exactly_one("secretKeyRef", "configMapKeyRef", "fieldRef"),
            "valueFrom: exactly one of secretKeyRef, configMapKeyRef and fieldRef",
        )
    )

    secret_key_ref: KeyReference | None = None
    """A key of a Secret."""
    config_map_key_ref: KeyReference | None = None
    """A key of a ConfigMap."""
    field_ref: PodField | None = None
    """A field of the pod."""


class Variable(Api):
    """One environment variable."""

    model_config = rules(
        ("has(self.value) != has(self.valueFrom)", "env: each needs either value or valueFrom"),
        (
            f"!(self.name in {_listed(OWN_ENVIRONMENT)})",
            f"env: {', '.join(OWN_ENVIRONMENT)} are litevoice's own",
        ),
    )

    name: Annotated[str, Field(min_length=1, max_length=253, pattern=_VARIABLE)]
    """Its name; litevoice's own are not allowed."""
    value: Annotated[str | None, Field(max_length=32_768)] = None
    """Its value."""
    value_from: VariableSource | None = None
    """Where its value comes from."""


class ObjectReference(Api):
    """A Secret or ConfigMap of the same namespace."""

    name: ObjectName
    """Name of the object."""
    optional: bool | None = None
    """Start without it, if it does not exist."""


class VariablesSource(Api):
    """Every key of an object as a variable; `env`, and litevoice's own, win."""

    model_config = rules(
        (_exactly_one("secretRef", "configMapRef"), "envFrom: each needs exactly one of secretRef and configMapRef")
    )

    prefix: Annotated[str | None, Field(max_length=253)] = None
    """Put in front of each name."""
    secret_ref: ObjectReference | None = None
    """A Secret."""
    config_map_ref: ObjectReference | None = None
    """A ConfigMap."""


class KeyToPath(Api):
    """One key as a file."""

    key: ConfigKey
    """The key."""
    path: Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[^/].*$")]
    """File in the volume."""


KeysToPaths = Annotated[list[KeyToPath] | None, Field(max_length=64)]


class SecretVolume(Api):
    """A Secret of the same namespace as files."""

    secret_name: ObjectName
    """Name of the Secret."""
    items: KeysToPaths = None
    """Which keys; absent: all."""
    optional: bool | None = None
    """Start without it, if it does not exist."""


class ConfigMapVolume(Api):
    """A ConfigMap of the same namespace as files."""

    name: ObjectName
    """Name of the ConfigMap."""
    items: KeysToPaths = None
    """Which keys; absent: all."""
    optional: bool | None = None
    """Start without it, if it does not exist."""


class EmptyDirVolume(Api):
    """An empty folder that lives as long as the pod."""

    size_limit: Quantity | None = None
    """The most that it may hold."""


class ClaimVolume(Api):
    """A PersistentVolumeClaim of the same namespace; all pods of the component share it."""

    claim_name: ObjectName
    """Name of the claim."""
    read_only: bool | None = None
    """Nobody writes to it."""


class Volume(Api):
    """One volume."""

    model_config = rules(
        (
            _exactly_one("secret", "configMap", "emptyDir", "persistentVolumeClaim"),
            "volumes: each needs exactly one of secret, configMap, emptyDir and persistentVolumeClaim; nothing else is "
            "allowed, a folder of the node (hostPath) for example",
        ),
        (
            f"!(self.name in {_listed(OWN_VOLUMES)}) && !self.name.matches('^secret-[0-9]+$')",
            f"volumes: {', '.join(OWN_VOLUMES)} and secret-<number> are litevoice's own names",
        ),
    )

    name: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
    """Its name; litevoice's own are not allowed."""
    secret: SecretVolume | None = None
    """A Secret."""
    config_map: ConfigMapVolume | None = None
    """A ConfigMap."""
    empty_dir: EmptyDirVolume | None = None
    """An empty folder."""
    persistent_volume_claim: ClaimVolume | None = None
    """A claim."""


class VolumeMount(Api):
    """Where a volume is in the container."""

    model_config = rules(
        (
            f"!(self.mountPath + '/').startsWith('{OWN_FOLDER}/') && "
            "!(self.mountPath in ['/', '/etc', '/etc/', '/tmp', '/tmp/']) && !self.mountPath.contains('..') && "
            "!self.mountPath.contains('//') && !(self.mountPath + '/').contains('/./')",
            f"volumeMounts: mountPath must not be /, /tmp, /etc or in {OWN_FOLDER}, where litevoice's own files are, "
            "nor contain .. or //",
        )
    )

    name: Annotated[str, Field(min_length=1, max_length=63)]
    """Name of the volume, one of `volumes`."""
    mount_path: Annotated[str, Field(min_length=1, max_length=512, pattern=r"^/[^:]*$")]
    """The folder."""
    sub_path: Annotated[str | None, Field(min_length=1, max_length=512, pattern=r"^[^/].*$")] = None
    """A folder or file of the volume, instead of all of it."""
    read_only: bool | None = None
    """The container cannot write there."""
