"""What channels are told: whether at all, as which alerts, in which words; and what an Alertmanager is sent when."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from litevoice_contracts.errors import InvalidField
from litevoice_operator.adapters.channels import as_alertmanager_takes_it, read_channels, signature
from litevoice_operator.api.backlog_alert import BacklogAlertSpec, BacklogAlertStatus
from litevoice_operator.api.resource import Metadata
from litevoice_operator.decide.alert_board import Alert, Board, Sent
from litevoice_operator.decide.alert_status import routed_status
from litevoice_operator.decide.routing import Mute, alerts, blind_body, muted, told_to, webhook_body

METADATA = Metadata(namespace="shop", name="replies", uid="u", generation=3)
TOP = [
    {"session": "s_a", "backlog": 90, "ageSeconds": 30, "pod": "gateway-1", "client": "10.0.0.1:1"},
    {"session": "s_b", "backlog": 20, "ageSeconds": 60, "pod": "gateway-0"},
    {"session": "s_c", "backlog": 10, "ageSeconds": 10, "pod": "gateway-1"},
]
NOON = 43200.0  # 1970-01-01T12:00:00Z
SILENCE = {"startsAt": "1970-01-01T11:00:00Z", "endsAt": "1970-01-01T13:00:00Z", "author": "ann"}


def spec(**changes: Any) -> BacklogAlertSpec:
    thresholds = [{"severity": "warning", "messages": 100}]
    return BacklogAlertSpec.model_validate(
        {"gatewayRef": {"name": "demo"}, "target": "Replies", "thresholds": thresholds, **changes}
    )


def status(**changes: Any) -> BacklogAlertStatus:
    return BacklogAlertStatus.model_validate(
        {
            "state": "Firing",
            "severity": "warning",
            "since": "1970-01-01T12:00:00Z",
            "value": {"messages": 120, "ageSeconds": 60, "sessions": 3},
            "top": TOP,
            "lastTransition": "Firing warning 1970-01-01T12:00:00Z",
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("description", "changes", "severity", "draining", "now", "expected"),
    [
        ("nothing holds it back", {}, "warning", True, NOON, ""),
        ("a drain, if so wanted", {"suppressDuringDrain": True}, "warning", True, NOON, "a gateway is being drained"),
        ("no drain", {"suppressDuringDrain": True}, "warning", False, NOON, ""),
        ("critical is never held back by a drain", {"suppressDuringDrain": True}, "critical", True, NOON, ""),
        ("a silence", {"silences": [SILENCE]}, "critical", False, NOON, "silenced by ann until 1970-01-01T13:00:00Z"),
        ("a silence that is over", {"silences": [SILENCE]}, "critical", False, NOON + 3600, ""),
        ("a silence to come", {"silences": [SILENCE]}, "critical", False, NOON - 3601, ""),
        ("only a trial", {"dryRun": True}, "critical", False, NOON, "dryRun"),
    ],
)
def test_muted(
    description: str, changes: dict[str, Any], severity: str, draining: bool, now: float, expected: str
) -> None:
    mute = muted(spec(**changes), status(severity=severity), draining=draining, now=now)
    assert (mute.why if mute else "") == expected, description


TOLD = [{"recipient": "oncall", "transition": "Firing warning 1970-01-01T12:00:00Z"}]
BLIND = {
    "type": "Blind", "status": "True", "lastTransitionTime": "1970-01-01T12:00:00Z",
    "reason": "BrokerUnavailable", "message": "no broker",
}  # fmt: skip


@pytest.mark.parametrize(
    ("description", "changes", "mute", "expected"),
    [
        ("nothing holds it back", {}, None, ["LitevoiceBacklog"]),
        ("what is new in a drain", {}, Mute("drain", passes=True), []),
        ("it was known before the drain", {"told": TOLD}, Mute("drain", passes=True), ["LitevoiceBacklog"]),
        (
            "it is another one than before the drain",
            {"told": TOLD, "since": "1970-01-01T12:05:00Z", "lastTransition": "Firing warning 1970-01-01T12:05:00Z"},
            Mute("drain", passes=True),
            [],
        ),
        ("another channel knows it", {"told": [{**TOLD[0], "recipient": "b"}]}, Mute("drain", passes=True), []),
        ("a silence", {"told": TOLD}, Mute("silenced by ann"), []),
        (
            "blind in a drain",
            {"blindTold": True, "conditions": [BLIND]},
            Mute("drain", passes=True),
            ["LitevoiceBacklogBlind"],
        ),
        ("blind in a silence", {"blindTold": True, "conditions": [BLIND]}, Mute("silenced by ann"), []),
    ],
)
def test_what_an_alertmanager_is_told_while_its_channels_are_muted(
    description: str, changes: dict[str, Any], mute: Mute | None, expected: list[str]
) -> None:
    seen = status(**changes)
    shown = told_to(seen, "oncall", alerts(METADATA, spec(), seen), mute)
    assert [alert.labels["alertname"] for alert in shown] == expected, description


def test_an_alert_that_gets_worse_in_a_drain_goes_on_as_it_is_known() -> None:
    told = [{"recipient": "oncall", "transition": "Firing info 1970-01-01T12:00:00Z"}]
    seen = status(told=told, lastTransition="Escalated warning 1970-01-01T12:04:00Z")
    found = alerts(METADATA, spec(), seen)
    (held,) = told_to(seen, "oncall", found, Mute("a drain", passes=True))
    assert held.labels["severity"] == "info"
    better = status(severity="info", told=TOLD)
    (held,) = told_to(better, "oncall", alerts(METADATA, spec(), better), Mute("a drain", passes=True))
    assert held.labels["severity"] == "info"


@pytest.mark.parametrize(
    ("description", "changes", "pods"),
    [
        ("one for all", {}, [None]),
        ("one for each pod", {"groupBy": "Pod"}, ["gateway-0", "gateway-1"]),
        ("too many pods are told as one", {"groupBy": "Pod", "maxAlerts": 1}, [None]),
    ],
)
def test_alerts_by_pod(description: str, changes: dict[str, Any], pods: list[str | None]) -> None:
    found = alerts(METADATA, spec(**changes), status())
    assert [alert.labels.get("pod") for alert in found] == pods, description
    assert len({alert.identity for alert in found}) == len(found)


def test_an_alert_says_what_who_and_what_to_do() -> None:
    wanted = spec(
        runbookUrl="https://runbooks/backlog",
        annotations={"title": "{{severity}}: {{ messages }} messages, {{session}} at {{pod}} ({{client}})"},
    )
    (alert,) = alerts(METADATA, wanted, status())
    assert alert.labels == {
        "alertname": "LitevoiceBacklog", "namespace": "shop", "alert": "replies", "gateway": "demo",
        "target": "Replies", "severity": "warning",
    }  # fmt: skip
    assert alert.starts_at == NOON
    assert alert.annotations["title"] == "warning: 120 messages, s_a at gateway-1 (10.0.0.1:1)"
    assert alert.annotations["runbook_url"] == "https://runbooks/backlog"
    assert alert.annotations["description"].count("\n") == 2


def test_an_alert_that_is_blind_is_one_of_its_own() -> None:
    found = alerts(METADATA, spec(), status(blindTold=True, conditions=[BLIND]))
    assert [alert.labels["alertname"] for alert in found] == ["LitevoiceBacklog", "LitevoiceBacklogBlind"]
    assert "no broker" in found[1].annotations["summary"]
    assert alerts(METADATA, spec(), status(state="Inactive", severity=None)) == []


def test_a_template_that_nothing_is_known_of_is_named() -> None:
    with pytest.raises(ValidationError, match=r"title: only .*session, pod.*got 'by \{\{user\}\}'"):
        spec(annotations={"title": "by {{user}}"})


def test_what_a_webhook_gets() -> None:
    body = webhook_body("chat", METADATA, spec(groupBy="Pod"), status())
    assert (body["version"], body["status"], body["receiver"], len(body["alerts"])) == ("4", "firing", "chat", 2)
    assert body["groupLabels"] == {"alertname": "LitevoiceBacklog", "namespace": "shop", "alert": "replies"}
    assert "pod" not in body["commonLabels"]
    assert {alert["endsAt"] for alert in body["alerts"]} == {"0001-01-01T00:00:00Z"}
    over = webhook_body(
        "chat",
        METADATA,
        spec(),
        status(state="Inactive", severity=None, top=[], lastTransition="Resolved 1970-01-01T12:01:00Z"),
    )
    assert (over["status"], over["groupKey"]) == ("resolved", body["groupKey"])
    assert [alert["endsAt"] for alert in over["alerts"]] == ["1970-01-01T12:01:00Z"]


def test_what_a_webhook_gets_of_being_blind() -> None:
    began = blind_body("chat", METADATA, spec(), status(blindTold=True, conditions=[BLIND]), NOON)
    over = blind_body(
        "chat", METADATA, spec(), status(conditions=[{**BLIND, "status": "False", "reason": "Seeing"}]), NOON + 60
    )
    assert [(body["status"], body["commonLabels"]["alertname"], len(body["alerts"])) for body in (began, over)] == [
        ("firing", "LitevoiceBacklogBlind", 1),
        ("resolved", "LitevoiceBacklogBlind", 1),
    ]
    assert began["groupKey"] == over["groupKey"] != webhook_body("chat", METADATA, spec(), status())["groupKey"]
    assert (began["alerts"][0]["startsAt"], over["alerts"][0]["endsAt"]) == (
        "1970-01-01T12:00:00Z",
        "1970-01-01T12:01:00Z",
    )
    assert began["commonAnnotations"]["summary"] == "shop/replies cannot be seen: no broker"
    assert over["commonAnnotations"]["summary"] == "shop/replies can be seen again"


def test_a_condition_names_the_route_that_is_none() -> None:
    def routed(*routes: str, why: str = "", failing: dict[str, str] | None = None) -> list[tuple[str, str, str]]:
        found = routed_status(METADATA, status(), status(), routes, {"chat"}, why, NOON, failing=failing)
        return [(one.status, one.reason, one.message) for one in found.conditions]

    assert routed() == []
    assert routed("chat") == [("True", "ChannelsKnown", "")]
    assert routed("chat", why="dryRun") == [("False", "Muted", "dryRun")]
    assert routed("chat", why="dryRun", failing={"chat": "HTTP 500"}) == [("False", "Muted", "dryRun")]
    assert routed("chat", failing={"chat": "HTTP 500"}) == [
        ("False", "ChannelFails", "chat: HTTP 500 (the operator's log has more)")
    ]
    ((answer, reason, message),) = routed("chat", "pager")
    assert (answer, reason) == ("False", "ChannelUnknown")
    assert message == "spec.routes[1]: pager: no channel of the chart's alerts.channels (chat)"


# The board of an Alertmanager

A, B = (Alert({"alert": name}, {}, 1.0) for name in "ab")


def test_what_fires_is_sent_in_every_round_with_an_end_after_three() -> None:
    board = Board()
    assert board.put("x", [A], 100.0)
    assert not board.put("x", [A], 105.0), "no news"
    for now in (100.0, 1000.0):
        assert [(sent.alert, sent.ends_at) for sent in board.due(now, 30.0)] == [(A, now + 90.0)]


def test_what_is_over_is_sent_for_five_minutes_with_the_end_that_it_had() -> None:
    board = Board()
    board.put("x", [A, B], 100.0)
    assert board.put("x", [B], 200.0)
    assert [(sent.alert, sent.ends_at) for sent in board.due(210.0, 30.0)] == [(B, 300.0), (A, 200.0)]
    assert [(sent.alert, sent.ends_at) for sent in board.due(499.0, 30.0)][1:] == [(A, 200.0)]
    assert [sent.alert for sent in board.due(500.0, 30.0)] == [B]


def test_pods_that_come_and_go_among_the_worst_do_not_flap() -> None:
    first, second, third = (Alert({"alert": "a", "pod": name}, {}, 1.0) for name in "123")
    board, together = Board(), Alert({"alert": "a"}, {}, 1.0)
    board.put("x", [first, second], 100.0)
    assert board.put("x", [second, third], 105.0), "the third is news"
    assert [sent.alert for sent in board.due(105.0, 30.0)] == [second, third, first]
    assert not board.put("x", [first, second], 110.0)
    board.put("x", [together], 115.0)
    assert {sent.ends_at for sent in board.due(115.0, 30.0)} == {205.0}, "told as one beside those that are known"
    board.put("x", [together], 170.0)
    ended = {sent.alert.labels.get("pod") for sent in board.due(170.0, 30.0) if sent.ends_at == 170.0}
    assert ended == {"1", "2", "3"}
    board.put("x", [first], 200.0)
    board.put("x", [], 201.0)
    assert all(sent.ends_at <= 201.0 for sent in board.due(201.0, 30.0)), "what is over is over at once"


def test_what_is_told_no_longer_says_why() -> None:
    board = Board()
    board.put("x", [A], 100.0)
    assert board.put("x", [], 200.0, "silenced by ann: told no longer")
    ((told, ends_at),) = [(sent.alert, sent.ends_at) for sent in board.due(210.0, 30.0)]
    assert (told.identity, ends_at, told.annotations["summary"]) == (
        A.identity,
        200.0,
        "silenced by ann: told no longer",
    )


def test_what_fires_again_is_not_over() -> None:
    board = Board()
    board.put("x", [A], 100.0)
    board.put("x", [], 110.0)
    board.put("x", [A], 120.0)
    assert [(sent.alert, sent.ends_at) for sent in board.due(120.0, 30.0)] == [(A, 210.0)]


def test_who_raises_none_changes_nothing_of_the_others() -> None:
    board = Board()
    board.put("x", [A], 100.0)
    board.put("y", [B], 100.0)
    board.put("y", [], 110.0)
    assert [sent.alert for sent in board.due(110.0, 30.0)] == [A, B]
    assert board.due(110.0, 30.0)[0].ends_at > 110.0


# Channels


@pytest.mark.parametrize(
    ("entries", "where"),
    [
        ("nonsense", "ALERT_CHANNELS"),
        ([{"name": "a"}], "ALERT_CHANNELS.0"),
        ([{"name": "A", "webhook": {"url": "https://x"}}], "ALERT_CHANNELS.0.name"),
        ([{"name": "a", "webhook": {"url": "ftp://x"}}], "ALERT_CHANNELS.0.webhook.url"),
        ([{"name": "a", "webhook": {"url": "https://[x/hook"}}], "ALERT_CHANNELS.0.webhook.url"),
        ([{"name": "a", "webhook": {"url": "https://x:99999/hook"}}], "ALERT_CHANNELS.0.webhook.url"),
        ([{"name": "a", "alertmanager": {"urls": ["http://:9093"]}}], "ALERT_CHANNELS.0.alertmanager.urls.0"),
        ([{"name": "a", "alertmanager": {"urls": []}}], "ALERT_CHANNELS.0.alertmanager.urls"),
        ([{"name": "a", "webhook": {"url": "https://x"}}] * 2, "ALERT_CHANNELS.1.name"),
        ([{"name": "a", "webhook": {"url": "https://x", "signed": True}}], "ALERT_CHANNELS.0.webhook"),
    ],
)
def test_a_channel_that_is_wrong_is_named(entries: Any, where: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidField) as caught:
        read_channels("ALERT_CHANNELS", entries if isinstance(entries, str) else json.dumps(entries), tmp_path)
    assert str(caught.value).startswith(f"{where}:")


def test_a_clock_that_was_set_back_neither_raises_what_is_over_nor_has_an_alert_refused() -> None:
    board = Board()
    board.put("x", [A, B], 5000.0)
    board.put("x", [B], 5000.0)
    firing, over = board.due(1000.0, 30.0)
    assert (over.alert, over.ends_at) == (A, 1000.0)
    assert [sent.alert for sent in board.due(1300.0, 30.0)] == [B]
    late = Sent(Alert({"alert": "c"}, {}, 5000.0), 1090.0)
    assert as_alertmanager_takes_it(late)["startsAt"] == as_alertmanager_takes_it(late)["endsAt"]
    assert as_alertmanager_takes_it(firing)["startsAt"] == "1970-01-01T00:00:01Z"


def test_an_annotation_gets_a_name_that_alertmanager_takes() -> None:
    names = {"title": "a", "on-call.team": "b", "2nd": "c", "": "d"}
    sent = as_alertmanager_takes_it(Sent(Alert({}, names, 1.0), 2.0))
    assert sent["annotations"] == {"title": "a", "on_call_team": "b", "_2nd": "c", "_": "d"}


def test_a_key_is_the_one_that_the_secret_has_now(tmp_path: Path) -> None:
    (tmp_path / "chat").mkdir()
    file = tmp_path / "chat" / "hmac-key"
    file.write_bytes(b"the first key of the hook\n")
    text = json.dumps([{"name": "chat", "webhook": {"url": "https://user:secret@x/hooks/T0/B0", "signed": True}}])
    channel = read_channels("ALERT_CHANNELS", text, tmp_path)["chat"]
    assert channel.key_now == b"the first key of the hook"
    file.write_bytes(b"the second key of the hook\n")
    assert channel.key_now == b"the second key of the hook"
    file.write_bytes(b"short")
    assert channel.key_now == b"the first key of the hook"
    assert "secret" not in repr(channel)
    assert "T0" not in repr(channel)


def test_a_signature_is_over_time_and_body() -> None:
    """As `openssl dgst -sha256 -hmac key` computes it of ``1700000000.{}``."""
    assert signature(b"key", "1700000000", b"{}") == EXPECTED
    assert signature(b"key", "1700000001", b"{}") != EXPECTED


EXPECTED = "sha256=9d713ed406bb7076d4123f0dc2c39d2df5c654ed4b0cd56b52c8b4c940bd63ae"
