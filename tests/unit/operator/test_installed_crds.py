"""The installed schema beside the operator's own: what it lacks, whether it is older, what is told of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from copy import copy
from typing import Any

import pytest

from litevoice_operator.api.conditions import CRD_OUTDATED, READY, Condition
from litevoice_operator.api.definitions import schemas
from litevoice_operator.decide.conditions import Finding, conditions
from litevoice_operator.decide.crd_difference import (
    INSTALL,
    MAX_NAMED,
    Difference,
    compare,
    crd_finding,
    known_part,
    with_crd_finding,
)

Node = dict[str, Any]
CRD = "voicegateways.litevoice.dev"


def root(spec: Node, status: Node | None = None) -> Node:
    fields = {"type": "object", "properties": spec}
    return {"type": "object", "properties": {"spec": fields, "status": {"type": "object", "properties": status or {}}}}


NUMBER: Node = {"type": "integer", "minimum": 1, "maximum": 10}
TEXT: Node = {"type": "string"}
AUDIO: Node = {"type": "object", "properties": {"batchMilliseconds": NUMBER, "codec": TEXT}}
POLICY: Node = {"type": "string", "enum": ["Migrate", "Complete"]}
LIST: Node = {"type": "array", "items": AUDIO}
MAP: Node = {"type": "object", "additionalProperties": AUDIO}
OPEN: Node = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
WITHOUT_CODEC: Node = {"type": "object", "properties": {"batchMilliseconds": NUMBER}}
QUANTITY: Node = {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True}


CASES: list[tuple[str, Node, Node, Difference]] = [
    ("the same", root({"audio": AUDIO, "policy": POLICY}), root({"audio": AUDIO, "policy": POLICY}), Difference()),
    ("a whole part is missing: it alone is named", root({"audio": AUDIO}), root({}), Difference(("spec.audio",))),
    ("a field in a part", root({"audio": AUDIO}), root({"audio": WITHOUT_CODEC}), Difference(("spec.audio.codec",))),
    ("a part that was empty", root({"audio": AUDIO}), root({"audio": {"type": "object"}}),
     Difference(("spec.audio.batchMilliseconds", "spec.audio.codec"))),
    ("a field in a list", root({"audios": LIST}), root({"audios": LIST | {"items": WITHOUT_CODEC}}),
     Difference(("spec.audios[].codec",))),
    ("a field in a map", root({"audios": MAP}), root({"audios": MAP | {"additionalProperties": WITHOUT_CODEC}}),
     Difference(("spec.audios.*.codec",))),
    ("an object that had no keys", root({"audios": MAP}), root({"audios": {"type": "object"}}),
     Difference(("spec.audios.*",))),
    ("a field of the status", root({}, {"sessions": NUMBER}), root({}), Difference(("status.sessions",))),
    ("an older CRD without a status", root({}, {"sessions": NUMBER}),
     {"type": "object", "properties": {"spec": {"type": "object"}}}, Difference(("status",))),
    ("what keeps everything lacks nothing", root({"audio": AUDIO}), root({"audio": OPEN}), Difference()),
    ("a map with any keys keeps fields", root({"audio": AUDIO}), root({"audio": MAP}), Difference()),
    ("a value", root({"policy": POLICY | {"enum": ["Migrate", "Complete", "Auto"]}}), root({"policy": POLICY}),
     Difference(refuses=("spec.policy Auto",))),
    ("values that were free become any", root({"policy": TEXT}), root({"policy": POLICY}),
     Difference(refuses=("spec.policy other than Migrate, Complete",))),
    ("a higher bound", root({"n": NUMBER | {"maximum": 11}}), root({"n": NUMBER}),
     Difference(refuses=("spec.n above 10",))),
    ("a lower bound", root({"n": NUMBER | {"minimum": 0}}), root({"n": NUMBER}),
     Difference(refuses=("spec.n below 1",))),
    ("no bound any more", root({"t": TEXT}), root({"t": TEXT | {"maxLength": 5}}),
     Difference(refuses=("spec.t longer than 5",))),
    ("a wider CRD is not older", root({"n": NUMBER, "policy": POLICY}),
     root({"n": NUMBER | {"minimum": 0, "maximum": 11}, "policy": TEXT}), Difference()),
    ("another type", root({"n": NUMBER}), root({"n": TEXT}), Difference(refuses=("spec.n of type integer",))),
    ("a number or a text", root({"q": QUANTITY}), root({"q": QUANTITY}), Difference()),
    ("a text becomes a number or a text", root({"q": QUANTITY}), root({"q": TEXT}),
     Difference(refuses=("spec.q of type int-or-string",))),
    ("a field that need not be given any more", root({"t": TEXT}),
     {"type": "object", "properties": root({"t": TEXT})["properties"] | {
         "spec": {"type": "object", "properties": {"t": TEXT}, "required": ["t"]}}},
     Difference(refuses=("spec.t left out",))),
    ("a newer CRD", root({"n": NUMBER}), root({"n": NUMBER, "later": TEXT}), Difference(unknown=("spec.later",))),
    ("descriptions do not count", root({"n": NUMBER}), root({"n": NUMBER | {"description": "of old"}}), Difference()),
]  # fmt: skip


@pytest.mark.parametrize(("description", "built", "installed", "wanted"), CASES, ids=[row[0] for row in CASES])
def test_differences(description: str, built: Node, installed: Node, wanted: Difference) -> None:
    assert compare(built, installed) == wanted


CHILDREN = {"items": "[]", "additionalProperties": ".*"}


def nodes(path: str, node: Node) -> Iterator[tuple[str, Node]]:
    """Every part of a schema, by its path."""
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from nodes(f"{path}.{name}", child)
    for key, suffix in CHILDREN.items():
        if isinstance(child := node.get(key), dict):
            yield from nodes(path + suffix, child)


def changed_at_every_place(change: Callable[[str, Node], Iterator[tuple[str, Callable[[Node], None]]]]) -> Iterator[
    tuple[str, Node, Node]
]:  # fmt: skip
    """What compare must name, our schema, and the schema with one change of `change`, until the next is asked for: for
    every place of both CRDs."""
    for built in schemas().values():
        installed = json.loads(json.dumps(built))  # nothing in it stands at two places
        for part in ("spec", "status"):
            ours, theirs = (list(nodes(part, schema["properties"][part])) for schema in (built, installed))
            for (path, node), (_, other) in zip(ours, theirs, strict=True):
                for named, alter in change(path, node):
                    before = {key: value if key in CHILDREN else copy(value) for key, value in other.items()}
                    alter(other)
                    yield named, built, installed
                    other.update(before)


def test_every_field_that_an_older_crd_lacks_is_named() -> None:
    def removed(path: str, node: Node) -> Iterator[tuple[str, Callable[[Node], None]]]:
        for name in node.get("properties", {}):
            yield f"{path}.{name}", lambda old, name=name: old["properties"].pop(name)  # type: ignore[misc]

    changed = set()
    for named, built, installed in changed_at_every_place(removed):
        changed.add(named)
        difference = compare(built, installed)
        assert difference.lacks == (named,)
        assert difference.outdated
        assert compare(installed, built) == Difference(unknown=(named,)), "a newer CRD is not called old"
    assert {
        "spec.audio",
        "spec.drain.ratePerSecond",
        "status.lastDrain.moved",
        "spec.thresholds[].messages",
    } <= changed


def test_every_value_that_an_older_crd_refuses_is_named() -> None:
    def narrowed(path: str, node: Node) -> Iterator[tuple[str, Callable[[Node], None]]]:
        if len(values := node.get("enum", [])) > 1:
            yield f"{path} {values[-1]}", lambda old: old["enum"].pop()
        for name, step in (("maximum", -1), ("minimum", 1), ("maxLength", -1), ("minLength", 1), ("maxItems", -1)):
            if name in node:
                yield path, lambda old, name=name, step=step: old.update({name: old[name] + step})  # type: ignore[misc]

    changed = set()
    for named, built, installed in changed_at_every_place(narrowed):
        changed.add(named)
        difference = compare(built, installed)
        assert [text.startswith(named) for text in difference.refuses] == [True]
        assert difference.outdated
        assert compare(installed, built) == Difference()
    assert {"spec.drain.policy Auto", "spec.replicas", "spec.thresholds[].severity critical"} <= changed


FINDINGS: list[tuple[str, Difference | None, str, str, list[str]]] = [
    ("the operator's own", Difference(), "False", "UpToDate", []),
    ("an older one", Difference(lacks=("spec.audio", "spec.drain.ratePerSecond")), "True", "OlderThanOperator",
     ["is older", CRD, "It drops spec.audio, spec.drain.ratePerSecond.", INSTALL]),
    ("an older one with narrower values", Difference(refuses=("spec.drain.policy Auto",)), "True", "OlderThanOperator",
     ["It refuses spec.drain.policy Auto.", INSTALL]),
    ("a newer one", Difference(unknown=("spec.later",)), "False", "UpToDate", []),
    ("a newer one with narrower values", Difference(refuses=("spec.replicas above 9",), unknown=("spec.later",)),
     "False", "UpToDate", []),
    ("one that has a field and lacks another may be either", Difference(lacks=("spec.new",), unknown=("spec.old",)),
     "Unknown", "OtherFields", ["It drops spec.new.", "Only it has spec.old.", INSTALL]),
    ("one that nobody may read", None, "Unknown", "SchemaUnreadable", [CRD]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("description", "difference", "status", "reason", "texts"), FINDINGS, ids=[f[0] for f in FINDINGS]
)
def test_what_is_told(
    description: str, difference: Difference | None, status: str, reason: str, texts: list[str]
) -> None:
    finding = crd_finding(CRD, difference)
    assert (finding.type, finding.status, finding.reason) == (CRD_OUTDATED, status, reason)
    assert [text for text in texts if text not in finding.message] == []


def test_many_fields_are_counted_and_the_command_stays() -> None:
    fields = tuple(f"spec.{'deep.' * 40}field{number}" for number in range(500))
    difference = Difference(lacks=fields, refuses=fields)
    (told,) = conditions([], [crd_finding(CRD, difference)], 1, 0.0)
    assert INSTALL in told.message
    assert len(told.message) <= 1024
    short = crd_finding(CRD, Difference(lacks=tuple(f"spec.f{number}" for number in range(MAX_NAMED + 3))))
    assert short.message.endswith(f"spec.f{MAX_NAMED - 1} and 3 more.")


def test_what_works_says_so_in_ready_too() -> None:
    """Every version of the CRD prints Ready's reason and message with `kubectl get -o wide`."""
    older = crd_finding(CRD, Difference(lacks=("spec.audio",)))

    def told(ready: Finding, crd: Finding, previous: list[Condition]) -> list[Condition]:
        return with_crd_finding(conditions(previous, [ready], 3, 1000.0), previous, crd, 3, 1000.0)

    working = Finding(READY, "True", "Ready", "2 gateways and 2 workers are ready")
    ready, outdated = told(working, older, [])
    assert (ready.status, ready.reason) == ("True", CRD_OUTDATED)
    assert "spec.audio" in ready.message
    assert (outdated.type, outdated.status, outdated.observed_generation) == (CRD_OUTDATED, "True", 3)
    broken, _ = told(Finding(READY, "False", "BrokerUnavailable", "no broker"), older, [])
    assert (broken.reason, broken.message) == ("BrokerUnavailable", "no broker")
    ready, mended = told(working, crd_finding(CRD, Difference()), [ready, outdated])
    assert (ready.reason, mended.status) == ("Ready", "False")


def test_transition_time_of_an_outdated_crd_stays() -> None:
    older = crd_finding(CRD, Difference(lacks=("spec.audio",)))
    (first,) = with_crd_finding([], [], older, 1, 1000.0)
    (second,) = with_crd_finding([], [first], older, 2, 2000.0)
    assert second.last_transition_time == first.last_transition_time


STATUS_SCHEMA: Node = {
    "type": "object",
    "properties": {"sessions": NUMBER, "pods": LIST | {"items": WITHOUT_CODEC}, "labels": MAP, "free": OPEN},
}


@pytest.mark.parametrize(
    ("description", "status", "kept"),
    [
        ("a field that is not there", {"sessions": 3, "lastDrain": {"pod": "p"}}, {"sessions": 3}),
        ("a field in a list", {"pods": [{"batchMilliseconds": 1, "codec": "c"}]}, {"pods": [{"batchMilliseconds": 1}]}),
        ("keys of a map", {"labels": {"a": {"codec": "c", "new": 1}}}, {"labels": {"a": {"codec": "c"}}}),
        ("what keeps everything", {"free": {"a": {"b": [1]}}}, {"free": {"a": {"b": [1]}}}),
    ],
)
def test_of_a_status_only_what_the_crd_knows_is_written(description: str, status: Node, kept: Node) -> None:
    assert known_part(status, STATUS_SCHEMA) == kept
