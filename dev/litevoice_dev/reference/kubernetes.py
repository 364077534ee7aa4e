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
    "Blind": (
        "BacklogAlert",
        "Warning",
        "Broker or gateways have not answered for 15 s; the alert stays as it was, and its metrics with it.",
    ),
    "Seeing": ("BacklogAlert", "Normal", "They answer again."),
    "BrokerCleanupFailed": (
        "VoiceGateway",
        "Warning",
        "A VoiceGateway was deleted and its topics and groups could not be: the message names what may remain.",
    ),
    "Draining": (
        "VoiceGateway",
        "Normal",
        "A gateway was told to drain: fewer are enough, it is of an older version, or its node is cordoned.",
    ),
    "DrainTakenBack": ("VoiceGateway", "Normal", "It was needed again before it was gone, and takes new sessions."),
    "Drained": (
        "VoiceGateway",
        "Normal",
        "It is empty, and is removed; the message counts what became of its sessions.",
    ),
    "SessionsForced": (
        "VoiceGateway",
        "Warning",
        "Sessions were cut or packets lost: by a drain of the operator, or of a pod that others have ended.",
    ),
    "DrainUnanswered": (
        "VoiceGateway",
        "Warning",
        "It did not say in time that it is empty (`drain.timeoutSeconds` + 30 s), and is removed with what it holds.",
    ),
    "Rebalanced": (
        "VoiceGateway",
        "Normal",
        "A gateway held far more sessions than the others: the message says how many were told to move.",
    ),
    "ScaledUp": (
        "VoiceGateway",
        "Normal",
        "`spec.autoscaling` asks for more gateways, or `workers.autoscaling` for more workers; the message says why.",
    ),
    "ScaledDown": ("VoiceGateway", "Normal", "It asks for fewer."),
    "DrainRequested": ("VoiceGateway", "Normal", "`litevoice drain` was used: the message says on what, and by whom."),
    "DrainCancelled": ("VoiceGateway", "Normal", "The same for `litevoice drain --cancel`."),
    "SessionMoved": ("VoiceGateway", "Normal", "The same for `litevoice move`."),
    "SessionHealed": ("VoiceGateway", "Normal", "The same for `litevoice heal`, or by a BacklogAlert with `healing`."),
    "PartitionsRaised": (
        "VoiceGateway",
        "Normal",
        "`spec.rocketmq.partitions` was raised, all workers know it, and gateways are told now.",
    ),
    "Paused": ("VoiceGateway", "Normal", "`spec.paused` became true: the operator changes nothing any more."),
    "Resumed": ("VoiceGateway", "Normal", "It became false."),
    "NamesKept": (
        "VoiceGateway",
        "Warning",
        "A VoiceGateway was deleted; its topics and groups are not its own, so they stay.",
    ),
}
"""Reason → kind, type, when."""

REASONS = {
    "ChannelsKnown": ("BacklogAlert", "`Routed` is true: the channels of `routes` are told."),
    "ChannelFails": (
        "BacklogAlert",
        "A route's channel has not taken what it was sent for half a minute; the message says how. It is tried again.",
    ),
    "ChannelUnknown": ("BacklogAlert", "A route is not among the chart's `alerts.channels`; the message names it."),
    "Muted": (
        "BacklogAlert",
        "A silence, a drain or `dryRun` keeps the channels from being told; the message says it.",
    ),
    "Seeing": ("BacklogAlert", "`Blind` is false: broker and gateways answer."),
    "GatewaysUnreachable": ("BacklogAlert", "Gateways that run do not answer; the message names them."),
    "Ready": ("VoiceGateway", "Everything wanted is there and works."),
    "EnoughReady": (
        "VoiceGateway",
        "`Available` is true: of gateways and of workers at most as many are not ready as a drain of nodes may take "
        "(`pod.maxUnavailablePercent`), and one is.",
    ),
    "TooFewReady": ("VoiceGateway", "More are not ready; the message counts them."),
    "NamesAtBroker": (
        "VoiceGateway",
        "`BrokerReady` is true: topics and groups are at the broker, and the VoiceGateway's own. When it is false the "
        "reason is one of those that make `Ready` false.",
    ),
    "SingleGateway": (
        "VoiceGateway",
        "The same with one gateway: a drain of its node waits for another one, or, where the operator may not see "
        "nodes, its sessions have nowhere to go. The message says which.",
    ),
    "Paused": ("VoiceGateway", "`spec.paused` is true: the operator changes nothing."),
    "Acting": ("VoiceGateway", "`spec.paused` is false."),
    "NamesMissing": (
        "VoiceGateway",
        "It is paused, and topics or groups are not at the broker; the message names them.",
    ),
    "AsExpected": ("VoiceGateway", "No plug-in of `spec.pipelines[]` had to be started again in the last ten minutes."),
    "PluginFailing": (
        "VoiceGateway",
        "Workers had to start a plug-in again: it crashed, hung or took too much memory. The message names it and the "
        "pod.",
    ),
    "WorkersSilent": (
        "VoiceGateway",
        "Workers are ready and none answers the operator: nobody knows how plug-ins are.",
    ),
    "AsSessionsAsk": ("VoiceGateway", "There are as many gateways as `spec.autoscaling` makes of the sessions."),
    "ScaledByOthers": ("VoiceGateway", "There is no `spec.autoscaling`: `spec.replicas` decides."),
    "AtMaximum": (
        "VoiceGateway",
        "The load asks for more gateways than `autoscaling.maxReplicas`, or for more workers than "
        "`workers.autoscaling.maxReplicas`.",
    ),
    "AtPartitions": (
        "VoiceGateway",
        "It asks for more workers than `rocketmq.partitions`: more would be idle.",
    ),
    "AtMinimum": ("VoiceGateway", "It asks for fewer than `minReplicas`."),
    "PodsSilent": (
        "VoiceGateway",
        "Fewer would do, but more than 5 % of the gateways or workers do not say what they hold: none is removed.",
    ),
    "Draining": ("VoiceGateway", "Fewer gateways are enough; those that go are not empty yet. The message names them."),
    "Stabilizing": ("VoiceGateway", "Fewer would do, but not yet for `scaleDown.stabilizationSeconds`."),
    "Starting": ("VoiceGateway", "Fewer would do, but not all that there are are ready: none is removed."),
    "Fits": ("VoiceGateway", "A full gateway can be drained within `drain.timeoutSeconds`."),
    "TimeoutTooShort": (
        "VoiceGateway",
        "It cannot: the message says how many sessions would be cut, and which limits are enough.",
    ),
    "BrokersTooSlow": (
        "VoiceGateway",
        "It cannot: a quarter of what the brokers can take over is not enough for a full gateway in that time.",
    ),
    "LongerThanNodesMayWait": (
        "VoiceGateway",
        "It can, but autoscalers or nodes may end the pod earlier unless they are configured for it.",
    ),
    "InvalidSpec": ("both", "The spec does not fit; the message names the field."),
    "ApplyFailed": ("VoiceGateway", "The API server refused objects of the VoiceGateway; the message names each."),
    "ObjectTaken": (
        "VoiceGateway",
        "An object of that name exists and is not this VoiceGateway's: it stays as it is, the message names it.",
    ),
    "NamesTaken": (
        "VoiceGateway",
        "Topics of these names belong to another VoiceGateway at that broker: they are neither changed nor deleted.",
    ),
    "BrokerUnavailable": ("both", "Name server or broker do not answer; the operator tries again."),
    "BrokerRefused": ("both", "The broker refused a request, for want of permission for example."),
    "GatewaysNotReady": ("VoiceGateway", "Fewer gateways are ready than wanted; the message has a pod's own reason."),
    "WorkersNotReady": ("VoiceGateway", "The same for workers."),
    "SecretNotMounted": ("VoiceGateway", "A pod waits for a Secret or ConfigMap, or a key in it, that does not exist."),
    "SettingsRefused": (
        "VoiceGateway",
        "Workers refuse their settings: the message names the field of `spec.pipelines`, and what would be right.",
    ),
    "RollingOut": (
        "VoiceGateway",
        "Pods of an older version, or gateways on cordoned nodes, are being replaced; the message says what it waits "
        "for.",
    ),
    "RolloutWithoutRoom": (
        "VoiceGateway",
        "The same, but those that replace them have no room for the next sessions: more gateways, or calls that end.",
    ),
    "RaisingPartitions": (
        "VoiceGateway",
        "`rocketmq.partitions` was raised: gateways go on with as many as before until topics are made and all workers "
        "replaced.",
    ),
    "TakingOver": (
        "VoiceGateway",
        "ReplicaSets that the Deployment of an earlier release has left become the VoiceGateway's own; pods stay.",
    ),
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

_ARGUMENT_OF = {
    "Problem": 0,
    "Finding": 2,
    "limited": 0,
    "_unmeasured": 1,
    "_orphaned": 1,
    "EventText": 1,
    "post_event": 2,
}
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
        "`Ready`, `Reconciling` and `Stalled` follow the conventions of Kubernetes (kstatus): what a Deployment calls "
        "`Progressing` is `Reconciling` here, and its `False` is `Stalled`. `Available` tells whether callers are "
        "served although something may be missing, `BrokerReady` whether the broker has what they need, whatever else "
        "is wrong. `Firing` tells whether "
        "a BacklogAlert fires; it never makes `Ready` false. `Blind` tells whether what it watches "
        "can be seen at the moment, `Routed` whether its channels are told. `DrainFits` tells whether a drain's limits "
        "suffice for a full gateway, `ScalingLimited` why there are not as many gateways or workers as the load asks "
        "for, `Paused` whether `spec.paused` keeps the operator from changing anything. "
        "`CRDOutdated` tells whether the installed CRD is older than the operator.",
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
