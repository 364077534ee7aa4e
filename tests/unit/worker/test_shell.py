"""The thin shell around the session machines: publishing, stages, the bounded registry."""

from __future__ import annotations

import asyncio
import math
import re
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, cast

import numpy as np
import pytest
import uvloop

from litevoice_broker.errors import BrokerUnavailable, Overloaded
from litevoice_contracts import events, packets
from litevoice_contracts.conversation import Codec, Item, SessionConfig, Snapshot
from litevoice_contracts.envelopes import DownEnvelope, MessageIds, UpEnvelope
from litevoice_contracts.events import DownEvent
from litevoice_worker import runner as runner_module
from litevoice_worker.audio import Samples
from litevoice_worker.commands import Outcome, Prompt, StageContext, Tell
from litevoice_worker.ears import Ears
from litevoice_worker.metrics import Metrics
from litevoice_worker.opening import Stream
from litevoice_worker.plugins import Pipelines, Stages
from litevoice_worker.runner import SessionRunner
from litevoice_worker.sessions import ACTIVE_SECONDS, IDLE_SECONDS, NoRoom, Sessions
from litevoice_worker.stages import StageDied, StageError
from litevoice_worker.turn import Limits, Turns
from litevoice_worker.unheard import Unheard
from tests.unit.worker.world import tone
from tests.waiting import until

Done = Callable[[BaseException | None], None]


class Voice:
    """All stages in one; `broken` raises what a bug would."""

    broken: Exception | None = None
    slow = False

    def __init__(self) -> None:
        self.asked: list[Prompt] = []
        self.voices: list[str] = []
        self.heard = 0

    async def transcribe(self, samples: Samples, context: StageContext) -> str:
        self.heard += 1
        return "hello"

    async def respond(self, prompt: Prompt, context: StageContext) -> AsyncIterator[str | Outcome]:
        self.asked.append(prompt)
        if self.broken:
            raise self.broken
        yield "One."
        if self.slow:
            await asyncio.sleep(3600)
        yield " Two."
        yield Outcome("completed", "", 3, 2, 1)

    async def synthesize(self, text: str, voice: str, speed: float, codec: Codec, context: StageContext) -> bytes:
        self.voices.append(voice)
        return b"\0" * 100

    async def close(self) -> None: ...


class Broker:
    """Confirms at once, or does what `errors` says, one by one."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self.sent: list[DownEnvelope] = []
        self.sessions: set[str] = set()
        self.unconfirmed = 0

    def __call__(self, session_id: str, body: bytes, done: Done) -> None:
        self.sessions.add(session_id)
        error = self.errors.pop(0) if self.errors else None
        if isinstance(error, Overloaded):
            raise error
        if error is None:
            self.sent.append(DownEnvelope.decode(body))
        self.unconfirmed += 1

        def confirm() -> None:
            self.unconfirmed -= 1
            done(error)

        asyncio.get_running_loop().call_soon(confirm)

    def of(self, kind: type[DownEvent]) -> list[DownEvent]:
        return [event for envelope in self.sent for event in envelope.events if isinstance(event, kind)]


class Network:
    """Hears speech in what is loud; `broken` fails, `gate` holds it up.

    Attributes:
        rounds: how many sessions each had, and how many windows of each.
    """

    def __init__(self) -> None:
        self.broken = False
        self.entered, self.gate = threading.Event(), threading.Event()
        self.gate.set()
        self.rounds: list[tuple[int, int]] = []

    def advance(self, streams: Sequence[Stream], windows: Sequence[Samples]) -> list[list[float]]:
        self.entered.set()
        self.gate.wait(20)
        if self.broken:
            raise RuntimeError("secret words")
        assert len(set(map(id, streams))) == len(streams), "one session at a time"
        self.rounds.append((len(windows), len(windows[0])))
        return [[1.0 if np.abs(window).mean() > 200 else 0.0 for window in some] for some in windows]


class Bench:
    def __init__(self) -> None:
        self.voice, self.broker, self.metrics, self.gave_up = Voice(), Broker(), Metrics(), list[str]()
        self.progress: list[tuple[str, events.Progress]] = []
        self.said: list[tuple[str, DownEnvelope]] = []
        self.ids = MessageIds(1)
        self.certain, self.leaves_in_doubt = asyncio.Event(), False
        self.certain.set()
        self.network, self.unheard = Network(), Unheard()
        self.pipelines = Pipelines({"litevoice": Stages(self.voice, self.voice, self.voice)})
        self.ears = Ears(self.network, self.metrics.heard)

    def runner(self, session_id: str = "s") -> SessionRunner:
        shared = (self.pipelines, self.ears, self.unheard, self.broker, self.metrics)
        machine = Turns(session_id, Limits(), self.ids)
        return SessionRunner(machine, *shared, self.gave_up.append, self.settled, self.is_certain)

    def say(self, session_id: str, envelope: DownEnvelope) -> None:
        self.said.append((session_id, envelope))

    async def is_certain(self) -> bool:
        await self.certain.wait()
        return not self.leaves_in_doubt

    def settled(self, gateway: str, session_id: str, told: Tell) -> None:
        assert gateway == "g"
        self.progress.append((session_id, told.progress))

    def text_turn(self, runner: SessionRunner) -> None:
        sent: list[packets.Packet] = [
            packets.CreateItem(Item("i", "user", "hello")),
            packets.CreateResponse(text_only=True),
        ]
        runner.deliver(UpEnvelope(runner.machine.id, 1, 0, 0, sent, snapshot=Snapshot()), "g", uncertain=False)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.ears.close()


async def test_a_turn(bench: Bench) -> None:
    bench.text_turn(bench.runner())
    await until(lambda: bench.broker.of(events.ResponseFinished))
    (finished,) = cast(list[events.ResponseFinished], bench.broker.of(events.ResponseFinished))
    assert (finished.text, finished.input_tokens, finished.output_tokens) == ("One. Two.", 3, 2)
    assert finished.cached_tokens == 1
    assert len(bench.broker.sent) == 2, "what the turn begins with; and all that a responder says at once"
    assert bench.metrics.registry.get_sample_value("litevoice_worker_turns_total", {"outcome": "completed"}) == 1
    assert bench.metrics.registry.get_sample_value("litevoice_worker_packets_applied_total") == 2


async def test_the_sessions_model_chooses_who_answers(bench: Bench) -> None:
    class Other(Voice):
        async def respond(self, prompt: Prompt, context: StageContext) -> AsyncIterator[str | Outcome]:
            yield f"{context.model} answers {context.principal}."

    other = Other()
    bench.pipelines = Pipelines({**bench.pipelines.named, "other": Stages(other, other, other)})
    runner = bench.runner()
    config = SessionConfig(model="other", principal="alice")
    sent: list[packets.Packet] = [packets.CreateResponse(text_only=True)]
    runner.deliver(UpEnvelope("s", 1, 0, 0, sent, snapshot=Snapshot(config=config)), "g", uncertain=False)
    await until(lambda: bench.broker.of(events.ResponseFinished))
    (finished,) = cast(list[events.ResponseFinished], bench.broker.of(events.ResponseFinished))
    assert (finished.status, finished.text) == ("completed", "other answers alice.")


async def test_the_synthesizer_is_told_its_own_name_of_a_voice(bench: Bench) -> None:
    bench.pipelines = Pipelines({"litevoice": Stages(bench.voice, bench.voice, bench.voice, None, {"ash": "af_sky"})})
    runner = bench.runner()
    sent: list[packets.Packet] = [packets.CreateResponse()]
    snapshot = Snapshot(config=SessionConfig(voice="ash"))
    runner.deliver(UpEnvelope("s", 1, 0, 0, sent, snapshot=snapshot), "g", uncertain=False)
    await until(lambda: bench.broker.of(events.ResponseFinished))
    assert set(bench.voice.voices) == {"af_sky"}


async def test_an_overloaded_client_is_tried_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "OVERLOADED_PAUSE_SECONDS", 0.001)
    bench.broker.errors = [Overloaded("full"), Overloaded("full")]
    bench.text_turn(bench.runner())
    await until(lambda: bench.broker.of(events.ResponseFinished))
    assert bench.gave_up == []


@pytest.mark.parametrize("mine", [True, False])
async def test_nothing_is_computed_while_it_is_not_known_whose_the_session_is(bench: Bench, mine: bool) -> None:
    bench.certain.clear()
    runner = bench.runner()
    bench.text_turn(runner)
    await asyncio.sleep(0.02)
    assert not bench.voice.asked
    if not mine:
        runner.close()
    bench.certain.set()
    if mine:
        await until(lambda: bench.broker.of(events.ResponseFinished))
    await asyncio.sleep(0.02)
    assert len(bench.voice.asked) == mine


async def test_nor_by_a_worker_that_leaves_before_it_knows(bench: Bench) -> None:
    """It stood still, and was told to end meanwhile: another one had answered by then (seed 60138)."""
    bench.leaves_in_doubt = True
    runner = bench.runner()
    bench.text_turn(runner)
    await asyncio.sleep(0.02)
    assert not bench.voice.asked
    assert not bench.broker.of(events.ResponseFinished)
    assert not runner._jobs


async def test_a_message_that_may_have_arrived_is_not_sent_again(bench: Bench) -> None:
    bench.broker.errors = [BrokerUnavailable("away")]
    bench.text_turn(bench.runner())
    await until(lambda: bench.gave_up)
    assert bench.broker.sent == []


@pytest.mark.parametrize(
    ("error", "reason"), [(StageError("no model"), "no model"), (KeyError("secret words"), "internal error")]
)
async def test_what_a_stage_raises(
    bench: Bench, error: Exception, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    bench.voice.broken = error
    bench.text_turn(bench.runner())
    await until(lambda: bench.broker.of(events.ResponseFinished))
    (finished,) = cast(list[events.ResponseFinished], bench.broker.of(events.ResponseFinished))
    assert (finished.status, finished.reason) == ("failed", reason)
    assert "secret words" not in caplog.text
    places = [vars(record)["at"] for record in caplog.records if record.message == "a stage crashed"]
    assert bool(places) == (reason == "internal error")
    assert all(re.search(r"\.py:\d+ \w+$", place) for place in places), places


@pytest.mark.parametrize("how", ["crashed", "hung"])
async def test_a_stage_whose_process_died_is_counted(bench: Bench, how: str) -> None:
    bench.voice.broken = StageDied(how, "the recognizer failed at this utterance")
    bench.text_turn(bench.runner())
    await until(lambda: bench.broker.of(events.ResponseFinished))
    name = "litevoice_worker_recognizer_deaths_total"
    counted = {h: bench.metrics.registry.get_sample_value(name, {"how": h}) for h in ("crashed", "hung")}
    assert counted == {"crashed": 0, "hung": 0} | {how: 1}


async def test_handing_over_asks_for_what_is_open_and_stops(bench: Bench) -> None:
    bench.voice.slow = True
    runner = bench.runner()
    bench.text_turn(runner)
    await until(lambda: bench.broker.of(events.TextDelta))
    await runner.abandon()
    assert bench.broker.of(events.TurnReplay)
    sent = len(bench.broker.sent)
    bench.text_turn(runner)
    assert len(bench.broker.sent) == sent


async def test_a_session_whose_machine_failed_says_so_when_it_asks(bench: Bench) -> None:
    sessions = Sessions(2, bench.runner, bench.metrics, bench.say)
    first = sessions.get("s", 0)
    sessions.start_anew("s")
    sessions.start_anew("nobody")
    second = sessions.get("s", 0)
    assert second is not first
    second.deliver(UpEnvelope("s", 1, 5, 0, [], snapshot=None), "g", uncertain=False)
    assert bench.broker.of(events.TurnReplay) == [events.TurnReplay("failed")]


async def test_who_loses_a_session_says_that_it_lives_where_something_was_expected(bench: Bench) -> None:
    sessions = Sessions(9, bench.runner, bench.metrics, bench.say)
    bench.text_turn(sessions.get("done", 0))
    await until(lambda: bench.broker.of(events.ResponseFinished) and not bench.broker.unconfirmed)
    bench.voice.slow = True
    bench.text_turn(sessions.get("busy", 0))
    sessions.get("asks", 0).deliver(UpEnvelope("asks", 1, 5, 2, [], attempt=3), "g", uncertain=False)
    bench.text_turn(sessions.get("elsewhere", 1))
    sessions.forget_partition(0)
    said = [(session_id, envelope.events, envelope.attempt) for session_id, envelope in bench.said]
    assert said == [("busy", [events.Displaced()], 0), ("asks", [events.Displaced()], 3)]
    assert len(sessions) == 1


async def test_who_loses_a_session_that_it_hands_over_says_that_it_lives_instead(bench: Bench) -> None:
    bench.voice.slow = True
    sessions = Sessions(9, bench.runner, bench.metrics, bench.say)
    bench.text_turn(sessions.get("s", 0))
    await until(lambda: bench.broker.of(events.TextDelta))
    bench.broker.errors = [Overloaded("stood still")]
    handing = asyncio.create_task(sessions.hand_over(0))
    await until(lambda: not bench.broker.errors)
    sessions.forget_partition(0)
    await handing
    assert [envelope.events for _, envelope in bench.said] == [[events.Displaced()]]
    assert not bench.broker.of(events.TurnReplay)


async def test_a_session_that_cannot_be_handed_over_costs_the_others_nothing(bench: Bench) -> None:
    bench.voice.slow = True
    sessions = Sessions(9, bench.runner, bench.metrics, bench.say)
    broken = sessions.get("broken", 0)
    broken.machine = cast(Any, None)
    bench.text_turn(sessions.get("s", 0))
    await until(lambda: bench.broker.of(events.TextDelta))
    await sessions.hand_over(0)
    assert bench.broker.of(events.TurnReplay)
    assert len(sessions) == 0


async def test_idle_sessions_make_room_and_while_there_are_none_new_ones_are_refused(bench: Bench) -> None:
    bench.voice.slow = True
    sessions = Sessions(3, bench.runner, bench.metrics, bench.say)
    busy, idle, used = sessions.get("busy", 0), sessions.get("idle", 0), sessions.get("used", 1)
    bench.text_turn(busy)
    for number in range(5):
        with pytest.raises(NoRoom):
            sessions.get(f"new {number}", 1)
    assert sessions.full
    for runner in (busy, idle):
        runner.last_active -= ACTIVE_SECONDS
    sessions.get("new", 1)
    assert sessions.get("busy", 0) is busy, "it is older, but in the middle of something"
    assert sessions.get("used", 1) is used
    with pytest.raises(NoRoom):
        sessions.get("idle", 0)
    value = bench.metrics.registry.get_sample_value
    assert value("litevoice_worker_sessions") == value("litevoice_worker_capacity_sessions") == 3
    assert value("litevoice_worker_dropped_total", {"what": "sessions"}) == 1
    assert value("litevoice_worker_dropped_total", {"what": "refused_envelopes"}) == 6
    sessions.forget_idle(asyncio.get_running_loop().time() + IDLE_SECONDS + 1)
    assert value("litevoice_worker_sessions") == 1
    await sessions.hand_over(0)
    assert value("litevoice_worker_sessions") == 0


# Hearing


def speak(runner: SessionRunner, seq: int = 0, seconds: float = 1.0) -> None:
    """A loud tone in one envelope; the first brings the snapshot."""
    snapshot = None if seq else Snapshot()
    envelope = UpEnvelope(runner.machine.id, 1, seq, 0, [packets.Audio(tone(1, seconds))], snapshot=snapshot)
    runner.deliver(envelope, "g", uncertain=False)


async def test_sessions_are_heard_together_and_a_long_upload_delays_nobody(bench: Bench) -> None:
    bench.network.gate.clear()
    long, short = bench.runner("long"), [bench.runner(f"s{number}") for number in range(8)]
    speak(long, seconds=20.0)
    await until(bench.network.entered.is_set)
    for runner in short:
        speak(runner, seconds=0.2)
    await asyncio.sleep(0)
    bench.network.gate.set()
    await until(lambda: len(bench.broker.of(events.SpeechStarted)) == 9)
    rounds = bench.network.rounds
    assert rounds[:4] == [(1, 4), (9, 4), (9, 1), (1, 4)], "a few windows of each; then only the long one is left"
    counted = bench.metrics.registry.get_sample_value
    await until(lambda: counted("litevoice_worker_windows_total", {"way": "heard"}) == sum(map(math.prod, rounds)))
    for runner in (long, *short):
        runner.close()


async def test_what_arrives_in_one_turn_of_the_loop_is_heard_in_one_batch(bench: Bench) -> None:
    runners = [bench.runner(f"s{number}") for number in range(20)]
    for runner in runners:
        speak(runner, seconds=0.2)
    await until(lambda: len(bench.broker.of(events.SpeechStarted)) == len(runners))
    assert bench.network.rounds == [(20, 4), (20, 1)]
    for runner in runners:
        runner.close()


async def test_the_ears_know_how_long_they_will_take(bench: Bench) -> None:
    assert bench.ears.seconds_to_hear(10.0) == 0, "nothing is known yet"
    bench.network.gate.clear()
    runner = bench.runner()
    speak(runner)
    await until(bench.network.entered.is_set)
    await until(lambda: bench.ears.busy > 0.01)
    bench.network.gate.set()
    await until(lambda: bench.broker.of(events.SpeechStarted))
    assert 0 < 10 * bench.ears.seconds_to_hear(0.32) == pytest.approx(bench.ears.seconds_to_hear(3.2))
    await until(lambda: bench.ears.busy < 0.01)
    runner.close()


async def test_when_the_network_fails_its_sessions_are_asked_for_again(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.network.broken = True
    runner = bench.runner()
    speak(runner)
    await until(lambda: runner.machine.idle)
    assert bench.metrics.registry.get_sample_value("litevoice_worker_dropped_total", {"what": "sessions"}) == 1
    bench.network.broken = False
    speak(runner, seq=1)
    await until(lambda: bench.broker.of(events.TurnReplay))
    assert "secret words" not in caplog.text


async def test_what_is_no_longer_wanted_is_ignored(bench: Bench) -> None:
    bench.network.gate.clear()
    runner = bench.runner()
    speak(runner)
    again = UpEnvelope("s", 1, 0, 0, [packets.Audio(tone(0))], attempt=1, snapshot=Snapshot())
    runner.deliver(again, "g", uncertain=False)
    closed = bench.runner("closed")
    speak(closed)
    closed.close()
    bench.network.gate.set()
    late = bench.runner("late")
    speak(late)
    await until(lambda: bench.broker.of(events.SpeechStarted))
    assert runner.machine.idle
    assert [len(bench.broker.of(kind)) for kind in (events.SpeechStarted, events.TurnReplay)] == [1, 0]
    assert bench.broker.sessions == {"late"}
    late.close()


async def test_there_is_room_again_when_enough_was_heard(bench: Bench) -> None:
    bench.unheard = Unheard(max_seconds=3, max_bytes=1 << 20)
    bench.network.gate.clear()
    runner = bench.runner()
    for seq in range(3):
        speak(runner, seq)
    await bench.unheard.room()
    assert bench.unheard.seconds == pytest.approx(2.0), "the first second is being heard"
    speak(runner, 3)
    speak(runner, 4)
    waiting = asyncio.create_task(bench.unheard.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    bench.network.gate.set()
    await waiting
    await until(lambda: bench.unheard.bytes == 0)
    bench.network.gate.clear()
    for seq in range(5, 11):
        speak(runner, seq)
    full = asyncio.create_task(bench.unheard.room())
    await asyncio.sleep(0)
    assert not full.done()
    runner.close()
    await full
    assert (bench.unheard.bytes, bench.unheard.seconds) == (0, 0)
    bench.network.gate.set()


def test_a_moment_that_has_passed_breaks_no_session_on_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is late asks to be woken then; what uvloop returns for it knows no time. Each such session was
    begun anew, and its answer asked for again."""

    async def story() -> None:
        bench = Bench()
        receive, late = Turns.receive, asyncio.get_running_loop().time() - 1

        def received(machine: Turns, *given: Any, **more: Any) -> Any:
            todo = receive(machine, *given, **more)
            machine.wake_at = late
            return todo

        monkeypatch.setattr(Turns, "receive", received)
        runner = bench.runner()
        bench.text_turn(runner)
        sent: list[packets.Packet] = [packets.CreateItem(Item("j", "user", "hello again"))]
        runner.deliver(UpEnvelope("s", 1, 2, 0, sent), "g", uncertain=False)
        await until(lambda: bench.broker.of(events.ResponseFinished))
        runner.close()
        await bench.ears.close()

    uvloop.run(story())
