"""What `python -m litevoice_dev talk` shows of an answer."""

from __future__ import annotations

import pytest
from openai.types.realtime import ResponseDoneEvent

from litevoice_dev.voice_client import Heard, VoiceClient


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        (None, ""),
        ({"type": "cancelled", "reason": "turn_detected"}, "turn_detected"),
        ({"type": "failed", "error": {"type": "server_error", "code": "x", "message": "no model"}}, "no model"),
    ],
)
async def test_an_answer_says_why_it_ended(details: object, reason: str) -> None:
    call = VoiceClient("ws://unused.invalid/v1", "key")
    response = {"status": "failed", "status_details": details}
    done = ResponseDoneEvent.model_validate({"type": "response.done", "event_id": "1", "response": response})
    call.heard.append(Heard(0.0, done))
    assert call.answer(0, 0.0).reason == reason
