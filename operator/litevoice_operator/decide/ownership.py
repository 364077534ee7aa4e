"""Whose things are: what a VoiceGateway may make, change and delete where others have things, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from litevoice_contracts.names import Names
from litevoice_operator.api.resource import Metadata
from litevoice_operator.decide.conditions import Problem

_WORD = "owner"

Claim = Literal["Mine", "Free", "Unmarked"]
"""Mine: marked, or to be marked again. Free: nothing is there. Unmarked: somebody else made them, without a mark."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Attributes:
    uid: of the VoiceGateway.
    line: the same for every VoiceGateway of this namespace and name under the same root key, so that one that is
        created again inherits what its predecessor could not delete. Hexadecimal.
    """

    uid: str
    line: str

    def __str__(self) -> str:
        return f"{_WORD}_{self.uid}_{self.line}"

    @classmethod
    def parse(cls, mark: str) -> Self | None:
        """None for what is not such a mark."""
        word, _, rest = mark.partition("_")
        uid, _, line = rest.partition("_")
        return cls(uid, line) if word == _WORD and uid and line else None


def topic_prefix(metadata: Metadata, recorded: str, *, seen_before: bool, recordable: bool) -> str:
    """Of the topics that the spec does not name. It is chosen once and then `recorded` in the status.

    Early releases chose one that two VoiceGateways may share. One of theirs keeps it: it was
    `seen_before` (its status says something) and nothing is recorded. So does every one whose CRD is too old to record
    a choice (not `recordable`): the choice must be the same each time.
    """
    if recorded:
        return recorded
    if seen_before or not recordable:
        return early_prefix(metadata.namespace, metadata.name)
    return Names.prefix(metadata.namespace, metadata.name)


def early_prefix(namespace: str, name: str) -> str:
    """What early releases chose."""
    return f"lv-{namespace}-{name}"


def claim(names: Names, mine: Owner, marks: Sequence[str], *, exist: bool, had_them: bool) -> Claim | Problem:
    """`marks` of `names.owner_groups`, empty where there is none; `exist`: any of the topics does; `had_them`: this
    VoiceGateway used them before there were marks."""
    for topic, mark in zip((names.request_topic, names.reply_topic), marks, strict=True):
        owner = Owner.parse(mark)
        if mark and (owner is None or (owner.uid != mine.uid and owner.line != mine.line)):
            whose = f"the VoiceGateway with uid {owner.uid}" if owner else f"{mark!r}"
            message = (
                f"spec.rocketmq: topic {topic} at the broker belongs to {whose}; name other topics "
                f"(requestTopic, replyTopic), or, if that one is gone for good, delete the group {topic}-owner"
            )
            return Problem("NamesTaken", message, lasting=True)
    if any(marks) or had_them:
        return "Mine"
    return "Unmarked" if exist else "Free"


def is_owned(body: Mapping[str, Any], uid: str) -> bool:
    """Whether the VoiceGateway with that uid controls the object."""
    return _controller(body).get("uid") == uid


def trespass(body: Mapping[str, Any], name: str, uid: str) -> Problem | None:
    """Why an object that exists may not be changed for the VoiceGateway `name` with that uid; None: it is its own."""
    if is_owned(body, uid):
        return None
    controller = _controller(body)
    if (controller.get("kind"), controller.get("name")) == ("VoiceGateway", name):
        message = "still belongs to an earlier VoiceGateway of this name; waiting until it is removed"
        return Problem("ObjectTaken", message, lasting=False)
    whose = f"belongs to {controller['kind']} {controller['name']}" if controller else "was not made by the operator"
    message = f"exists and {whose}; it stays as it is: remove or rename it, or give the VoiceGateway another name"
    return Problem("ObjectTaken", message, lasting=True)


def _controller(body: Mapping[str, Any]) -> Mapping[str, Any]:
    references = body.get("metadata", {}).get("ownerReferences") or []
    return next((reference for reference in references if reference.get("controller")), {})
