"""The console: what it shows of pods and alerts, who may watch for how long, and that its page runs nothing of
others."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import aiohttp
import msgspec
import pytest

from litevoice_contracts.control import DrainReport, GatewayStatus, WorkerStatus
from litevoice_contracts.operator_api import ConsoleState
from litevoice_operator.api.backlog_alert import BacklogAlertStatus
from litevoice_operator.observe.console import alert_row, pod_row, pod_state
from litevoice_operator.reconcile import console as console_module
from litevoice_operator.reconcile.shared import ShownAlert
from litevoice_operator.server import PAGE_FILES, PAGE_PATH, _page_file
from tests.unit.cli.test_command import Served, served
from tests.unit.operator.test_admin_api import pod, soon

__all__ = ["soon"]
KEY = ("voice", "demo")
NO_DRAIN = DrainReport()
GATEWAY = GatewayStatus("gateway-0", True, "", 7, 100, 1, 3, NO_DRAIN, in_turn=2)
WORKER = WorkerStatus("worker-0", True, "", 5, 50, [0, 3], 0.25)


@pytest.mark.parametrize(
    ("changed", "status", "state"),
    [
        ({}, GATEWAY, "ready"),
        ({}, None, "silent"),
        ({"ready": False, "starting": True}, None, "not-ready"),
        ({"ready": False, "trouble": "ImagePullBackOff"}, None, "not-ready"),
        ({}, msgspec.structs.replace(GATEWAY, ready=False, reason="the broker is away"), "not-ready"),
        ({"terminating": True}, None, "ending"),
        ({}, msgspec.structs.replace(GATEWAY, drain=DrainReport(state="draining")), "draining"),
        ({"terminating": True}, msgspec.structs.replace(GATEWAY, drain=DrainReport(state="drained")), "drained"),
    ],
)
def test_a_pods_state_in_one_word(changed: dict[str, Any], status: GatewayStatus | None, state: str) -> None:
    assert pod_state(replace(pod("gateway-0", "gateway", "10.0.0.1"), **changed), status) == state


def test_a_pods_row_has_what_it_told_and_why_it_takes_nobody() -> None:
    row = pod_row(KEY, pod("gateway-0", "gateway", "10.0.0.1"), msgspec.structs.replace(GATEWAY, full="memory"))
    assert (row.node, row.sessions, row.max_sessions, row.in_turn) == ("node-of-gateway-0", 7, 100, 2)
    assert row.about == "full: memory"
    row = pod_row(KEY, pod("worker-0", "worker", "10.0.0.2"), WORKER)
    assert (row.component, row.sessions, row.busy, row.partitions, row.about) == ("worker", 5, 0.25, [0, 3], "")
    row = pod_row(KEY, replace(pod("worker-0", "worker", ""), ready=False, trouble="OOMKilled"), None)
    assert (row.state, row.sessions, row.about) == ("not-ready", -1, "OOMKilled")


def fired(**more: Any) -> BacklogAlertStatus:
    value = {"messages": 4, "ageSeconds": 9, "sessions": 2}
    top = [{"session": "s_1", "backlog": 4, "ageSeconds": 9, "pod": "gateway-0", "client": "10.1.0.1:4711"}]
    status = {"state": "Firing", "severity": "critical", "since": "2026-01-01T00:00:00Z", "value": value, "top": top}
    return BacklogAlertStatus.model_validate(status | more)


def condition(kind: str, status: str, message: str) -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": "Why", "message": message,
            "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"}  # fmt: skip


def test_an_alerts_row_has_its_worst_sessions_and_says_when_it_is_blind() -> None:
    row = alert_row(("voice", "late"), "demo", "Replies", fired())
    assert (row.state, row.severity, row.messages, row.age_seconds, row.about) == ("Firing", "critical", 4, 9, "")
    assert (row.top[0].session_id, row.top[0].partition, row.top[0].client) == ("s_1", -1, "10.1.0.1:4711")
    blind = fired(conditions=[condition("Ready", "False", "no"), condition("Blind", "True", "the broker is silent")])
    assert alert_row(("voice", "late"), "demo", "Replies", blind).about == "the broker is silent"
    well = fired(conditions=[condition("Ready", "True", "it works"), condition("Blind", "False", "sees")])
    assert alert_row(("voice", "late"), "demo", "Replies", well).about == ""


async def events_of(answer: aiohttp.ClientResponse, number: int) -> list[tuple[str, bytes]]:
    found, text = list[tuple[str, bytes]](), b""
    while len(found) < number:
        chunk = await answer.content.readany()
        assert chunk, f"the stream ended after {found}"
        *whole, text = (text + chunk).split(b"\n\n")
        for event in whole:
            name, _, data = event.partition(b"\n")
            found.append((name.removeprefix(b"event: ").decode(), data.removeprefix(b"data: ")))
    return found


def asking(here: Served, token: str = "good", query: str = "?namespace=voice") -> tuple[str, dict[str, str]]:
    return f"{here.url}/v1/console{query}", {"Litevoice-Token": token}


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("litevoice_operator.admin_api", "litevoice_operator.reconcile.console"):
        monkeypatch.setattr(f"{module}.LOOK_SECONDS", 0.05)


@pytest.mark.usefixtures("often")
async def test_who_may_sees_the_fleet_until_the_token_is_no_longer_good() -> None:
    async with served() as here, aiohttp.ClientSession() as client:
        here.shared.alerts["voice", "late"] = ShownAlert("demo", "Replies", fired())
        here.shared.alerts["other", "theirs"] = ShownAlert("demo", "Replies", fired())
        url, headers = asking(here)
        async with client.get(url, headers=headers) as answer:
            assert answer.status == 200
            assert answer.content_type == "text/event-stream"
            (name, data), *_ = await events_of(answer, 1)
            state = msgspec.json.decode(data, type=ConsoleState)
            assert name == "state"
            assert (state.operator, state.gateways, state.sessions) == ("operator-0", ["voice/demo"], 3)
            assert {row.pod: (row.state, row.sessions) for row in state.pods} == {
                "gateway-0": ("ready" if state.pods[0].about == "" else "not-ready", 3),
                "gateway-1": ("silent", -1),
                "worker-0": ("ready", 1),
            }
            assert [alert.name for alert in state.alerts] == ["late"], "nothing of other namespaces"
            assert (state.partitions, state.stalled) == ([], [])
            assert any(text.startswith("voice/demo: ") for text in state.unseen), "the broker does not answer"
            assert any("gateway-1 does not answer" in text for text in state.unseen)
            assert (await events_of(answer, 1))[0][0] == "state"
            here.accounts.tokens.clear()
            here.now += 60
            while (name := (await events_of(answer, 1))[0][0]) == "state":
                pass
            assert name == "end"
            assert await answer.content.read() == b""
        assert here.console._looks == {}, "nobody is asked anything while nobody watches"


async def test_who_may_not_sees_nothing() -> None:
    async with served() as here, aiohttp.ClientSession() as client:
        for token, query, status in (("bad", "?namespace=voice", 401), ("good", "", 403), ("good", "?nonsense=1", 400)):
            url, headers = asking(here, token, query)
            async with client.get(url, headers=headers) as answer:
                assert (answer.status, answer.content_type) == (status, "application/json")


async def test_so_many_may_watch_and_all_end_with_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console_module, "MAX_STREAMS", 2)
    async with served() as here, aiohttp.ClientSession() as client:
        url, headers = asking(here)
        async with client.get(url, headers=headers) as first, client.get(url, headers=headers) as second:
            await events_of(first, 1)
            await events_of(second, 1)
            async with client.get(url, headers=headers) as third:
                assert third.status == 429
                assert (await third.json())["error"]["message"] == "2 consoles are open already: close one"
            await here.api.close()
            for answer in (first, second):
                ((name, data),) = await events_of(answer, 1)
                assert (name, json.loads(data)) == ("end", {"message": "this operator does not act any more"})


async def test_the_page_is_there_for_all_and_runs_nothing_of_others() -> None:
    async with served() as here, aiohttp.ClientSession() as client:
        for name, kind in PAGE_FILES.items():
            async with client.get(here.url + PAGE_PATH + name) as answer:
                assert (answer.status, answer.content_type) == (200, kind)
                policy = answer.headers["Content-Security-Policy"]
                assert "default-src 'none'" in policy
                assert "unsafe" not in policy
                assert "://" not in re.sub(r"http://127", "", await answer.text()), "no outside assets"
        async with client.get(f"{here.url}{PAGE_PATH}/../server.py") as answer:
            assert answer.status == 404


def test_the_page_makes_text_of_what_comes_from_outside() -> None:
    page, script = _page_file("").decode(), _page_file("/console.js").decode()
    assert not re.search(r"<script(?! src=)|<style|\sstyle=|\son[a-z]+=", page), "nothing inline: the policy refuses it"
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|DOMParser", script)
