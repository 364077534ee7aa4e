"""What a BacklogAlert that heals does about a session that is stuck, and when. Pure.

It does what `litevoice heal` and `move` do, and only where `litevoice why` has found a cause that they cure: a model
that is stuck or a client that does not read stays so, whoever takes its session over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from litevoice_contracts.operator_api import Cause, SessionReport
from litevoice_operator.api.backlog_alert import MAX_HEALED, Culprit, Healed, HealedBy, Healing
from litevoice_operator.api.times import from_text

CURABLE: frozenset[Cause] = frozenset({"lost-subscription", "lost-wakeup", "wrong-owner"})
AGAIN_SECONDS = 15.0
"""A session is looked at again after so long: what was done takes a moment."""
LEFT_SECONDS = 300.0
"""What was tried does not help: the session is left to people for so long. At MAX_PER_MINUTE, MAX_HEALED entries of
the status are as much."""


def next_patient(
    healing: Healing, healed: Sequence[Healed], examined: Mapping[str, float], top: Sequence[Culprit], now: float
) -> str:
    """The session to look at; "" for none. `healed`: what was done, as the status has it; `examined`: when each session
    was looked at last; `now` in Unix seconds."""
    if sum(_is_within(60, _at(entry), now) for entry in healed) >= healing.per_minute:
        return ""
    for culprit in top:
        waits = _is_within(AGAIN_SECONDS, examined.get(culprit.session, float("-inf")), now)
        if culprit.session and culprit.owner == "Held" and not waits and _next(healing, healed, culprit.session, now):
            return culprit.session
    return ""


def remedy(healing: Healing, healed: Sequence[Healed], report: SessionReport, now: float) -> HealedBy | None:
    """None: nothing that a gateway could do would help."""
    if report.verdict.cause not in CURABLE:
        return None
    return _next(healing, healed, report.session_id, now)


def with_healed(healed: Sequence[Healed], new: Healed) -> list[Healed]:
    return [*healed, new][-MAX_HEALED:]


def _next(healing: Healing, healed: Sequence[Healed], session: str, now: float) -> HealedBy | None:
    """First its gateway takes it over again, then its client goes elsewhere."""
    tried = [entry for entry in healed if entry.session == session and _is_within(LEFT_SECONDS, _at(entry), now)]
    if not tried:
        return "Heal"
    if not healing.move or any(entry.by == "Move" for entry in tried):
        return None
    return "Move" if now - _at(tried[-1]) >= AGAIN_SECONDS else None


def _is_within(seconds: float, at: float, now: float) -> bool:
    """What is still to come was written before the clock was set back: nobody knows how long ago."""
    return 0 <= now - at < seconds


def _at(entry: Healed) -> float:
    return from_text(entry.at) or 0.0
