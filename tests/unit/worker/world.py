"""A worker's session machine in virtual time, with the gateway's own packet log and state around it.

What the client gets, and what becomes of it when workers die; stages are deterministic, nothing sleeps.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from litevoice_broker.partition_consumer import PartitionMessage
from litevoice_broker.producer import SENT_AGAIN
from litevoice_contracts import events, packets
from litevoice_contracts.conversation import CODEC_BYTES_PER_SECOND, Codec, SessionConfig
from litevoice_contracts.envelopes import DownEnvelope, MessageIds, UpEnvelope
from litevoice_contracts.events import DownEvent
from litevoice_gateway import commands as gateway
from litevoice_gateway.limits import Limits as GatewayLimits
from litevoice_gateway.packet_log import PacketLog
from litevoice_gateway.session_state import SessionState
from litevoice_worker import commands
from litevoice_worker.audio import Samples
from litevoice_worker.ownership import Certain
from litevoice_worker.sentences import split
from litevoice_worker.stages.respond_local import respond_to
from litevoice_worker.turn import Limits, Turns

FRAME_SECONDS = 0.1
QUESTIONS = {
    1: "what is the capital of france",
    2: "tell me about the moon",
    3: "what did i ask first",
    4: "tell me the story of the lighthouse",
}


def loudness(windows: Samples) -> list[float]:
    """Speech is what is loud."""
    return [1.0 if np.abs(window).mean() > 200 else 0.0 for window in windows]


def tone(level: int, seconds: float = FRAME_SECONDS) -> bytes:
    """PCM16 at 24 kHz, a square wave of 500 Hz; the level says which question it is, 0 is silence."""
    wave = np.where(np.arange(int(24_000 * seconds)) // 24 % 2, -1000, 1000)
    return (wave * level).astype("<i2").tobytes()


def heard_question(samples: Samples) -> str:
    """What a recognizer makes of `tone`s; anything that is not one question is told as it is."""
    loud = np.abs(samples)[np.abs(samples) > 500]
    return QUESTIONS.get(round(float(np.median(loud)) / 1000), "") if len(loud) else ""


def speech(text: str, codec: Codec) -> bytes:
    """The same bytes for the same text, 60 ms for each character."""
    size = len(text) * 60 * CODEC_BYTES_PER_SECOND[codec] // 1000
    seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
    return np.random.default_rng(seed).bytes(size)


@dataclass
class World:
    """One session from microphone to client. `now` only moves in `run`.

    Attributes:
        transcript_in: how many pieces, the last of them after `transcribe_seconds`.
        clocks_differ: by how many seconds the gateway's is ahead of the worker's.
        owner_dies_when_asked: before it has answered; another gateway follows.
        calls: of functions, as the model makes them when it has tools: whole, or in parts.
        call_seconds: how long it writes at each.
        finished: what the turn detector says. judged: samples of each pause that it was asked about.
        kills: the command that no worker survives (for more than `kills_after` seconds). killed: how often it did.
        log: the session's LiteTopic. client: events that the gateway has let through, with the time.
    """

    limits: Limits = field(default_factory=Limits)
    transcribe_seconds: float = 0.05
    transcript_in: int = 1
    finished: Callable[[Samples], float] = lambda _: 1.0
    synthesize_seconds: float = 0.02
    listen_seconds: Callable[[], float] = lambda: 0.001
    fail_stage: str = ""
    kills: type[commands.Command] | None = None
    kills_after: float = 0.0
    clocks_differ: float = 0.0
    owner_dies_when_asked: bool = False
    now: float = 1000.0
    log: list[DownEnvelope] = field(default_factory=list)
    client: list[tuple[float, DownEvent]] = field(default_factory=list)
    prompts: list[commands.Prompt] = field(default_factory=list)
    contexts: list[commands.StageContext] = field(default_factory=list)
    calls: list[commands.FunctionCall | commands.FunctionCallPart] = field(default_factory=list)
    call_seconds: float = 0.0
    counts: dict[str, float] = field(default_factory=dict)
    judged: list[int] = field(default_factory=list)
    killed: int = 0
    replays: int = 0
    rejections: int = 0

    def __post_init__(self) -> None:
        self._numbers = itertools.count()
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._partition: list[tuple[PartitionMessage, UpEnvelope]] = []
        self.folded = SessionState(0, SessionConfig())
        self._up: list[gateway.Command] = []
        self._strangers = MessageIds(1_000_000)
        self._owners = 0
        self._open_packet_log()
        self.up = True
        self._generation = 0
        self._certain = Certain(0, 0.0)
        self.machine = Turns("s_test", self.limits, MessageIds(1))

    # The client

    def at(self, seconds: float, action: Callable[[], None]) -> None:
        """Plans `action` for `seconds` after the beginning (1000.0)."""
        heapq.heappush(self._agenda, (1000.0 + seconds, next(self._numbers), action))

    def stream(self, script: list[tuple[float, int]], start: float = 0.0) -> float:
        """Plans audio frame by frame: (seconds, level) …; returns the end."""
        position = start
        for seconds, level in script:
            for _ in range(round(seconds / FRAME_SECONDS)):
                self.at(position, lambda level=level: self.send(packets.Audio(tone(level))))  # type: ignore[misc]
                position += FRAME_SECONDS
        return position

    def send(self, packet: packets.Packet, codec: Codec = "pcm16/24000") -> None:
        self.uplink.add(packet, codec, self.now)
        self.uplink.flush(self.now)
        self._carry_up()

    def run(self, until: float) -> None:
        """Everything that happens before `until` seconds after the beginning."""
        while self._agenda and self._agenda[0][0] <= 1000.0 + until:
            self.now, _, action = heapq.heappop(self._agenda)
            action()
        self.now = 1000.0 + until

    def leave(self) -> None:
        """The owner closes its epoch; nobody follows yet."""
        self.uplink.end(self.now)
        self._carry_up()

    def move(self, *, farewell: bool) -> None:
        """Another gateway takes the session over; without `farewell` the old one died."""
        if farewell:
            self.leave()
        start = max(self.folded.restore_position, 0)
        self.folded = SessionState(start, SessionConfig())
        for position in range(start, len(self.log)):
            self.folded.apply(position, self.log[position])
        self._open_packet_log()

    def _open_packet_log(self) -> None:
        limits, owner = GatewayLimits(), self._owners
        self._owners += 1
        self.uplink = PacketLog("s_test", limits, self.folded, lambda: owner, self._up, new=owner == 0)
        self.uplink.begin(self.now, ask=True)
        self._carry_up()

    # The workers

    def kill(self, *, redelivered: int = 0, sent_twice: int = 0, marked: bool = False) -> None:
        """The worker dies; the next one gets the last `redelivered` envelopes again. The last `sent_twice` had no
        answer: they are stored a second time, behind all others. `marked`: this is what was sent again; if not, the
        first was held up on its way, and comes behind it."""
        self._generation += 1
        self.machine = Turns("s_test", self.limits, MessageIds(self._generation + 1))
        self._certain = Certain(len(self._partition), self.now)
        for offset in range(max(0, len(self._partition) - redelivered), len(self._partition)):
            self._deliver(offset)
        for message, envelope in self._partition[max(0, len(self._partition) - sent_twice) :]:
            self._store(envelope, message.born_at, {SENT_AGAIN: "1"} if marked else {})

    def _carry_up(self) -> None:
        published = [command.envelope for command in self._up if isinstance(command, gateway.Publish)]
        self._up.clear()
        for envelope in published:
            self._store(UpEnvelope.decode(envelope.encode()), self.now + self.clocks_differ, {})

    def _store(self, envelope: UpEnvelope, born_at: float, properties: dict[str, str]) -> None:
        offset = len(self._partition)
        self._partition.append((PartitionMessage(offset, properties, b"", born_at), envelope))
        if self.up:
            self._later(0.005, lambda: self._deliver(offset))

    def _deliver(self, offset: int) -> None:
        message, envelope = self._partition[offset]
        self.do(self.machine.receive(envelope, self.now, uncertain=message not in self._certain))

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (self.now + seconds, next(self._numbers), action))

    def _result(self, seconds: float, result: commands.Result) -> None:
        generation = self._generation

        def report() -> None:
            if generation == self._generation:
                self.do(self.machine.handle((result,), self.now))

        self._later(seconds, report)

    def do(self, todo: list[commands.Command]) -> None:
        """What the shell does, in virtual time."""
        for command in todo:
            if self.kills is not None and isinstance(command, self.kills):
                self.killed += 1
                if not self.kills_after:
                    self.kill()
                    return
                self._later(self.kills_after, self.kill)
            if isinstance(command, commands.Transcribe | commands.Respond | commands.Synthesize):
                self.contexts.append(command.context)
            match command:
                case commands.Publish(envelope):
                    sent = DownEnvelope.decode(envelope.encode())
                    self._later(0.002, lambda sent=sent: self._published(sent))  # type: ignore[misc]
                    self._result(0.003, commands.Published())
                case commands.Tell():
                    self._later(0.5, lambda told=command: self._told(told))  # type: ignore[misc]
                case commands.Listen(job, _, windows):
                    self._result(self.listen_seconds(), commands.Listened(job, loudness(windows)))
                case commands.Judge(job, samples):
                    self.judged.append(len(samples))
                    if self.fail_stage == "turn":
                        self._result(0.03, commands.Failed(job, "no detector"))
                    else:
                        self._result(0.03, commands.Judged(job, self.finished(samples)))
                case commands.Transcribe(job, samples):
                    if self.fail_stage == "asr":
                        self._result(self.transcribe_seconds, commands.Failed(job, "no recognizer"))
                    else:
                        self._transcribe(job, heard_question(samples))
                case commands.Respond(job, prompt):
                    self.prompts.append(prompt)
                    self._respond(job, prompt)
                case commands.Synthesize(job, text, _, _, codec):
                    if self.fail_stage == "tts":
                        self._result(self.synthesize_seconds, commands.Failed(job, "no voice"))
                    else:
                        self._result(self.synthesize_seconds, commands.Synthesized(job, speech(text, codec)))
                case commands.CancelJob():
                    pass
                case commands.Count(metric, label, amount):
                    key = f"{metric}/{label}" if label else metric
                    self.counts[key] = self.counts.get(key, 0) + amount
        self._arm()

    def _transcribe(self, job: int, text: str) -> None:
        size = len(text) // self.transcript_in + 1
        for number in range(self.transcript_in if self.transcript_in > 1 else 0):
            piece = text[number * size : (number + 1) * size]
            seconds = self.transcribe_seconds * (number + 1) / (self.transcript_in + 1)
            self._result(seconds, commands.Heard(job, piece))
        self._result(self.transcribe_seconds, commands.Transcribed(job, text))

    def _arm(self) -> None:
        wake, generation = self.machine.wake_at, self._generation
        if wake is not None:
            when = max(wake, self.now)

            def tick() -> None:
                if generation == self._generation and self.machine.wake_at == wake:
                    self.do(self.machine.tick(self.now))

            heapq.heappush(self._agenda, (when, next(self._numbers), tick))

    def _respond(self, job: int, prompt: commands.Prompt) -> None:
        if self.fail_stage == "respond":
            self._result(0.01, commands.Failed(job, "no model"))
            return
        delay, said = 0.01, ""
        for sentence in split(respond_to(prompt.items)):
            said += sentence
            if len(said) > len(prompt.said):
                self._result(delay, commands.Sentence(job, sentence))
                delay += 0.01
        for call in self.calls if prompt.tools else ():
            delay += self.call_seconds
            self._result(delay, commands.Called(job, call))
        self._result(delay, commands.Responded(job, commands.Outcome()))

    # The gateway

    def _told(self, told: commands.Tell) -> None:
        if told.attempt == self.folded.attempt and (told.after is None or self.folded.has(told.after)):
            self.uplink.progress(told.progress)

    def _published(self, envelope: DownEnvelope) -> None:
        self.log.append(envelope)
        counted = self.folded.apply(len(self.log) - 1, envelope)
        for step in () if isinstance(counted, str) else counted:
            match step.event:
                case events.Progress() as progress:
                    self.uplink.progress(progress)
                case events.TurnReplay():
                    self.replays += 1
                case events.EpochRejected(rejected, current):
                    self.rejections += 1
                    self.uplink.reject(rejected, current)
                case event:
                    self.client.append((self.now, event))
        if self.folded.asked and self.owner_dies_when_asked:
            self.owner_dies_when_asked = False
            self.move(farewell=False)
        self.uplink.answer(self.now)
        self._carry_up()

    def ask(self) -> None:
        """A worker that never owned the partition, or does not any more, asks for the session."""
        question = events.TurnReplay("unknown_session")
        self._published(DownEnvelope(0, self.folded.turn, [question], self.folded.attempt, None, next(self._strangers)))

    # What the client makes of it

    def of(self, kind: type[DownEvent]) -> list[DownEvent]:
        return [event for _, event in self.client if isinstance(event, kind)]

    def audio(self, response_id: str | None = None) -> bytes:
        return b"".join(
            event.audio
            for _, event in self.client
            if isinstance(event, events.AudioDelta) and response_id in (None, event.response_id)
        )

    def transcript(self) -> list[object]:
        """All that the client got, without the sizes of audio pieces and of arguments, and the times of speech."""
        result: list[object] = []
        for _, event in self.client:
            match event:
                case events.AudioDelta(response_id, _, audio):
                    last = result[-1] if result else None
                    if isinstance(last, tuple) and last[:2] == ("audio", response_id):
                        result[-1] = ("audio", response_id, last[2] + audio)
                    else:
                        result.append(("audio", response_id, audio))
                case events.CallStarted(response_id, item_id, index, call_id, name):
                    result.append(("call", response_id, item_id, index, call_id, name, ""))
                case events.CallDelta(response_id, item_id, index, call_id, text):
                    known = ("call", response_id, item_id, index, call_id)
                    place, call = next(
                        (at, told) for at, told in enumerate(result) if isinstance(told, tuple) and told[:5] == known
                    )
                    result[place] = (*call[:6], call[6] + text)
                case events.SpeechStarted(item_id) | events.SpeechStopped(item_id):
                    result.append((type(event).__name__, item_id))
                case events.InputTranscribed(item_id, text, _, previous):
                    result.append(("transcribed", item_id, text, previous))
                case _:
                    result.append(event)
        return result
