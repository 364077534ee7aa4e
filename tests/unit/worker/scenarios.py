"""Conversations for tests to disturb, what comes of each undisturbed, and how the two are compared.

A script is seconds of `tone` after `tone`: their level says which question it is.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from litevoice_contracts import events, packets
from litevoice_contracts.conversation import Item, SessionConfig, TurnDetection
from litevoice_contracts.events import DownEvent
from litevoice_worker import commands
from tests.unit.worker.world import World

NO_WORDS, LONG_STORY = 9, 4  # of the levels of `tone`
TWO_QUESTIONS: list[tuple[float, int]] = [(1.0, 0), (1.2, 1), (6.0, 0), (1.5, 3), (8.0, 0)]


def finished(world: World) -> list[events.ResponseFinished]:
    return [event for _, event in world.client if isinstance(event, events.ResponseFinished)]


def when(world: World, kind: type[DownEvent]) -> list[float]:
    """Seconds after the beginning, rounded to a hundredth."""
    return [round(time - 1000, 2) for time, event in world.client if isinstance(event, kind)]


def transcripts(world: World) -> list[str]:
    return [event.transcript for _, event in world.client if isinstance(event, events.InputTranscribed)]


def answers(world: World) -> list[tuple[str, str]]:
    return [(event.status, event.text) for _, event in world.client if isinstance(event, events.ResponseFinished)]


def conversation(script: list[tuple[float, int]]) -> World:
    world = World()
    world.stream(script)
    return world


def manual(world: World) -> None:
    world.at(0, lambda: world.send(packets.Update(SessionConfig(turn_detection=None))))


def plain() -> World:
    return conversation(TWO_QUESTIONS)


def with_client_events() -> World:
    """Client events in silence, in the middle of an utterance, and while an answer is spoken."""
    world = conversation([(1.0, 0), (1.2, 1), (6.0, 0), (1.5, 3), (8.0, 0)])
    for number, time in enumerate((0.55, 1.65, 1.75, 4.0, 9.0)):
        item = Item(f"item{number}", "system", f"fact {number}")
        config = SessionConfig(instructions=f"version {number}")
        world.at(time, lambda item=item: world.send(packets.CreateItem(item)))  # type: ignore[misc]
        world.at(time + 0.2, lambda config=config: world.send(packets.Update(config)))  # type: ignore[misc]
        world.at(time + 0.3, lambda: world.send(packets.CancelResponse("resp_of_another")))
    return world


def push_to_talk() -> World:
    world = World()
    manual(world)
    world.stream([(1.5, 1)], start=0.5)
    world.at(1.2, lambda: world.send(packets.CreateItem(Item("fact", "system", "x"))))
    world.at(2.5, lambda: world.send(packets.Commit()))
    world.at(2.6, lambda: world.send(packets.CreateResponse()))
    world.at(8.0, lambda: world.send(packets.CreateItem(Item("typed", "user", "What did I ask first?"))))
    world.at(8.1, lambda: world.send(packets.CreateResponse(text_only=True)))
    for second in range(20):  # somebody must send something, or nobody finds a dead worker (the gateway's probe would)
        world.at(second + 0.01, lambda: world.send(packets.CancelResponse("nudge")))
    return world


def slow_recognizer() -> World:
    """Utterances end while those before them are not understood; client events in between, some of which change what
    is heard. The client asks for the answer itself."""
    world = World(transcribe_seconds=3.0)
    detection = TurnDetection(create_response=False)
    others = replace(detection, silence_duration_ms=900)
    world.at(0, lambda: world.send(packets.Update(SessionConfig(turn_detection=detection))))
    world.stream([(0.5, 0), (1.2, 1), (1.0, 0), (0.8, 2), (1.0, 0), (0.5, 4), (1.0, 0), (1.5, 3), (9.0, 0)], start=0.1)
    world.at(2.05, lambda: world.send(packets.CreateItem(Item("fact", "system", "x"))))
    world.at(2.95, lambda: world.send(packets.Update(SessionConfig(turn_detection=others))))
    world.at(5.05, lambda: world.send(packets.Clear()))
    world.at(8.5, lambda: world.send(packets.CreateResponse()))
    return world


def out_of_band() -> World:
    """Answers beside the conversation's: written and spoken, while it speaks and while the user does."""
    world = plain()
    spoken = Item("own", "user", "Tell me about the sun.")
    answers: list[tuple[float, packets.CreateResponse]] = [
        (
            2.9,
            packets.CreateResponse(out_of_band=True, input=[Item("a", "user", "How are you today?")], text_only=True),
        ),
        (3.4, packets.CreateResponse(out_of_band=True, input=[spoken], voice="v", codec="g711_ulaw/8000")),
        (8.9, packets.CreateResponse(out_of_band=True, metadata={"topic": "summary"})),
    ]
    for time, wish in answers:
        world.at(time, lambda wish=wish: world.send(wish))  # type: ignore[misc]
    return world


def functions() -> World:
    """Each answer calls two functions; the model takes its time."""
    world = World(call_seconds=0.3)
    world.calls = [
        commands.FunctionCallPart(0, "c1", "weather"),
        *(commands.FunctionCallPart(0, arguments=piece) for piece in ('{"city"', ': "Pa', 'ris"}')),
        commands.FunctionCallPart(1, "c2", "weather", '{"city": '),
        commands.FunctionCallPart(1, arguments='"Rome"}'),
        commands.FunctionCall("", "time", ""),
    ]
    tools: list[dict[str, object]] = [{"name": "weather"}, {"name": "time"}]
    world.at(0, lambda: world.send(packets.Update(SessionConfig(tools=tools))))
    world.stream(TWO_QUESTIONS, start=0.1)
    return world


SCENARIOS: dict[str, Callable[[], World]] = {
    "out of band": out_of_band,
    "functions": functions,
    "slow recognizer": slow_recognizer,
    "two questions": plain,
    "client events in between": with_client_events,
    "push to talk": push_to_talk,
}


def expected(scenario: str) -> list[object]:
    if scenario not in EXPECTED:
        world = SCENARIOS[scenario]()
        world.run(30)
        assert [end.text for end in finished(world) if not end.out_of_band][
            -1
        ] == "Your first question was: what is the capital of france."
        EXPECTED[scenario] = world.transcript()
    return EXPECTED[scenario]


EXPECTED: dict[str, list[object]] = {}


def same_order_of_each_kind(transcript: list[object]) -> list[list[object]]:
    """Client events, and the ends of speech, are answered at once, transcripts and calls come when they are there, and
    answers out of band run beside everything: a death may change which comes first."""
    answers = (events.ItemCreated, events.SessionUpdated, events.SessionError)
    beside = [
        event.response_id
        for event in transcript
        if isinstance(event, events.ResponseStarted | events.ResponseFinished) and event.out_of_band
    ]
    told = [event for event in transcript if not isinstance(event, answers) and not isinstance(event, tuple)]
    tuples = [event for event in transcript if isinstance(event, tuple)]
    return [
        [event for event in transcript if isinstance(event, answers)],
        *([event for event in told if getattr(event, "response_id", "") == name] for name in sorted(set(beside))),
        [event for event in told if getattr(event, "response_id", "") not in beside],
        [event for event in tuples if event[0] not in ("audio", "transcribed", "call")],
        [event for event in tuples if event[0] == "transcribed"],
        [event for event in tuples if event[0] == "call"],
    ]


def audio_of(transcript: list[object]) -> dict[object, bytes]:
    audio: dict[object, bytes] = {}
    for event in transcript:
        if isinstance(event, tuple) and event[0] == "audio":
            audio[event[1]] = audio.get(event[1], b"") + event[2]
    return audio
