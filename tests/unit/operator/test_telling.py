"""Who is told what, once: by what the status says that they know."""

from __future__ import annotations

import pytest

from litevoice_operator.api.backlog_alert import (
    MAX_ROUTES,
    MAX_TOLD,
    BacklogAlertSpec,
    BacklogAlertStatus,
    BacklogValue,
    Culprit,
    Told,
)
from litevoice_operator.api.conditions import BLIND, READY, Condition
from litevoice_operator.decide.alert import AlertState
from litevoice_operator.decide.alert_status import transition_text, transition_time
from litevoice_operator.decide.telling import EVENTS, after_telling, due, event_text, only_recipients, sight

FIRING, WORSE, OVER = "Firing warning 2026-01-01T00:00:00Z", "Escalated critical 2026-01-01T00:01:00Z", (
    "Resolved 2026-01-01T00:02:00Z"
)  # fmt: skip


def status(last: str, told: dict[str, str] | None = None, **changes: object) -> BacklogAlertStatus:
    known = [Told(recipient=recipient, transition=what) for recipient, what in (told or {}).items()]
    fields = {
        "state": "Inactive" if last in ("", OVER) else "Firing",
        "last_transition": last,
        "told": known,
        **changes,
    }
    return BacklogAlertStatus.model_validate(fields)


@pytest.mark.parametrize(
    ("description", "last", "told", "expected"),
    [
        ("nothing has happened", "", {}, []),
        ("it fires", FIRING, {}, ["events", "hook"]),
        ("one knows it already", FIRING, {"hook": FIRING}, ["events"]),
        ("both know it", FIRING, {"hook": FIRING, "events": FIRING}, []),
        ("it is worse", WORSE, {"hook": FIRING, "events": WORSE}, ["hook"]),
        ("it is over", OVER, {"hook": FIRING, "events": WORSE}, ["events", "hook"]),
        ("it is over, and one never knew that it fired", OVER, {"events": WORSE}, ["events"]),
        ("it is over again, and one knows of the time before", OVER, {"events": "Resolved 2025-12-31T00:00:00Z"}, []),
    ],
)
def test_due(description: str, last: str, told: dict[str, str], expected: list[str]) -> None:
    assert due(status(last, told), [EVENTS, "hook"]) == expected, description


def test_who_was_told_need_not_be_told_again() -> None:
    before = status(WORSE, {"hook": FIRING})
    after = after_telling(before, ["hook"])
    assert due(after, [EVENTS, "hook"]) == [EVENTS]
    assert due(BacklogAlertStatus.model_validate(after.to_object()), ["hook"]) == [], "nor after a restart"


def test_who_is_told_no_more_is_forgotten_so_that_the_status_stays_within_its_bound() -> None:
    status = BacklogAlertStatus(last_transition="Firing warning 2026-11-29T02:00:00Z")
    for day in range(5):
        routes = [f"channel-{day}-{number}" for number in range(MAX_ROUTES)]
        status = after_telling(only_recipients(status, routes), [EVENTS, *routes])
        assert len(status.told) <= MAX_TOLD
    assert due(status, [EVENTS, *routes]) == []


def test_a_transition_as_the_status_keeps_it() -> None:
    text = transition_text("Escalated", AlertState("Firing", "critical", 3.0), 60.0)
    assert (text, transition_time(text)) == ("Escalated critical 1970-01-01T00:01:00Z", 60.0)
    assert transition_text("Resolved", AlertState(), 60.0) == "Resolved 1970-01-01T00:01:00Z"


# Being blind


@pytest.mark.parametrize(
    ("description", "blind", "seconds", "told", "reason"),
    [
        ("a hiccup is not told", True, 14.0, False, None),
        ("blindness is", True, 15.0, False, "Blind"),
        ("also where the clock was set back since it began", True, -3600.0, False, "Blind"),
        ("once", True, 500.0, True, None),
        ("a clock that was set back delays it no further", True, -3600.0, False, "Blind"),
        ("that it sees again is told at once", False, 0.0, True, "Seeing"),
        ("unless nobody knew that it was blind", False, 60.0, False, None),
    ],
)
def test_sight(description: str, blind: bool, seconds: float, told: bool, reason: str | None) -> None:
    condition = Condition(
        type=BLIND, status="True" if blind else "False", last_transition_time="1970-01-01T00:00:00Z",
        reason="BrokerUnavailable", message="no broker",
    )  # fmt: skip
    news = sight(status(FIRING, conditions=[condition], blind_told=told), seconds)
    assert (news.text.reason if news else None) == reason, description
    if news and blind:
        assert news.text.message == "no broker; the alert stays as it was: Firing"


# Words

SPEC = BacklogAlertSpec.model_validate(
    {"gatewayRef": {"name": "demo"}, "target": "Replies", "thresholds": [{"severity": "warning", "messages": 100}]}
)
TOP = Culprit(session="s_abc", backlog=120, age_seconds=14, pod="gateway-1", node="node-2", client="10.1.2.3:555")
VALUE = BacklogValue(messages=123, age_seconds=14, sessions=2)


def test_an_event_names_the_session_its_owner_and_its_client() -> None:
    event = event_text(SPEC, status(FIRING, severity="warning", value=VALUE, top=[TOP]))
    assert (event.type, event.reason) == ("Warning", "Firing")
    for part in (
        "warning",
        "123 messages",
        "2 sessions",
        "s_abc",
        "gateway-1",
        "node-2",
        "10.1.2.3:555",
        "14 s",
        "demo",
    ):
        assert part in event.message


def test_an_event_of_a_resolved_alert() -> None:
    event = event_text(SPEC, status(OVER, value=BacklogValue(messages=0, age_seconds=0)))
    assert (event.type, event.reason) == ("Normal", "Resolved")
    assert "no messages are waiting" in event.message


def test_an_event_of_an_alert_whose_gateway_is_gone() -> None:
    gone = Condition(
        type=READY, status="False", last_transition_time="1970-01-01T00:00:00Z", reason="GatewayNotFound",
        message="there is no VoiceGateway demo",
    )  # fmt: skip
    assert event_text(SPEC, status(OVER, conditions=[gone])).message == "there is no VoiceGateway demo"


@pytest.mark.parametrize(
    ("culprit", "part"),
    [
        (Culprit(partition=7, backlog=40, age_seconds=9), "most in partition 07 (40 messages, 9 s)"),
        (Culprit(session="s_a", backlog=4, age_seconds=9, owner="Orphaned"), "session s_a, no gateway holds it (4"),
    ],
)
def test_where_the_backlog_is(culprit: Culprit, part: str) -> None:
    assert part in event_text(SPEC, status(WORSE, severity="critical", value=VALUE, top=[culprit])).message
