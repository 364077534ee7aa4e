"""The CRDs: they match the models, every field is documented, and their bounds are the programs' own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from pydantic import BaseModel, Field

from litevoice_contracts.settings import GatewaySettings, TurnSettings, WorkerSettings
from litevoice_operator.api.definitions import NotStructuralError, definitions, structural_schema
from litevoice_operator.api.voice_gateway import Audio, Drain, Pipeline, Session, Workers

REPOSITORY = Path(__file__).resolve().parents[3]


def schemas() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, definition in definitions().items():
        schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        for part in ("spec", "status"):
            yield f"{name}:{part}", schema["properties"][part]


def fields(path: str, node: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, child in node.get("properties", {}).items():
        yield f"{path}.{name}", child
        yield from fields(f"{path}.{name}", child)
    if "items" in node:
        yield from fields(f"{path}[]", node["items"])


@pytest.mark.parametrize("name", sorted(definitions()))
def test_files_match_the_models(name: str) -> None:
    file = REPOSITORY / "crds" / name
    assert yaml.safe_load(file.read_text()) == definitions()[name], f"{file}: run `make crds`"


def test_every_field_is_documented() -> None:
    missing = [path for root, schema in schemas() for path, node in fields(root, schema) if not node.get("description")]
    assert missing == []


def test_every_list_and_text_of_a_spec_is_bounded() -> None:
    unbounded = [
        path
        for root, schema in schemas()
        if root.endswith(":spec")
        for path, node in fields(root, schema)
        if (node.get("type") == "array" and "maxItems" not in node)
        or (node.get("type") == "string" and "maxLength" not in node and "enum" not in node)
    ]
    assert unbounded == []


def test_every_bound_fits_its_format() -> None:
    """The API server refuses the whole CRD otherwise."""
    limits = {"int32": 2**31, "int64": 2**63}
    too_large = [
        path
        for root, schema in schemas()
        for path, node in fields(root, schema)
        if node.get("type") == "integer"
        for bound in ("minimum", "maximum", "default")
        if not -limits[node.get("format", "int32")] <= node.get(bound, 0) < limits[node.get("format", "int32")]
    ]
    assert too_large == []


def test_status_has_no_defaults() -> None:
    assert [path for root, schema in schemas() if root.endswith(":status")
            for path, node in fields(root, schema) if "default" in node] == []  # fmt: skip


def test_only_what_a_structural_schema_may_hold() -> None:
    text = json.dumps([schema for _, schema in schemas()])
    for word in ('"$ref"', '"anyOf"', '"title"', '"const"', '"$defs"', '"default": null'):
        assert word not in text


def test_what_openapi_says_in_other_words() -> None:
    class Model(BaseModel):
        only: Literal["one"]
        share: float = Field(gt=0, lt=1)

    fields = structural_schema(Model)["properties"]
    assert fields["only"] == {"type": "string", "enum": ["one"]}
    bounds = {"minimum": 0, "exclusiveMinimum": True, "maximum": 1, "exclusiveMaximum": True}
    assert fields["share"] == {"type": "number"} | bounds


class Union(BaseModel):
    field: int | list[str]


class Untyped(BaseModel):
    field: Any


class Unknown(BaseModel):
    field: int = Field(multiple_of=5)


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        (Union, r"^Union\.field: a union of 2 types$"),
        (Untyped, r"^Untyped\.field: no type$"),
        (Unknown, r"^Unknown\.field: multipleOf$"),
    ],
)
def test_refused_at_generation(model: type[BaseModel], problem: str) -> None:
    with pytest.raises(NotStructuralError, match=problem):
        structural_schema(model)


BOUNDS: list[tuple[type[BaseModel], str, type[BaseModel], str]] = [
    (Session, "max_per_pod", GatewaySettings, "max_sessions"),
    *(
        (Session, name, GatewaySettings, name)
        for name in (
            "idle_timeout_seconds", "max_frame_bytes", "max_events_per_second", "retained_seconds",
            "max_pending_packets", "send_buffer_bytes", "probe_seconds", "restore_timeout_seconds",
        )
    ),
    (Audio, "batch_milliseconds", GatewaySettings, "batch_milliseconds"),
    (Drain, "policy", GatewaySettings, "drain_policy"),
    (Drain, "timeout_seconds", GatewaySettings, "drain_timeout_seconds"),
    (Drain, "turn_wait_seconds", GatewaySettings, "drain_turn_wait_seconds"),
    (Drain, "rate_per_second", GatewaySettings, "drain_rate_per_second"),
    (Workers, "max_sessions", WorkerSettings, "max_sessions"),
    (Workers, "epoch_wait_milliseconds", WorkerSettings, "epoch_wait_milliseconds"),
    (Pipeline, "ahead_milliseconds", TurnSettings, "ahead_milliseconds"),
    (Pipeline, "max_utterance_seconds", TurnSettings, "max_utterance_seconds"),
]  # fmt: skip


@pytest.mark.parametrize(("part", "name", "settings", "setting"), BOUNDS, ids=[row[1] for row in BOUNDS])
def test_bounds_and_defaults_are_those_of_the_program(
    part: type[BaseModel], name: str, settings: type[BaseModel], setting: str
) -> None:
    def limits(model: type[BaseModel], field: str) -> dict[str, Any]:
        schema = model.model_json_schema(by_alias=False)["properties"][field]
        return {key: schema.get(key) for key in ("default", "minimum", "maximum", "enum")}

    assert limits(part, name) == limits(settings, setting)


@pytest.mark.parametrize("file", sorted((REPOSITORY / "examples").rglob("*.yaml")), ids=lambda file: file.name)
def test_examples_use_only_known_fields(file: Path) -> None:
    manifest = yaml.safe_load(file.read_text())
    known = {definition["spec"]["names"]["kind"]: definition for definition in definitions().values()}
    if manifest["kind"] not in known:
        assert manifest["kind"] == "Secret"
        return
    schema = known[manifest["kind"]]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert list(unknown(manifest["spec"], schema, "spec")) == []


def unknown(value: Any, schema: dict[str, Any], path: str) -> Iterator[str]:
    if isinstance(value, dict) and "properties" in schema:
        for name, child in value.items():
            if name not in schema["properties"]:
                yield f"{path}.{name}"
            else:
                yield from unknown(child, schema["properties"][name], f"{path}.{name}")
    elif isinstance(value, list):
        for child in value:
            yield from unknown(child, schema["items"], f"{path}[]")
