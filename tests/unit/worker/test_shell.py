"""The thin shell around the session machines: publishing, stages, the bounded registry, the settings file."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest

from litevoice_broker.errors import BrokerUnavailable, Overloaded
from litevoice_contracts import events, packets
from litevoice_contracts.conversation import Codec, Item, Snapshot
from litevoice_contracts.envelopes import DownEnvelope, UpEnvelope
from litevoice_contracts.errors import InvalidField
from litevoice_contracts.events import DownEvent
from litevoice_contracts.settings import PipelineSettings
from litevoice_worker import runner as runner_module
from litevoice_worker.audio import Samples
from litevoice_worker.commands import Outcome, Prompt
from litevoice_worker.metrics import Metrics
from litevoice_worker.runner import SessionRunner, Stages
from litevoice_worker.sessions import ACTIVE_SECONDS, IDLE_SECONDS, NoRoom, Sessions
from litevoice_worker.settings import load, make_members, make_stages
from litevoice_worker.stages import StageError
from litevoice_worker.turn import Limits, Turns
from tests.unit.worker.world import EnergyVad
from tests.waiting import until

Done = Callable[[BaseException | None], None]


class Voice:
    """All stages in one; `broken` raises what a bug would."""

    broken: Exception | None = None
    slow = False

    async def transcribe(self, samples: Samples, language: str) -> str:
        return "hello"

    async def respond(self, prompt: Prompt) -> AsyncIterator[str | Outcome]:
        if self.broken:
            raise self.broken
        yield "One."
        if self.slow:
            await asyncio.sleep(3600)
        yield " Two."
        yield Outcome("completed", "", 3, 2)

    async def synthesize(self, text: str, voice: str, speed: float, codec: Codec) -> bytes:
        return b"\0" * 100

    async def close(self) -> None: ...


class Broker:
    """Confirms at once, or does what `errors` says, one by one."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self.sent: list[DownEnvelope] = []

    def __call__(self, session_id: str, body: bytes, done: Done) -> None:
        error = self.errors.pop(0) if self.errors else None
        if isinstance(error, Overloaded):
            raise error
        if error is None:
            self.sent.append(DownEnvelope.decode(body))
        asyncio.get_running_loop().call_soon(done, error)

    def of(self, kind: type[DownEvent]) -> list[DownEvent]:
        return [event for envelope in self.sent for event in envelope.events if isinstance(event, kind)]


class Bench:
    def __init__(self) -> None:
        self.voice, self.broker, self.metrics, self.gave_up = Voice(), Broker(), Metrics(), list[str]()
        self.progress: list[tuple[str, events.Progress]] = []

    def runner(self, session_id: str = "s") -> SessionRunner:
        stages = Stages(self.voice, self.voice, self.voice)
        machine = Turns(session_id, Limits(), EnergyVad())
        return SessionRunner(machine, stages, self.broker, self.metrics, self.gave_up.append, self.settled)

    def settled(self, gateway: str, session_id: str, progress: events.Progress) -> None:
        assert gateway == "g"
        self.progress.append((session_id, progress))

    def text_turn(self, runner: SessionRunner) -> None:
        sent: list[packets.Packet] = [
            packets.CreateItem(Item("i", "user", "hello")),
            packets.CreateResponse(text_only=True),
        ]
        runner.deliver(UpEnvelope(runner.machine.id, 1, 0, 0, sent, snapshot=Snapshot()), "g", uncertain=False)


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_turn(bench: Bench) -> None:
    bench.text_turn(bench.runner())
    await until(lambda: bench.broker.of(events.ResponseFinished))
    (finished,) = cast(list[events.ResponseFinished], bench.broker.of(events.ResponseFinished))
    assert (finished.text, finished.input_tokens, finished.output_tokens) == ("One. Two.", 3, 2)
    assert bench.metrics.registry.get_sample_value("litevoice_worker_turns_total", {"outcome": "completed"}) == 1
    assert bench.metrics.registry.get_sample_value("litevoice_worker_packets_applied_total") == 2


async def test_an_overloaded_client_is_tried_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "OVERLOADED_PAUSE_SECONDS", 0.001)
    bench.broker.errors = [Overloaded("full"), Overloaded("full")]
    bench.text_turn(bench.runner())
    await until(lambda: bench.broker.of(events.ResponseFinished))
    assert bench.gave_up == []


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


async def test_idle_sessions_make_room_and_while_there_are_none_new_ones_are_refused(bench: Bench) -> None:
    bench.voice.slow = True
    sessions = Sessions(3, bench.runner, bench.metrics)
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
    assert value("litevoice_worker_sessions") == 3
    assert value("litevoice_worker_dropped_total", {"what": "sessions"}) == 1
    assert value("litevoice_worker_dropped_total", {"what": "refused_envelopes"}) == 6
    sessions.forget_idle(asyncio.get_running_loop().time() + IDLE_SECONDS + 1)
    assert value("litevoice_worker_sessions") == 1
    await sessions.hand_over(0)
    assert value("litevoice_worker_sessions") == 0


# Settings

GOOD: dict[str, Any] = {
    "broker": {
        "endpoints": "a:1",
        "nameServer": "b:2",
        "requestTopic": "requests",
        "replyTopic": "replies",
        "partitions": 4,
    },
    "members": {"static": ["w"]},
}


def changed(path: str, value: object) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(json.dumps(GOOD))
    *parents, last = path.split(".")
    target = result
    for name in parents:
        target = target.setdefault(name, {})
    target[last] = value
    return result


BAD = [
    ("broker.endpoints", "nowhere", "broker.endpoints"),
    ("broker.nameServer", "", "broker.nameServer"),
    ("broker.partitions", 0, "broker.partitions"),
    ("broker.requestTopic", "no spaces", "rocketmq.requestTopic"),
    ("members.static", [], "members"),
    ("members.service", "ns/x", "members"),
    ("pipeline.aheadMilliseconds", 1, "pipeline.aheadMilliseconds"),
    ("pipeline.responder.openai", {"baseUrl": "ftp://x", "model": "m"}, "pipeline.responder.openai.baseUrl"),
    ("surprise", 1, "surprise"),
]


@pytest.mark.parametrize(("path", "value", "named"), BAD)
def test_bad_settings_are_named(tmp_path: Path, path: str, value: object, named: str) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(changed(path, value)))
    with pytest.raises(InvalidField) as error:
        load(str(file))
    assert error.value.field == named


def test_good_settings_and_files_that_are_none(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(GOOD))
    settings = load(str(file))
    assert set(make_members(settings, {}).ready or ()) == {"w"}
    for content in ("{", "\xff"):
        file.write_bytes(content.encode("latin-1"))
        with pytest.raises(InvalidField, match="a JSON file"):
            load(str(file))
    with pytest.raises(InvalidField, match="a readable file"):
        load(str(tmp_path / "nothing"))


def test_endpoint_slices_need_a_pod(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(changed("members", {"service": "voice/worker"})))
    environment: Mapping[str, str] = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    assert make_members(load(str(file)), environment).ready is None
    with pytest.raises(InvalidField, match="only in a pod"):
        make_members(load(str(file)), {})


async def test_a_key_file_that_is_missing_is_named(tmp_path: Path) -> None:
    endpoint = {"baseUrl": "http://m/v1", "model": "m", "apiKeyFile": str(tmp_path / "key")}
    stages = {name: {"openai": endpoint} for name in ("transcriber", "responder", "synthesizer")}
    with ThreadPoolExecutor(1) as executor:
        with pytest.raises(InvalidField, match="readable key files"):
            await make_stages(PipelineSettings.model_validate(stages), executor)
        (tmp_path / "key").write_text("sk-x")
        made = await make_stages(PipelineSettings.model_validate(stages), executor)
        await made.close()
