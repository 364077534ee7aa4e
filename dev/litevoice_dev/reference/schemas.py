"""Structural schemas (of a CRD, of a settings file) as tables: one per object, with type, default and description."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from litevoice_dev.reference.markdown import code, table

VALIDATIONS = "x-kubernetes-validations"
IMMUTABLE = "is immutable"


def object_tables(path: str, schema: Mapping[str, Any]) -> str:
    """The object at `path` and every object below it, each under its own heading."""
    return "\n\n".join(_told(path, schema, {}))


def described_type(node: Mapping[str, Any]) -> str:
    """Type and bounds in words."""
    if "enum" in node:
        return "one of " + ", ".join(code(value or '""') for value in node["enum"])
    if node.get("x-kubernetes-int-or-string"):
        return "quantity"
    kind = node.get("type", "")
    if kind == "array":
        bounds = _bounds(node, "minItems", "maxItems", " items")
        return f"list of {described_type(node['items'])}{bounds}"
    if kind == "object" and "additionalProperties" in node:
        return f"map of string to {described_type(node['additionalProperties'])}"
    if kind == "string":
        parts = [node.get("format", "string"), _bounds(node, "minLength", "maxLength", " characters")]
        pattern = f", pattern {code(node['pattern'])}" if "pattern" in node else ""
        return "".join(parts) + pattern
    return str(kind) + _bounds(node, "minimum", "maximum", "")


def _told(path: str, node: Mapping[str, Any], told: dict[str, str]) -> Iterator[str]:
    """`told`: objects and where they stand, so that what occurs twice is told once."""
    key = json.dumps(node["properties"], sort_keys=True)
    if key in told:
        yield f"### {path}"
        yield f"{node.get('description', '')} Fields as in `{told[key]}`."
        return
    told[key] = path
    yield from _section(path, node)
    for name, child in node["properties"].items():
        if "properties" in child:
            yield from _told(f"{path}.{name}", child, told)
        elif "properties" in child.get("items", {}):
            yield from _told(f"{path}.{name}[]", child["items"], told)


def _section(path: str, node: Mapping[str, Any]) -> Iterator[str]:
    yield f"### {path}"
    if description := node.get("description"):
        yield str(description)
    required = node.get("required", ())
    rows = [
        (code(name), described_type(child), _default(child, name in required), _description(child))
        for name, child in node["properties"].items()
    ]
    yield table(("Field", "Type", "Default", "Description"), rows)
    if rules := [rule["message"] for rule in node.get(VALIDATIONS, ())]:
        yield "Also checked: " + "; ".join(rules) + "."


def _default(node: Mapping[str, Any], required: bool) -> str:
    if required:
        return "required"
    if "properties" in node:
        return ""
    return code(node.get("default"))


def _description(node: Mapping[str, Any]) -> str:
    immutable = any(rule["message"] == IMMUTABLE for rule in node.get(VALIDATIONS, ()))
    return str(node.get("description", "")) + (" Immutable." if immutable else "")


def _bounds(node: Mapping[str, Any], least: str, most: str, unit: str) -> str:
    low, high = node.get(least), node.get(most)
    if low is not None and high is not None:
        return f", {low:,} to {high:,}{unit}" if low != high else f", {low:,}{unit}"
    if high is not None:
        return f", at most {high:,}{unit}"
    if low == 1 and unit:
        return ", not empty"
    return f", at least {low:,}{unit}" if low is not None else ""
