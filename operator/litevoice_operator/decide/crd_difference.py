"""The schema that the API server serves, compared with the one that this operator was built with: what an older CRD
lacks, how users are told, and which part of a status it accepts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from litevoice_operator.api.conditions import CRD_OUTDATED, READY, Condition
from litevoice_operator.decide.conditions import Finding, conditions, shortened

INSTALL = "kubectl apply --server-side -f crds/"
"""The one way to install and to upgrade the CRDs."""
_REMEDY = f"upgrade it ({INSTALL}), then apply this object again"
MAX_NAMED = 8
"""At most this many fields are named in a condition; the log names all."""

Schema = Mapping[str, Any]
"""A structural schema: a CRD's openAPIV3Schema, or a part of it."""

_KINDS = ("lacks", "refuses", "unknown")
_OF_EVERY_OBJECT = ("apiVersion", "kind", "metadata")
_UPPER_BOUNDS = {
    "maximum": "above",
    "maxLength": "longer than",
    "maxItems": "with more items than",
    "maxProperties": "with more keys than",
}
_LOWER_BOUNDS = {
    "minimum": "below",
    "minLength": "shorter than",
    "minItems": "with fewer items than",
    "minProperties": "with fewer keys than",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """Between the schema that the operator was built with and the installed one.

    Attributes:
        lacks: paths of the operator's fields that are missing from the installed schema: the API server drops them.
        refuses: paths of common fields with values that only the operator's schema allows.
        unknown: paths of fields that only the installed schema has.
    """

    lacks: tuple[str, ...] = ()
    refuses: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def outdated(self) -> bool:
        """Within an API version, fields are only added and bounds only widened. So an installed schema that lacks
        something is older, unless it has fields of its own: then it is newer, or the two have diverged."""
        return bool(self.lacks or self.refuses) and not self.unknown


def compare(built: Schema, installed: Schema) -> Difference:
    """Of two whole objects' schemas, spec and status. Descriptions, defaults, patterns and rules are not compared."""
    parts = {name: schema for name, schema in built["properties"].items() if name in ("spec", "status")}
    found = list(_differences("", {**built, "properties": parts}, installed))
    lacks, refuses, unknown = (tuple(text for kind, text in found if kind == wanted) for wanted in _KINDS)
    return Difference(lacks, refuses, tuple(path for path in unknown if path not in _OF_EVERY_OBJECT))


def _differences(path: str, built: Schema, installed: Schema) -> Iterator[tuple[str, str]]:
    if installed.get("x-kubernetes-preserve-unknown-fields") or built == installed:
        return
    if built.get("type") != installed.get("type"):
        yield "refuses", f"{path} of type {built.get('type', 'int-or-string')}"
        return
    yield from (("refuses", f"{path} {values}") for values in _refused_values(built, installed))
    fields, installed_fields = built.get("properties", {}), installed.get("properties", {})
    prefix = f"{path}." if path else ""
    for name, child in fields.items():
        if name in installed_fields:
            yield from _differences(prefix + name, child, installed_fields[name])
        elif not installed.get("additionalProperties"):
            yield "lacks", prefix + name
    if not built.get("additionalProperties"):
        yield from (("unknown", prefix + name) for name in installed_fields if name not in fields)
    yield from (
        ("refuses", f"{prefix}{name} left out")
        for name in installed.get("required", ())
        if name in fields and name not in built.get("required", ())
    )
    for key, suffix in (("items", "[]"), ("additionalProperties", ".*")):
        if isinstance(child := built.get(key), Mapping):
            if isinstance(other := installed.get(key), Mapping):
                yield from _differences(path + suffix, child, other)
            elif not other:
                yield "lacks", path + suffix


def _refused_values(built: Schema, installed: Schema) -> Iterator[str]:
    allowed = installed.get("enum")
    if allowed is not None:
        if "enum" not in built:
            yield f"other than {', '.join(map(str, allowed))}"
        yield from (str(value) for value in built.get("enum", ()) if value not in allowed)
    for bounds, sign in ((_UPPER_BOUNDS, 1), (_LOWER_BOUNDS, -1)):
        for name, words in bounds.items():
            bound, own = installed.get(name), built.get(name)
            if bound is not None and (own is None or own * sign > bound * sign):
                yield f"{words} {bound}"


def known_part(value: Any, installed: Schema) -> Any:
    """What the installed schema has fields for. Server-side apply refuses a whole object for one unknown field."""
    if installed.get("x-kubernetes-preserve-unknown-fields"):
        return value
    if isinstance(value, Mapping):
        fields, others = installed.get("properties", {}), installed.get("additionalProperties")
        known = {name: fields.get(name, others) for name in value}
        return {
            name: known_part(child, schema) if isinstance(schema := known[name], Mapping) else child
            for name, child in value.items()
            if known[name]
        }
    if isinstance(value, list) and isinstance(items := installed.get("items"), Mapping):
        return [known_part(child, items) for child in value]
    return value


def crd_finding(crd: str, difference: Difference | None) -> Finding:
    """`difference`: None if the API server does not publish the installed schema."""
    if difference is None:
        message = f"the API server does not publish the schema of {crd}; the operator's log says why"
        return Finding(CRD_OUTDATED, "Unknown", "SchemaUnreadable", message)
    if difference.outdated:
        message = f"the installed CRD {crd} is older than this operator; {_REMEDY}. {_told(difference)}"
        return Finding(CRD_OUTDATED, "True", "OlderThanOperator", message)
    if difference.lacks:
        message = (
            f"the installed CRD {crd} differs from this operator's; if it is older, {_REMEDY}. {_told(difference)}"
        )
        return Finding(CRD_OUTDATED, "Unknown", "OtherFields", message)
    return Finding(CRD_OUTDATED, "False", "UpToDate", "the installed CRD knows every field of this operator")


def _told(difference: Difference) -> str:
    parts = [
        f"{words} {_named(fields)}."
        for words, fields in (
            ("It drops", difference.lacks),
            ("It refuses", difference.refuses),
            ("Only it has", difference.unknown),
        )
        if fields
    ]
    return " ".join(parts)


def _named(fields: Sequence[str]) -> str:
    named = ", ".join(shortened(field, 100) for field in fields[:MAX_NAMED])
    return f"{named} and {len(fields) - MAX_NAMED} more" if len(fields) > MAX_NAMED else named


def with_crd_finding(
    current: Sequence[Condition], previous: Sequence[Condition], finding: Finding, generation: int, now: float
) -> list[Condition]:
    """The conditions, with the finding last. A resource that works despite an older CRD says so in Ready as well, which
    every version of the CRD shows in `kubectl get -o wide`."""
    last = conditions(previous, [finding], generation, now)
    if finding.status != "True":
        return [*current, *last]
    shown = {"reason": CRD_OUTDATED, "message": shortened(finding.message)}
    works = [condition.type == READY and condition.status == "True" for condition in current]
    return [
        *(c.model_copy(update=shown) if ready else c for c, ready in zip(current, works, strict=True)),
        *last,
    ]
