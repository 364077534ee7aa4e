"""Who gets in, with which session, and what the others are told; API keys; settings files."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from litevoice_contracts.conversation import TurnDetection
from litevoice_contracts.names import new_session_id
from litevoice_contracts.packets import Update
from litevoice_contracts.positions import START, EventId
from litevoice_gateway.auth import CHECK_SECONDS, ApiKeys
from litevoice_gateway.protocols import Refusal, UpgradeRequest
from litevoice_gateway.protocols.registry import PROTOCOLS
from litevoice_gateway.settings import SettingsError, load_keys, load_settings
from litevoice_gateway.upgrade import Admitted, GatewayState, Rejected, admit, health

KEY = b"k" * 32
READY = GatewayState(draining=False, unready="", full="")
ALICE = {"authorization": "Bearer alices-key"}
MINE, THEIRS = (
    new_session_id(KEY, "alice", 8),
    new_session_id(KEY, "bob", 8),
)


STRANGE_KEY = {"authorization": "Bearer \xff\udcff-key"}
HUGE = "session_id={mine}&last_event_id=evt_9999999999999999999_1"
FOREIGN = "session_id={mine}&last_event_id=evt_%D9%A1_1"


def ask(target: str, headers: dict[str, str] | None = None, state: GatewayState = READY) -> Admitted | Rejected:
    known = {"alices-key": "alice", "bobs-key": "bob"}
    request = UpgradeRequest.parse(target, ALICE if headers is None else headers)
    return admit(request, lambda _: state, PROTOCOLS, known.get, KEY)


@pytest.mark.parametrize(("target", "state", "healthy"), [
    ("/", READY, True),
    ("/healthz", READY, True),
    ("/healthz?from=balancer", READY, True),
    ("/healthz", GatewayState(draining=True, unready="draining"), False),
    ("/", GatewayState(draining=False, unready="cannot reach proxy 10.0.0.1:8081"), False),
    ("/healthz", GatewayState(draining=False, unready="", full="sessions"), True),
    ("/v1/realtime", READY, None),
    ("/healthz/", READY, None),
])  # fmt: skip
def test_probes_of_load_balancers(target: str, state: GatewayState, healthy: bool | None) -> None:
    assert health(target, state) is healthy


def test_a_new_session() -> None:
    answer = ask("/v1/realtime?model=gpt-realtime")
    assert isinstance(answer, Admitted)
    assert (answer.principal, answer.overload) == ("alice", "")
    protocol = answer.protocol
    assert (protocol.session_id, protocol.resume, protocol.subprotocol) == ("", None, "")
    assert protocol.config.model == "gpt-realtime"


@pytest.mark.parametrize(
    ("query", "returns"),
    [
        ("", False),
        ("can_return=false", False),
        ("can_return=true", True),
        ("going_away=true", False),
        ("confirmed_appends=0", True),
        ("session_id={mine}", True),
    ],
)
def test_who_comes_back(query: str, *, returns: bool) -> None:
    answer = ask("/v1/realtime?" + query.format(mine=MINE))
    assert isinstance(answer, Admitted)
    assert answer.protocol.can_return == returns


def test_who_wants_to_resume_comes_back() -> None:
    """As clients of xAI say it."""
    answer = ask("/v1/realtime")
    assert isinstance(answer, Admitted)
    for enabled in (True, False):
        update = {"type": "session.update", "session": {"resumption": {"enabled": enabled}}}
        (event,) = answer.protocol.decode(json.dumps(update), answer.protocol.config)
        assert event.packet == Update(answer.protocol.config)
        assert answer.protocol.can_return is enabled


def test_the_first_event_says_what_a_client_comes_back_with() -> None:
    answer = ask("/v1/realtime")
    assert isinstance(answer, Admitted)
    (frame,) = answer.protocol.opened(MINE, answer.protocol.config, START, [], None)
    conversation = json.loads(frame.data)["conversation"]
    assert conversation == {"id": f"conv_{MINE}", "object": "realtime.conversation"}
    again = ask(f"/v1/realtime?conversation_id={conversation['id']}")
    assert isinstance(again, Admitted)
    assert again.protocol.session_id == MINE


def test_who_asks_for_acknowledgements_later_comes_back() -> None:
    answer = ask("/v1/realtime")
    assert isinstance(answer, Admitted)
    update = {"type": "session.update", "session": {"type": "realtime", "litevoice": {"confirmed_appends": 0}}}
    answer.protocol.decode(json.dumps(update), answer.protocol.config)
    assert answer.protocol.can_return


@pytest.mark.parametrize(
    ("query", "resume"),
    [
        ("session_id={mine}", START),
        ("conversation_id=conv_{mine}", START),
        ("conversation_id={mine}&last_event_id=evt_17_12_3", EventId(17, 12, 3)),
        ("session_id={mine}&conversation_id=conv_{mine}", START),
        ("session_id={mine}&last_event_id=evt_17_12_3", EventId(17, 12, 3)),
        ("session_id={mine}&last_event_id=evt_x_x_g1", EventId(-1, -1, 10_000)),
        ("model=a&session_id={mine}&last_event_id=evt_9_x", EventId(9, -1)),
    ],
)
def test_a_resumed_session(query: str, resume: EventId) -> None:
    answer = ask("/v1/realtime?" + query.format(mine=MINE))
    assert isinstance(answer, Admitted)
    assert (answer.protocol.session_id, answer.protocol.resume) == (MINE, resume)


@pytest.mark.parametrize(
    ("description", "target", "headers", "state", "status", "code", "outcome"),
    [
        ("other path", "/v2/realtime", ALICE, READY, 404, "not_found", "invalid"),
        ("half a host", "//[", ALICE, READY, 404, "not_found", "invalid"),
        ("a key that is no text", "/v1/realtime", STRANGE_KEY, READY, 401, "invalid_api_key", "unauthorized"),
        ("no such position", f"/v1/realtime?{HUGE}", ALICE, READY, 400, "invalid_value", "invalid"),
        ("digits of another script", f"/v1/realtime?{FOREIGN}", ALICE, READY, 400, "invalid_value", "invalid"),
        ("no key", "/v1/realtime", {}, READY, 401, "invalid_api_key", "unauthorized"),
        ("wrong key", "/v1/realtime", {"api-key": "guess"}, READY, 401, "invalid_api_key", "unauthorized"),
        ("basic", "/v1/realtime", {"authorization": "Basic x"}, READY, 401, "invalid_api_key", "unauthorized"),
        ("theirs", "/v1/realtime?session_id={theirs}", ALICE, READY, 403, "session_not_yours", "forbidden"),
        ("made up", "/v1/realtime?session_id=s_1", ALICE, READY, 403, "session_not_yours", "forbidden"),
        ("bad id", "/v1/realtime?session_id={mine}&last_event_id=7", ALICE, READY, 400, "invalid_value", "invalid"),
        ("id alone", "/v1/realtime?last_event_id=evt_1_1", ALICE, READY, 400, "missing_session_id", "invalid"),
        ("a guess", "/v1/realtime?can_return=maybe", ALICE, READY, 400, "invalid_value", "invalid"),
        (
            "two sessions",
            "/v1/realtime?session_id={mine}&conversation_id=conv_x",
            ALICE,
            READY,
            400,
            "invalid_value",
            "invalid",
        ),
        ("another guess", "/v1/realtime?going_away=1", ALICE, READY, 400, "invalid_value", "invalid"),
        ("long model", f"/v1/realtime?model={'m' * 200}", ALICE, READY, 400, "invalid_value", "invalid"),
        (
            "draining",
            "/v1/realtime",
            ALICE,
            GatewayState(draining=True, unready="draining", full=""),
            503,
            "draining",
            "draining",
        ),
        (
            "broker away",
            "/v1/realtime",
            ALICE,
            GatewayState(draining=False, unready="cannot reach proxy 10.0.0.1:8081", full=""),
            503,
            "unavailable",
            "unavailable",
        ),
        (
            "a stranger learns nothing of the state",
            "/v1/realtime",
            {},
            GatewayState(draining=True, unready="draining", full="sessions"),
            401,
            "invalid_api_key",
            "unauthorized",
        ),
    ],
)
def test_refused(
    description: str,
    target: str,
    headers: dict[str, str],
    state: GatewayState,
    status: int,
    code: str,
    outcome: str,
) -> None:
    answer = ask(target.format(mine=MINE, theirs=THEIRS), headers, state)
    assert isinstance(answer, Rejected), description
    assert (answer.status, answer.outcome) == (status, outcome)
    assert json.loads(answer.body)["error"]["code"] == code
    assert ("Retry-After" in answer.headers) == (status == 503)


MODELS = ("bookings", "gpt-realtime")


def ask_of_pipelines(target: str, headers: dict[str, str] | None = None) -> Admitted | Rejected:
    request = UpgradeRequest.parse(target, ALICE | (headers or {}))
    return admit(request, lambda _: READY, PROTOCOLS, {"alices-key": "alice"}.get, KEY, MODELS, ["bookings"])


def test_the_protocol_knows_which_models_have_a_turn_detector() -> None:
    answer = ask_of_pipelines("/v1/realtime")
    assert isinstance(answer, Admitted)
    detection = {"type": "semantic_vad", "eagerness": "high"}
    message = {"type": "session.update", "session": {"audio": {"input": {"turn_detection": detection}}}}
    (event,) = answer.protocol.decode(json.dumps(message), answer.protocol.config)
    assert isinstance(event.packet, Update)
    assert event.packet.config.turn_detection == TurnDetection(silence_duration_ms=300, eagerness="high")


@pytest.mark.parametrize(
    ("query", "model"),
    [
        ("", "bookings"),
        ("?model=gpt-realtime", "gpt-realtime"),
        ("?model=gone&session_id={mine}", "gone"),  # what counts is what the session was opened with
    ],
)
def test_the_model_names_a_pipeline(query: str, model: str) -> None:
    answer = ask_of_pipelines("/v1/realtime" + query.format(mine=MINE))
    assert isinstance(answer, Admitted)
    assert answer.protocol.config.model == model


def test_an_unknown_model_is_refused_as_openai_does() -> None:
    answer = ask_of_pipelines("/v1/realtime?model=gpt-5")
    assert isinstance(answer, Rejected)
    assert (answer.status, answer.outcome) == (404, "invalid")
    assert json.loads(answer.body) == {
        "error": {
            "type": "invalid_request_error",
            "code": "model_not_found",
            "message": "The model `gpt-5` does not exist or you do not have access to it.",
            "param": "model",
        }
    }


def test_a_session_cannot_change_to_an_unknown_model() -> None:
    answer = ask_of_pipelines("/v1/realtime")
    assert isinstance(answer, Admitted)

    def update(model: str) -> Any:
        message = {"type": "session.update", "event_id": "e", "session": {"type": "realtime", "model": model}}
        (event,) = answer.protocol.decode(json.dumps(message), answer.protocol.config)
        return event.packet

    assert update("gpt-realtime").config.model == "gpt-realtime"
    with pytest.raises(Refusal) as refusal:
        update("gpt-5")
    problem = refusal.value.problem
    assert (problem.code, problem.param, problem.event_id) == ("model_not_found", "session.model", "e")


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("header", "traceparent"),
    [(TRACE, TRACE), ("", ""), (TRACE.upper(), ""), ("ff" + TRACE[2:], ""), (TRACE.replace("4bf9", "x"), "")],
)
def test_a_session_knows_whose_it_is(header: str, traceparent: str) -> None:
    answer = ask_of_pipelines("/v1/realtime", {"traceparent": header})
    assert isinstance(answer, Admitted)
    assert (answer.protocol.config.principal, answer.protocol.config.traceparent) == ("alice", traceparent)


def test_a_full_gateway_upgrades_and_then_says_so() -> None:
    answer = ask("/v1/realtime", state=GatewayState(draining=False, unready="", full="sessions"))
    assert isinstance(answer, Admitted)
    assert answer.overload == "sessions"


def test_only_a_session_of_the_broker_that_is_away_is_refused() -> None:
    def state_for(session_id: str) -> GatewayState:
        return GatewayState(draining=False, unready="away" if session_id == MINE else "")

    def answer(target: str) -> Admitted | Rejected:
        request = UpgradeRequest.parse(target, ALICE)
        return admit(request, state_for, PROTOCOLS, {"alices-key": "alice"}.get, KEY)

    assert isinstance(answer("/v1/realtime"), Admitted)
    refused = answer(f"/v1/realtime?session_id={MINE}")
    assert isinstance(refused, Rejected)
    assert refused.status == 503


def test_a_session_that_comes_back_is_no_new_load() -> None:
    state = GatewayState(draining=False, unready="", full="worker_lag")
    new, back = ask("/v1/realtime", state=state), ask(f"/v1/realtime?session_id={MINE}", state=state)
    assert isinstance(new, Admitted)
    assert isinstance(back, Admitted)
    assert (new.overload, back.overload) == ("worker_lag", "")


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"authorization": "Bearer  abc "}, "abc"),
        ({"authorization": "bearer abc"}, "abc"),
        ({"api-key": "abc"}, "abc"),
        ({"sec-websocket-protocol": "realtime, openai-insecure-api-key.abc, openai-beta.realtime-v1"}, "abc"),
        ({"sec-websocket-protocol": "realtime"}, None),
        ({"authorization": "Bearer "}, None),
        ({}, None),
    ],
)
def test_where_a_key_may_stand(headers: dict[str, str], key: str | None) -> None:
    (openai,) = PROTOCOLS
    assert openai.api_key(UpgradeRequest.parse("/v1/realtime", headers)) == key


def test_a_browser_is_answered_with_the_protocol_it_offered() -> None:
    answer = ask("/v1/realtime", {"sec-websocket-protocol": "realtime, openai-insecure-api-key.alices-key"})
    assert isinstance(answer, Admitted)
    assert answer.protocol.subprotocol == "realtime"


# API keys


def test_keys_by_principal_and_read_again_when_they_change(tmp_path: Path) -> None:
    (tmp_path / "alice").write_text("alices-key\nalices-second-key\n\n")
    (tmp_path / ".hidden").write_text("hidden-key")
    (tmp_path / "bob").write_text("short")
    keys = ApiKeys(tmp_path, now=0.0)
    assert keys.principal("alices-key", 0.0) == "alice"
    assert keys.principal("alices-second-key", 0.0) == "alice"
    assert keys.principal("hidden-key", 0.0) is None
    assert keys.principal("short", 0.0) is None
    assert keys.principal("\xff\udcff", 0.0) is None
    (tmp_path / "carol").write_text("carols-key")
    (tmp_path / "alice").write_text("alices-new-key")
    os.utime(tmp_path / "alice", ns=(1, 1))
    assert keys.principal("carols-key", CHECK_SECONDS / 2) is None, "not looked at so often"
    assert keys.principal("carols-key", CHECK_SECONDS) == "carol"
    assert keys.principal("alices-key", CHECK_SECONDS) is None
    assert keys.principal("alices-new-key", CHECK_SECONDS) == "alice"


def test_keys_that_cannot_be_read_stay_in_force(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    folder.mkdir()
    (folder / "alice").write_text("alices-key")
    keys = ApiKeys(folder, now=0.0)
    (folder / "alice").unlink()
    folder.rmdir()
    assert keys.principal("alices-key", time.monotonic() + 100) == "alice"


# Settings


BROKER = {
    "endpoints": "proxy:8081",
    "nameServer": "names:9876",
    "requestTopic": "requests",
    "replyTopic": "replies",
    "partitions": 4,
}


def settings_file(tmp_path: Path, **changes: Any) -> Path:
    for folder in ("api", "keys"):
        (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / "keys" / "session-signing-key").write_text("s" * 32)
    (tmp_path / "keys" / "admin-token").write_text("t" * 32)
    content = {
        "broker": BROKER,
        "apiKeysDir": str(tmp_path / "api"),
        "keysDir": str(tmp_path / "keys"),
        **changes,
    }
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(content))
    return path


def test_settings_and_keys_are_read(tmp_path: Path) -> None:
    settings = load_settings(settings_file(tmp_path))
    assert settings.broker.partitions == 4
    keys = load_keys(settings)
    assert keys.signing_key == b"s" * 32
    assert "ssss" not in repr(keys)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"listenPort": 0}, "listenPort"),
        ({"batchMillisecond": 5}, "batchMillisecond"),
        ({"broker": BROKER | {"endpoints": "proxy"}}, "broker.endpoints"),
        ({"broker": BROKER | {"endpoints": "::1:8081"}}, "broker.endpoints"),
        ({"broker": BROKER | {"nameServer": ""}}, "broker.nameServer"),
        ({"broker": BROKER | {"requestTopic": "a b"}}, "rocketmq.requestTopic"),
        ({"apiKeysDir": "/nowhere"}, "apiKeysDir"),
    ],
)
def test_what_is_wrong_in_a_settings_file_is_named(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        load_settings(settings_file(tmp_path, **changes))


def test_missing_file_and_weak_keys(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(tmp_path / "none.json")
    settings = load_settings(settings_file(tmp_path))
    (tmp_path / "keys" / "session-signing-key").write_text("weak")
    with pytest.raises(SettingsError, match="at least 32 bytes, got 4"):
        load_keys(settings)
