"""A stage gives what it should not: pieces that say nothing, halves of samples, failures without a word."""

from __future__ import annotations

import pytest

from litevoice_contracts.conversation import ResponseRequest, SessionConfig
from litevoice_contracts.envelopes import MessageIds
from litevoice_contracts.events import AudioDelta, TextDelta
from litevoice_worker.commands import Called, CancelJob, FunctionCall, Outcome, Responded, Sentence, Synthesized
from litevoice_worker.conversation import Conversation
from litevoice_worker.outlet import Outlet
from litevoice_worker.response import MAX_RESPONSE_CHARACTERS, Response
from tests.stage_context import context


def asked(*, text_only: bool) -> tuple[Response, Outlet]:
    """An answer whose responder is at work, as job 1."""
    outlet, request = Outlet(MessageIds(1)), ResponseRequest("r", "a", text_only=text_only)
    response = Response(request, Conversation(SessionConfig(), []), 2000, outlet, context)
    assert response.next(0) is None
    return response, outlet


def test_empty_sentences_say_nothing_and_hide_nothing() -> None:
    response, _ = asked(text_only=True)
    for sentence in ("", "One.", "", "", " Two.", ""):
        response.take(Sentence(1, sentence))
    response.take(Responded(1, Outcome()))
    said = [response.next(0) for _ in range(3)]
    assert [event.text for event in said if isinstance(event, TextDelta)] == ["One.", " Two."]
    assert said[-1] == Outcome()


def test_empty_sentences_for_ever_are_too_many() -> None:
    response, outlet = asked(text_only=False)
    for _ in range(MAX_RESPONSE_CHARACTERS + 1):
        response.take(Sentence(1, ""))
    assert response.next(0) == Outcome("incomplete", "max_output_tokens")
    assert CancelJob(1) in outlet.take()


def test_half_a_sample_does_not_shift_what_follows() -> None:
    response, _ = asked(text_only=False)
    response.take(Sentence(1, "One."))
    assert response.next(0) is None
    response.take(Synthesized(2, bytes(4_801)))
    text, audio = response.next(0), response.next(0)
    assert isinstance(text, TextDelta)
    assert isinstance(audio, AudioDelta)
    assert len(audio.audio) == 4_800
    response.take(Responded(1, Outcome()))
    assert response.next(0) == Outcome(), "and the other half is not waited for"


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (Outcome("failed"), "the responder failed, and did not say why"),
        (Outcome("failed", "no tables today"), "no tables today"),
    ],
)
def test_an_answer_that_fails_says_why(outcome: Outcome, reason: str) -> None:
    response, _ = asked(text_only=True)
    response.take(Responded(1, outcome))
    assert response.next(0) == Outcome("failed", reason)


def test_an_answer_that_calls_nobody_knows_whom_fails() -> None:
    response, _ = asked(text_only=True)
    response.take(Called(1, FunctionCall("c", "", '{"city": "Rome"}')))
    response.take(Responded(1, Outcome()))
    assert response.next(0) == Outcome("failed", "a function was called without its name")
