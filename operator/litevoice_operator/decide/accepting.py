"""Which gateways the Service sends new clients to. Pure.

Gateways refuse by themselves what they cannot hold; the label spares clients the refusal. So it never stands between
all clients and all gateways: while nobody has room everybody is routed, and without an operator pods stay as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from litevoice_operator.decide.scale import Load

NEARLY_FULL_PERCENT = 90
"""Of `session.maxPerPod`: from here on a gateway gets no new clients,"""
ROOM_AGAIN_PERCENT = 75
"""until it holds fewer than this."""


@dataclass(frozen=True, slots=True)
class Accepting:
    """Attributes:
    changes: labels to be written, by pod name.
    nearly_full: to be passed in again.
    by_label: every gateway has the label, and one at least is routed by it: the Service may select by it.
    """

    changes: Mapping[str, bool]
    nearly_full: frozenset[str]
    by_label: bool


def accepting(
    pods: Sequence[Load], nearly_full: Collection[str] | None, crowded: Collection[str] = frozenset()
) -> Accepting:
    """`nearly_full`: as returned last time; None at first: then the labels tell. `crowded`: who holds far more than the
    others.

    Not routed: who drains, while another one stays; while another one is known to have room, who is nearly full or
    crowded; while one that stays is, who is to be replaced, or goes because fewer are enough: it may be told only when
    others have drained, and what they moved to it would be moved again. Who does not answer stays as it is.
    """
    staying = [pod for pod in pods if not pod.ending]
    if nearly_full is None:
        nearly_full = {pod.name for pod in staying if pod.accepting is False}
    full = frozenset(pod.name for pod in staying if _is_nearly_full(pod, pod.name in nearly_full))
    wanted = _routed(staying, full.union(crowded))
    labels = [pod.accepting for pod in staying]
    return Accepting(
        changes={pod.name: wanted[pod.name] for pod in staying if pod.accepting is not wanted[pod.name]},
        nearly_full=full,
        by_label=None not in labels and (True in labels or not labels),
    )


def _is_nearly_full(pod: Load, before: bool) -> bool:
    if pod.sessions is None or not pod.max_sessions:
        return before
    percent = ROOM_AGAIN_PERCENT if before else NEARLY_FULL_PERCENT
    return pod.sessions * 100 >= percent * pod.max_sessions


def _goes(pod: Load) -> bool:
    return pod.leaves or pod.marked


def _routed(staying: Sequence[Load], full: Collection[str]) -> dict[str, bool]:
    answering = [pod for pod in staying if pod.sessions is not None]
    kept = {pod.name: pod.accepting is not False for pod in staying if pod.sessions is None}
    with_room = [pod for pod in answering if pod.ready and not pod.draining and pod.name not in full]
    stay = [pod for pod in with_room if not _goes(pod)]
    if with_room:
        own = {pod.name: not pod.draining and pod.name not in full and not (stay and _goes(pod)) for pod in answering}
    else:
        own = {pod.name: not pod.draining for pod in answering}
    wanted = kept | own
    if not any(wanted[pod.name] and pod.ready for pod in staying):
        wanted = {pod.name: wanted[pod.name] or not pod.draining for pod in staying}
    return wanted if any(wanted.values()) else dict.fromkeys(wanted, True)
