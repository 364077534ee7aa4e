"""What somebody wants done to a gateway or a session → whether it would help, and what comes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from aiohttp import web

from litevoice_contracts.control import DrainReport, GatewayStatus, SessionInfo
from litevoice_operator.adapters.cluster import ClusterError, User
from litevoice_operator.admin_api import Guard, Refusal, read_wish
from litevoice_operator.decide.acts import No, Nothing, may_drain, may_take_back, told_who
from litevoice_operator.reconcile.acts import Acts, CannotAct, Wish
from litevoice_operator.reconcile.inquiries import Question
from tests.unit.operator.test_admin_api import KEY, asked, pod, soon
from tests.unit.operator.test_verdict import SESSION

__all__ = ["soon"]

A, B = pod("gateway-a", "gateway", "10.0.0.1"), pod("gateway-b", "gateway", "10.0.0.2")
WELL = GatewayStatus("gateway", True, "", 40, 100, 0, 0, DrainReport())


def status(**changes: Any) -> GatewayStatus:
    return msgspec.structs.replace(WELL, **changes)


DRAINING = status(ready=False, drain=DrainReport("draining", 50, 8, 1, 1, duration_seconds=12.4))
DRAINED = status(ready=False, sessions=0, drain=DrainReport("drained", 50, 48, 1, 1))


@pytest.mark.parametrize(
    ("of_a", "of_b", "changes", "said"),
    [
        (WELL, WELL, {}, None),
        (WELL, WELL, {"terminating": True}, "gateway-a is ending, and drains anyhow"),
        (DRAINING, WELL, {}, "has been draining for 12 s: 40 sessions left, 8 moved, 1 ended, 1 cut"),
        (DRAINED, WELL, {}, "gateway-a is drained already: 48 moved, 1 ended, 1 cut"),
        (None, WELL, {}, "gateway-a does not answer, so it cannot drain: kubectl delete pod gateway-a -n voice"),
        (WELL, None, {}, "no other gateway takes sessions: raise spec.replicas of demo first, or add --force"),
        (WELL, status(full="sessions"), {}, "no other gateway takes sessions"),
        (WELL, DRAINING, {}, "no other gateway takes sessions"),
        (WELL, status(ready=False), {}, "no other gateway takes sessions"),
    ],
)
def test_a_drain_needs_a_gateway_that_answers_and_another_one_for_its_sessions(
    of_a: GatewayStatus | None, of_b: GatewayStatus | None, changes: dict[str, Any], said: str | None
) -> None:
    chosen = replace(A, **changes)
    answers = {name: answer for name, answer in (("gateway-a", of_a), ("gateway-b", of_b)) if answer}
    decided = may_drain(chosen, [chosen, B], answers, force=False)
    text = decided.why if isinstance(decided, No) else decided.says if decided else None
    assert said == text or (said is not None and text is not None and said in text)
    if text and "no other gateway" in text:
        assert may_drain(chosen, [chosen, B], answers, force=True) is None


def test_another_gateway_that_ends_or_is_not_ready_takes_no_sessions() -> None:
    for other in (replace(B, terminating=True), replace(B, ready=False)):
        assert isinstance(may_drain(A, [A, other], {"gateway-a": WELL, "gateway-b": WELL}, force=False), No)


@pytest.mark.parametrize(
    ("of_a", "changes", "kind", "said"),
    [
        (DRAINING, {}, None, ""),
        (DRAINED, {}, None, ""),
        (WELL, {}, Nothing, "gateway-a does not drain"),
        (DRAINING, {"terminating": True}, No, "was told to end"),
        (DRAINING, {"goes_first": True}, No, "raise spec.replicas of demo"),
        (None, {}, No, "does not answer"),
    ],
)
def test_a_drain_is_taken_back_unless_somebody_else_wants_it(
    of_a: GatewayStatus | None, changes: dict[str, Any], kind: type | None, said: str
) -> None:
    decided = may_take_back(replace(A, **changes), {"gateway-a": of_a} if of_a else {})
    assert type(decided) is (kind or type(None))
    assert said in (decided.why if isinstance(decided, No) else decided.says if decided else "")


def aged(seconds: float) -> SessionInfo:
    return msgspec.structs.replace(SESSION, age_seconds=seconds)


def test_the_newest_connection_is_told_and_only_if_it_is_known_to_be_the_newest() -> None:
    two = {"gateway-a": aged(300), "gateway-b": aged(5)}
    assert told_who("s_1", "heal", two, [], "gateway-a") == "gateway-b"
    assert told_who("s_1", "heal", {"gateway-a": aged(3)}, ["gateway-c"], "gateway-a") == "gateway-a"
    assert told_who("s_1", "move", {"gateway-a": aged(3)}, ["gateway-c"], "gateway-c") == "gateway-a"
    refused = [
        told_who("s_1", "heal", {"gateway-a": aged(3)}, ["gateway-c"], "gateway-c"),
        told_who("s_1", "heal", {}, ["gateway-c"], ""),
        told_who("s_1", "move", {}, [], ""),
    ]
    assert [one.why for one in refused if isinstance(one, No)] == [
        "the broker gives s_1 to gateway-c, which does not answer and may be its newest owner",
        "nobody who answers serves s_1, and gateway-c did not answer",
        "no gateway serves s_1: only its client can bring it back; litevoice why s_1",
    ]


# ---- with the gateway's real admin server ------------------------------------------------------------------------


@asynccontextmanager
async def recorded() -> AsyncIterator[tuple[str, list[Any]]]:
    """Stands for the API server: it has the VoiceGateway, and takes Events."""
    events = list[Any]()

    async def gateway(_: web.Request) -> web.Response:
        metadata = {"namespace": KEY[0], "name": KEY[1], "uid": "u-1"}
        return web.json_response({"kind": "VoiceGateway", "metadata": metadata, "spec": {}})

    async def event(request: web.Request) -> web.Response:
        events.append(await request.json())
        return web.json_response({})

    app = web.Application()
    app.add_routes(
        [
            web.get("/apis/litevoice.dev/v1alpha1/namespaces/voice/voicegateways/demo", gateway),
            web.post("/api/v1/namespaces/voice/events", event),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", events
    await runner.cleanup()


WISH = Wish("voice", "", "ada", force=True)


async def test_a_drain_is_done_and_recorded_with_who_wanted_it_and_taken_back() -> None:
    async with recorded() as (api_server, events), asked(api_server) as inquiries:
        acts = Acts(inquiries._shared)
        tried = await acts.drain("gateway-0", replace(WISH, dry_run=True))
        assert (tried.done, events) == (False, [])
        would = "gateway-0 takes no new sessions, and those that it has (3) leave it"
        assert tried.says == f"Nothing was done. Without --dry-run: {would}"
        assert (await inquiries.drains(Question())).drains == []
        done = await acts.drain("gateway-0", WISH)
        assert (done.done, done.act, done.pod) == (True, "drain", "gateway-0")
        (row,) = (await inquiries.drains(Question())).drains
        assert (row.pod, row.state, row.finished_at) == ("gateway-0", "drained", "")
        again = await acts.drain("gateway-0", WISH)
        assert (again.done, again.says.startswith("gateway-0 is drained already")) == (False, True)
        back = await acts.take_back("gateway-0", WISH)
        assert (back.done, back.says.startswith("gateway-0 takes new sessions again")) == (True, True)
        assert (await acts.take_back("gateway-0", WISH)).says == "gateway-0 does not drain"
        assert [(event["reason"], event["message"], event["involvedObject"]["uid"]) for event in events] == [
            ("DrainRequested", "gateway-0 drains: asked for by ada", "u-1"),
            ("DrainCancelled", "gateway-0 takes sessions again: asked for by ada", "u-1"),
        ]


async def test_a_session_is_moved_once_and_recorded() -> None:
    async with recorded() as (api_server, events), asked(api_server) as inquiries:
        acts = Acts(inquiries._shared)
        assert not (await acts.move("s_1", replace(WISH, dry_run=True))).done
        done = await acts.move("s_1", WISH)
        assert (done.done, done.pod, done.session_id) == (True, "gateway-0", "s_1")
        assert done.says == "s_1 leaves gateway-0; its client 10.1.0.1:4711 comes back to any gateway"
        with pytest.raises(CannotAct, match="gateway-0 does not do it: the session is closing already"):
            await acts.move("s_1", WISH)
        assert [event["message"] for event in events] == ["s_1 leaves gateway-0: asked for by ada"]


async def test_what_cannot_be_done_says_why_and_is_not_recorded() -> None:
    async with recorded() as (api_server, events), asked(api_server) as inquiries:
        acts = Acts(inquiries._shared)
        for work, said in (
            (acts.heal("s_1", WISH), "the session's LiteTopic is changing hands at the moment"),
            (acts.heal("s_none", WISH), "nobody who answers serves s_none, and gateway-1 did not answer"),
            (acts.drain("gateway-0", replace(WISH, force=False)), "no other gateway takes sessions"),
            (acts.drain("gateway-1", WISH), "gateway-1 does not answer"),
            (acts.drain("worker-0", WISH), "worker-0 is a worker: expected a gateway pod"),
            (acts.drain("gateway-7", WISH), "there is no gateway pod gateway-7 in voice"),
            (acts.move("s_1", replace(WISH, namespace="other")), "there is no VoiceGateway to ask"),
        ):
            with pytest.raises(CannotAct) as refused:
                await work
            assert said in str(refused.value)
        assert events == []
        tried = await acts.heal("s_1", replace(WISH, dry_run=True))
        assert tried.says == "Nothing was done. Without --dry-run: gateway-0 takes s_1 over again, from position 0 on"


async def test_nothing_is_done_that_cannot_be_recorded() -> None:
    async with asked() as inquiries:
        acts = Acts(inquiries._shared)
        for work in (acts.drain("gateway-0", WISH), acts.move("s_1", WISH)):
            with pytest.raises(ClusterError):
                await work
        report = await inquiries.session("s_1", Question())
        assert report is not None
        assert report.session is not None
        assert (report.session.stage, (await acts.take_back("gateway-0", WISH)).done) == ("idle", False)


# ---- who may -----------------------------------------------------------------------------------------------------


class Reader:
    """Stands for the API server: everybody may see, and only `boss` may change anything."""

    async def reviewed(self, token: str, audience: str) -> User | None:
        return User(token, ())

    async def may(self, user: User, namespace: str, verb: str, resource: str, subresource: str) -> bool:
        return verb == "get" or (user.name, verb) == ("boss", "update")


async def test_who_may_see_sessions_may_not_change_them_for_that() -> None:
    guard = Guard(Reader())
    assert (await guard.check("ada", "voice")).name == "ada"
    for _ in range(2):  # what is remembered of a question is no answer to another
        with pytest.raises(
            Refusal, match=r"ada may not update voicegateways/sessions\.litevoice\.dev in namespace voice"
        ):
            await guard.check("ada", "voice", "update")
    assert (await guard.check("boss", "voice", "update")).name == "boss"


@pytest.mark.parametrize(
    ("query", "said"),
    [({"dry_run": "yes"}, "dry_run: expected true or false, got 'yes'"), ({"limit": "1"}, "limit: expected one of")],
)
def test_a_wish_that_is_not_understood_is_refused(query: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_wish(query)
    assert read_wish({"force": "true", "namespace": "voice"}) == Wish("voice", "", "", False, True)
