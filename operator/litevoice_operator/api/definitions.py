"""Custom resource definitions from the pydantic models.

The API server wants a structural OpenAPI v3 schema, which is less than JSON Schema: this module translates, and
rejects what it cannot express instead of letting the API server prune it silently.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from litevoice_operator.api.backlog_alert import BacklogAlertSpec, BacklogAlertStatus
from litevoice_operator.api.base import GROUP, VALIDATIONS, VERSION
from litevoice_operator.api.voice_gateway import OBJECT_RULES, VoiceGatewaySpec
from litevoice_operator.api.voice_gateway_status import VoiceGatewayStatus

_COPIED = frozenset(
    {
        *("type", "format", "default", "enum", "pattern", "required"),
        *("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
    }
)
_IGNORED = frozenset({"title"})
_TRANSLATED = frozenset(
    {"properties", "items", "additionalProperties", "exclusiveMinimum", "exclusiveMaximum", "const"}
)


class NotStructuralError(TypeError):
    """A model uses something that the schema of a CRD cannot express."""


def structural_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The model's schema without references, unions and whatever else a structural schema must not contain."""
    schema = model.model_json_schema(by_alias=True, mode="validation")
    return _structural(schema, schema.get("$defs", {}), model.__name__)


def _structural(node: Mapping[str, Any], definitions: Mapping[str, Any], path: str) -> dict[str, Any]:
    node = _without_null(_dereferenced(node, definitions), definitions, path)
    if "x-kubernetes-int-or-string" in node:
        return {key: value for key, value in node.items() if key not in _IGNORED}
    result: dict[str, Any] = {}
    for key, value in node.items():
        if key == "default" and value in (None, {}, []):
            continue  # see _with_object_default
        if key == "description":
            result[key] = " ".join(value.split())
        elif key in _COPIED or key.startswith("x-kubernetes-"):
            result[key] = value
        elif key not in _IGNORED | _TRANSLATED | {"$defs"}:
            raise NotStructuralError(f"{path}: {key}")
    if "const" in node:
        result["enum"] = [node["const"]]
    if "type" not in result:
        raise NotStructuralError(f"{path}: no type")
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if exclusive in node:  # JSON Schema: a number; OpenAPI v3.0: a flag beside the bound
            result |= {bound: node[exclusive], exclusive: True}
    if "properties" in node:
        result["properties"] = {
            name: _structural(child, definitions, f"{path}.{name}") for name, child in node["properties"].items()
        }
        _with_object_default(result)
    elif isinstance(values := node.get("additionalProperties"), Mapping):
        result["additionalProperties"] = _structural(values, definitions, f"{path}.*")
    if "items" in node:
        result["items"] = _structural(node["items"], definitions, f"{path}[]")
    return result


def _with_object_default(node: dict[str, Any]) -> None:
    """An optional object gets its fields' defaults as its own: the API server would fill them into `{}`, too, but it
    checks CEL rules against the default as written."""
    node.pop("default", None)
    defaults = {name: child["default"] for name, child in node["properties"].items() if "default" in child}
    if defaults and not node.get("required"):
        node["default"] = defaults


def _without_defaults(node: dict[str, Any]) -> dict[str, Any]:
    """A status says what was seen, so nothing is filled in."""
    result = {key: value for key, value in node.items() if key != "default"}
    if "properties" in result:
        result["properties"] = {name: _without_defaults(child) for name, child in result["properties"].items()}
    if "items" in result:
        result["items"] = _without_defaults(result["items"])
    return result


def _dereferenced(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in node:
        target = definitions[node["$ref"].rsplit("/", 1)[1]]
        node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
    return node


def _without_null(node: Mapping[str, Any], definitions: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """`X | None` means a field that may be absent; Kubernetes has no null for that."""
    if "anyOf" not in node or "x-kubernetes-int-or-string" in node:
        return node
    branches = [branch for branch in node["anyOf"] if branch.get("type") != "null"]
    if len(branches) != 1:
        raise NotStructuralError(f"{path}: a union of {len(branches)} types")
    outer = {key: value for key, value in node.items() if key not in ("anyOf", "default")}
    return {**_dereferenced(branches[0], definitions), **outer}


def _column(name: str, json_path: str, kind: str = "string", *, wide: bool = False) -> dict[str, Any]:
    return {"name": name, "type": kind, "jsonPath": json_path, **({"priority": 1} if wide else {})}


def _condition(kind: str, field: str) -> str:
    return f'.status.conditions[?(@.type=="{kind}")].{field}'


def _ready(field: str) -> str:
    return _condition("Ready", field)


def _definition(
    kind: str,
    plural: str,
    short_name: str,
    spec: type[BaseModel],
    status: type[BaseModel],
    columns: list[dict[str, Any]],
    *,
    description: str,
    rules: list[dict[str, str]] | None = None,
    scale: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    spec_schema, status_schema = structural_schema(spec), _without_defaults(structural_schema(status))
    spec_schema.pop("default", None)
    subresources: dict[str, Any] = {"status": {}}
    if scale:
        subresources["scale"] = dict(scale)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short_name],
                "categories": ["litevoice"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": subresources,
                    "additionalPrinterColumns": [*columns, _column("Age", ".metadata.creationTimestamp", "date")],
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "description": description,
                            "required": ["spec"],
                            "properties": {
                                "apiVersion": {"type": "string"},
                                "kind": {"type": "string"},
                                "metadata": {"type": "object"},
                                "spec": spec_schema,
                                "status": status_schema,
                            },
                            **({VALIDATIONS: rules} if rules else {}),
                        }
                    },
                }
            ],
        },
    }


def definitions() -> dict[str, dict[str, Any]]:
    """File name → custom resource definition."""
    return {
        "voicegateways.yaml": _definition(
            "VoiceGateway",
            "voicegateways",
            "vgw",
            VoiceGatewaySpec,
            VoiceGatewayStatus,
            [
                _column("Ready", _ready("status")),
                _column("State", _condition("Reconciling", "reason")),
                _column("Gateways", ".status.readyReplicas", "integer"),
                _column("Desired", ".status.desiredReplicas", "integer"),
                _column("Workers", ".status.workers.readyReplicas", "integer"),
                _column("Sessions", ".status.sessions", "integer"),
                _column("Capacity", ".status.capacity", "integer"),
                _column("Full", ".status.full"),
                _column("Paused", ".spec.paused", "boolean"),
                _column("Reason", _ready("reason"), wide=True),
                _column("Message", _ready("message"), wide=True),
                _column("Accepting", ".status.acceptingReplicas", "integer", wide=True),
                _column("Draining", ".status.drainingReplicas", "integer", wide=True),
                _column("Scaling", _condition("ScalingLimited", "reason"), wide=True),
            ],
            description="A fleet of gateways and workers that hold voice sessions over RocketMQ LiteTopics.",
            rules=OBJECT_RULES,
            scale={
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        ),
        "backlogalerts.yaml": _definition(
            "BacklogAlert",
            "backlogalerts",
            "bla",
            BacklogAlertSpec,
            BacklogAlertStatus,
            [
                _column("State", ".status.state"),
                _column("Severity", ".status.severity"),
                _column("Gateway", ".spec.gatewayRef.name"),
                _column("Target", ".spec.target"),
                _column("Messages", ".status.value.messages", "integer"),
                _column("Oldest", ".status.value.ageSeconds", "integer"),
                _column("Ready", _ready("status")),
                _column("Since", ".status.since", "date"),
                _column("Reason", _ready("reason"), wide=True),
                _column("Message", _ready("message"), wide=True),
            ],
            description="Alerts when requests or replies of a VoiceGateway pile up at the broker, and names their "
            "sessions.",
        ),
    }


def schemas() -> dict[str, dict[str, Any]]:
    """Kind → the schema of the whole object."""
    specs = [definition["spec"] for definition in definitions().values()]
    return {spec["names"]["kind"]: spec["versions"][0]["schema"]["openAPIV3Schema"] for spec in specs}
