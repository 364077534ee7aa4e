"""What the hand-written pages name exists: fields of the resources, metrics, files, `make` targets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from litevoice_dev.reference.metrics import named
from litevoice_operator.api.definitions import definitions

REPOSITORY = Path(__file__).resolve().parents[3]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
FIELD = re.compile(r"\b(?:spec|status)(?:\.[a-z][A-Za-z]+)+\b")
METRIC = re.compile(r"\blitevoice_[a-z_]+(?=[`{ ]|$)", re.MULTILINE)
TARGET = re.compile(r"(?:^ *|`)make ([a-z][a-z0-9-]*)", re.MULTILINE)
FILE = re.compile(r"(?<![\w/.-])(?:examples|charts|crds|images|scripts|bench|e2e)/[\w./-]*[\w/]")
MODULES = {f"litevoice_{name}" for name in ("gateway", "worker", "operator", "dev", "broker", "cli")}
PODS = ("spec.template", "spec.containers", "spec.volumes")


def paths(prefix: str, node: Mapping[str, Any]) -> Iterator[str]:
    yield prefix
    for name, child in node.get("properties", {}).items():
        yield from paths(f"{prefix}.{name}", child)
    if "items" in node:
        yield from paths(prefix, node["items"])


@pytest.fixture(scope="module")
def fields() -> set[str]:
    schemas = [crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for crd in definitions().values()]
    return {
        path for schema in schemas for part in ("spec", "status") for path in paths(part, schema["properties"][part])
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_names_only_what_exists(page: Path, fields: set[str]) -> None:
    text = page.read_text()
    unknown = [name for name in FIELD.findall(text) if name not in fields and not name.startswith(PODS)]
    unknown += [
        name
        for name in METRIC.findall(text)
        if name not in named() | MODULES and not name.startswith("litevoice_contracts")
    ]
    targets = re.findall(r"^([a-z0-9-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    unknown += [f"make {name}" for name in TARGET.findall(text) if name not in targets]
    unknown += [name for name in FILE.findall(text) if not (REPOSITORY / name).exists()]
    assert unknown == []
