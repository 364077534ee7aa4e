"""How an OpenAI Realtime connection begins: path, API key, subprotocol, query."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from litevoice_contracts.conversation import SessionConfig
from litevoice_contracts.errors import InvalidField
from litevoice_contracts.positions import START, EventId
from litevoice_gateway.protocols import ClientProtocol, Problem, Refusal, UpgradeRequest
from litevoice_gateway.protocols.openai_realtime.client_events import MAX_APPENDS
from litevoice_gateway.protocols.openai_realtime.decode import unknown_model
from litevoice_gateway.protocols.openai_realtime.encode import CONVERSATION_PREFIX
from litevoice_gateway.protocols.openai_realtime.protocol import OpenAIRealtime

MAX_MODEL_LENGTH = 128
_SUBPROTOCOL = "realtime"
_SUBPROTOCOL_KEY = "openai-insecure-api-key."


class OpenAIRealtimeFactory:
    """`new_item_id` names items for which the client gave no id."""

    path = "/v1/realtime"
    api_key_form = "Authorization: Bearer"

    def __init__(self, new_item_id: Callable[[], str]) -> None:
        self._new_item_id = new_item_id

    def accepts(self, request: UpgradeRequest) -> bool:
        return request.path == self.path

    def api_key(self, request: UpgradeRequest) -> str | None:
        """``Authorization: Bearer``, ``api-key``, or, as browsers must, a subprotocol
        ``openai-insecure-api-key.<key>``."""
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and credentials.strip():
            return credentials.strip()
        if request.headers.get("api-key"):
            return request.headers["api-key"].strip()
        for offered in request.subprotocols:
            if offered.startswith(_SUBPROTOCOL_KEY):
                return offered.removeprefix(_SUBPROTOCOL_KEY) or None
        return None

    def connect(self, request: UpgradeRequest) -> ClientProtocol:
        session_id, last_event_id = _session_id(request), request.query.get("last_event_id", "")
        if last_event_id and not session_id:
            raise Refusal(Problem("missing_session_id", "last_event_id requires session_id", "session_id"))
        try:
            resume = EventId.parse(last_event_id) if last_event_id else START if session_id else None
        except InvalidField as error:
            raise Refusal(Problem("invalid_value", str(error), error.field)) from error
        model = request.query.get("model", request.models[0] if request.models else "litevoice")
        if len(model) > MAX_MODEL_LENGTH:
            raise Refusal(Problem("invalid_value", f"model: at most {MAX_MODEL_LENGTH} characters", "model"))
        if not session_id and request.models and model not in request.models:
            raise Refusal(unknown_model(model, "model"))
        intent = request.query.get("intent", "")
        if intent not in ("", "transcription"):
            raise Refusal(Problem("invalid_value", "intent: expected transcription, or nothing", "intent"))
        counted = request.query.get("confirmed_appends")
        return OpenAIRealtime(
            self._new_item_id,
            session_id=session_id,
            resume=resume,
            config=SessionConfig(
                model=model,
                transcription_only=intent == "transcription",
                principal=request.principal,
                traceparent=request.traceparent,
            ),
            models=request.models,
            semantic_models=request.semantic_models,
            voices=request.voices,
            subprotocol=_SUBPROTOCOL if _SUBPROTOCOL in request.subprotocols else "",
            returns=_flag(request, "can_return"),
            told_of_moves=_flag(request, "going_away"),
            confirmed_appends=None if counted is None else _appends(counted, returns=bool(session_id)),
        )

    def http_error(self, status: int, problem: Problem) -> bytes:
        kind = "server_error" if status >= 500 else "invalid_request_error"
        error = {"type": kind, "code": problem.code, "message": problem.message, "param": problem.param}
        return msgspec.json.encode({"error": error})


def _session_id(request: UpgradeRequest) -> str:
    """By xAI's name for it, too: `conversation_id`, as events show it or without its prefix."""
    session_id = request.query.get("session_id", "")
    conversation_id = request.query.get("conversation_id", "").removeprefix(CONVERSATION_PREFIX)
    if session_id and conversation_id and session_id != conversation_id:
        expected = "conversation_id: expected that of session_id, or only one of the two"
        raise Refusal(Problem("invalid_value", expected, "conversation_id"))
    return session_id or conversation_id


def _flag(request: UpgradeRequest, param: str) -> bool:
    value = request.query.get(param, "false")
    if value not in ("true", "false"):
        raise Refusal(Problem("invalid_value", f"{param}: expected true or false", param))
    return value == "true"


def _appends(text: str, *, returns: bool) -> int:
    param = "confirmed_appends"
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_APPENDS)) and int(text) <= MAX_APPENDS):
        expected = f"{param}: expected a whole number from 0 to {MAX_APPENDS}, how many appends were confirmed"
        raise Refusal(Problem("invalid_value", expected, param))
    if int(text) and not returns:
        raise Refusal(Problem("invalid_value", f"{param}: expected 0 for a new session", param))
    return int(text)
