"""The chat endpoint that driven clients get their answers from."""

from __future__ import annotations

import json
from typing import Any

from litevoice_dev.clients.endpoint import FUNCTION, answer
from litevoice_worker.stages.respond_openai import CONTINUE

TOOLS = [{"type": "function", "function": {"name": FUNCTION}}]


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def text(choices: list[dict[str, Any]]) -> str:
    return "".join(choice["delta"].get("content", "") for choice in choices)


def test_it_answers_by_the_rules() -> None:
    said = answer([{"role": "system", "content": "Be helpful."}, user("What is the capital of France?")], [])
    assert text(said) == "The capital of France is Paris."
    assert said[-1]["finish_reason"] == "stop"


def test_it_calls_the_function_if_there_is_one_and_tells_its_output() -> None:
    question = user("how is the weather in Lisbon")
    called = answer([question], TOOLS)
    assert called[-1]["finish_reason"] == "tool_calls"
    assert json.loads(called[0]["delta"]["tool_calls"][0]["function"]["arguments"]) == {"city": "lisbon"}
    assert text(answer([question], [])).startswith("You said")
    output = {"role": "tool", "tool_call_id": "call_1", "content": "seventeen degrees"}
    assert text(answer([question, output], TOOLS)) == "The weather: seventeen degrees."


def test_it_tells_what_it_was_given_as_asked() -> None:
    """Pipecat types as the system."""
    messages = [
        {"role": "system", "content": "Be helpful."},
        user("first"),
        {"role": "system", "content": "second"},
        {"role": "assistant", "content": "You said: second."},
        {"role": "system", "content": "what have I asked"},
    ]
    assert text(answer(messages, [])) == "You asked: first, second."


def test_it_goes_on_behind_what_was_said() -> None:
    said = {"role": "assistant", "content": "The capital of France"}
    messages = [user("what is the capital of France"), said, {"role": "system", "content": CONTINUE}]
    assert text(answer(messages, [])) == " is Paris."
