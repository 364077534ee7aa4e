"""Reasons of conditions and Events. They stand where the operator decides them; what they mean stands here, and a
reason that one side lacks is an error."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import litevoice_operator
from litevoice_dev.reference.markdown import code, page, table

EVENTS = {
    "Firing": ("BacklogAlert", "Warning", "The alert begins to fire, or a worse severity is reached."),
    "Resolved": ("BacklogAlert", "Normal", "The alert is over, or its VoiceGateway is gone."),
    "BrokerCleanupFailed": (
        "VoiceGateway",
        "Warning",
        "A VoiceGateway was deleted and its topics and groups could not be: the message names what may remain.",
    ),
}
"""Reason → kind, type, when."""

REASONS = {
    "Ready": ("VoiceGateway", "Everything wanted is there and works."),
    "InvalidSpec": ("both", "The spec does not fit; the message names the field."),
    "ApplyFailed": ("VoiceGateway", "The API server refused an object of the VoiceGateway; the message says which."),
    "BrokerUnavailable": ("both", "Name server or broker do not answer; the operator tries again."),
    "BrokerRefused": ("both", "The broker refused a request, for want of permission for example."),
    "GatewaysNotReady": ("VoiceGateway", "Fewer gateways are ready than wanted; the message has a pod's own reason."),
    "WorkersNotReady": ("VoiceGateway", "The same for workers."),
    "SecretNotMounted": ("VoiceGateway", "A pod waits for a Secret, or a key in it, that does not exist."),
    "RollingOut": ("VoiceGateway", "Pods of an older version are being replaced."),
    "Settled": ("VoiceGateway", "Nothing is under way."),
    "Progressing": ("VoiceGateway", "There is a problem that the operator expects to pass."),
    "Measuring": ("BacklogAlert", "The backlog is being measured."),
    "GatewayNotFound": ("BacklogAlert", "There is no VoiceGateway of that name in the namespace."),
    "ThresholdExceeded": ("BacklogAlert", "The alert fires."),
    "Pending": ("BacklogAlert", "A threshold is exceeded, but not yet for `forSeconds`."),
    "BelowThreshold": ("BacklogAlert", "The alert does not fire."),
    "UpToDate": ("both", "The installed CRD has every field of this operator."),
    "OlderThanOperator": ("both", "The installed CRD lacks fields of this operator; the message names them."),
    "OtherFields": ("both", "The installed CRD lacks fields of this operator and has fields of its own."),
    "SchemaUnreadable": ("both", "The API server does not publish the installed CRD's schema."),
}
"""Reason → kind, meaning."""

_ARGUMENT_OF = {"Problem": 0, "Finding": 2, "_unmeasured": 1, "_orphaned": 1, "EventText": 1, "post_event": 2}
"""Function → index of its argument `reason`."""
_EVENT_CALLS = frozenset({"EventText", "post_event"})


class Mismatch(LookupError):  # noqa: N818 - reads as what it is
    """The operator and this module do not know the same reasons."""


def conditions_and_events() -> str:
    """Raises Mismatch."""
    events, conditions = reasons(Path(litevoice_operator.__path__[0]))
    _compare("EVENTS", events, set(EVENTS))
    _compare("REASONS", conditions, set(REASONS))
    return page(
        "Conditions and Events",
        "`Ready`, `Reconciling` and `Stalled` follow the conventions of Kubernetes (kstatus). `Firing` tells whether "
        "a BacklogAlert fires; it never makes `Ready` false. `CRDOutdated` tells whether the installed CRD is older "
        "than the operator.",
        "## Reasons of conditions",
        table(("Reason", "Kind", "Meaning"), ((code(name), *row) for name, row in REASONS.items())),
        "## Events",
        "`kubectl describe` shows them; `kubectl get events -A --field-selector "
        "reportingComponent=litevoice-operator` lists all.",
        table(("Reason", "About", "Type", "When"), ((code(name), *row) for name, row in EVENTS.items())),
    )


def reasons(package: Path) -> tuple[set[str], set[str]]:
    """Reasons of Events and of conditions that the sources give as literals."""
    events: set[str] = set()
    conditions: set[str] = set()
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                index = _ARGUMENT_OF.get(name, len(node.args))
                found = events if name in _EVENT_CALLS else conditions
                found.update(text for argument in node.args[index : index + 1] for text in _literals(argument))
            elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "reason":
                conditions.update(_literals(node.value))
    return events, conditions


def _literals(node: ast.expr) -> Iterator[str]:
    """The texts that the expression can be."""
    if isinstance(node, ast.IfExp):
        yield from (*_literals(node.body), *_literals(node.orelse))
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def _compare(where: str, used: set[str], described: set[str]) -> None:
    if used != described:
        raise Mismatch(
            f"{where} in {Path(__file__).name}: describe {sorted(used - described)}, remove {sorted(described - used)}"
        )
