"""Problems and findings → conditions: the transition time changes only with the status."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from litevoice_operator.api.conditions import Condition, ConditionStatus
from litevoice_operator.api.times import to_text

MAX_MESSAGE_LENGTH = 1024


@dataclass(frozen=True, slots=True)
class Finding:
    """What a condition should say now."""

    type: str
    status: ConditionStatus
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """What stands in the way. `lasting`: somebody must change something; otherwise the operator retries."""

    reason: str
    message: str
    lasting: bool


def together(problems: Sequence[Problem]) -> Problem | None:
    """One for all, under the reason of the first that somebody must do something about."""
    if not problems:
        return None
    first = next((problem for problem in problems if problem.lasting), problems[0])
    message = "; ".join(dict.fromkeys(problem.message for problem in (first, *problems)))
    return Problem(first.reason, message, first.lasting)


def conditions(
    previous: Sequence[Condition], findings: Sequence[Finding], generation: int, now: float
) -> list[Condition]:
    """One condition per finding, in their order; `now` in Unix seconds."""
    before = {condition.type: condition for condition in previous}
    result = []
    for finding in findings:
        old = before.get(finding.type)
        unchanged = old is not None and old.status == finding.status
        result.append(
            Condition(
                type=finding.type,
                status=finding.status,
                observed_generation=generation,
                last_transition_time=old.last_transition_time if old and unchanged else to_text(now),
                reason=finding.reason,
                message=shortened(finding.message),
            )
        )
    return result


def shortened(message: str, longest: int = MAX_MESSAGE_LENGTH) -> str:
    return message if len(message) <= longest else message[: longest - 1] + "…"
