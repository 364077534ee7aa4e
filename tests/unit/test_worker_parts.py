"""The pure parts of the worker: admission, endpointing, sentences, conversation, reply, partitions, audio, members."""

from __future__ import annotations

import warnings
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litevoice_contracts.conversation import (
    MAX_ITEMS,
    MAX_SNAPSHOT_BYTES,
    Codec,
    Item,
    Mark,
    ResponseRequest,
    SessionConfig,
    Snapshot,
    TurnDetection,
)
from litevoice_contracts.envelopes import ResumePoint, UpEnvelope
from litevoice_contracts.packets import Audio as AudioPacket
from litevoice_contracts.packets import EpochEnd
from litevoice_worker.admission import ASK_AGAIN_SECONDS, Admission
from litevoice_worker.audio import SAMPLE_RATES, StreamResampler, decode, encode, resample
from litevoice_worker.conversation import Conversation, TooLarge
from litevoice_worker.endpointing import START_WINDOWS, Endpointer
from litevoice_worker.members import ready_pods
from litevoice_worker.partitions import owned_by, ranking, watched_by
from litevoice_worker.reply import MAX_ANSWER_CHARACTERS, Audio, Finish, Reply, Speak, Text, Wait
from litevoice_worker.sentences import MAX_SENTENCE_CHARACTERS, SentenceSplitter, split
from litevoice_worker.stages.respond_local import answer

# Admission

PENDING = Snapshot(pending=ResponseRequest("r", "i"))
RESUME = ResumePoint("r", "i")


def up(seq: int = 0, attempt: int = 0, snapshot: Snapshot | None = None, **more: Any) -> UpEnvelope:
    packets = more.pop("packets", [AudioPacket(b"x")])
    return UpEnvelope("s", 5, seq, 0, packets, attempt=attempt, snapshot=snapshot, **more)


UNKNOWN = [
    ("a new session", up(0, snapshot=Snapshot()), False, "begin"),
    ("the start without a snapshot", up(0), False, "ask"),
    ("the middle without a snapshot", up(7), False, "ask"),
    ("right after the snapshot", up(7, snapshot=Snapshot(boundary=Mark(5, 6))), False, "begin"),
    ("packets missing after the snapshot", up(7, snapshot=Snapshot(boundary=Mark(5, 4))), False, "ask"),
    ("a snapshot of another epoch in the middle", up(7, snapshot=Snapshot(boundary=Mark(4, 6))), False, "ask"),
    ("a response is under way", up(0, snapshot=PENDING), False, "ask"),
    ("a replay of a response", up(0, 1, PENDING, resume=RESUME), False, "begin"),
    ("a former owner may have had it", up(0, snapshot=Snapshot()), True, "ask"),
    ("an owner says good-bye", up(9, packets=[EpochEnd()]), False, "drop"),
    ("a nudge", up(9, packets=[]), False, "ask"),
]


@pytest.mark.parametrize(("case", "envelope", "uncertain", "want"), UNKNOWN, ids=[row[0] for row in UNKNOWN])
def test_an_unknown_session(case: str, envelope: UpEnvelope, uncertain: bool, want: str) -> None:
    assert Admission().decide(envelope, Mark(0, 0), 0, uncertain=uncertain) == want


def test_asking_again_and_being_answered() -> None:
    admission = Admission()
    admission.ask(up(7), 100.0)
    next_packet = Mark(0, 0)
    replay = up(3, 1, Snapshot())
    assert admission.decide(up(8), next_packet, 100.1, uncertain=False) == "drop"
    assert admission.decide(up(8, snapshot=Snapshot()), next_packet, 100.1, uncertain=False) == "drop"
    assert admission.decide(up(9), next_packet, 100 + ASK_AGAIN_SECONDS, uncertain=False) == "ask"
    assert admission.decide(replay, next_packet, 100.2, uncertain=True) == "ask"
    assert admission.decide(replay, next_packet, 100.2, uncertain=False) == "begin"


def test_a_known_session_begins_anew_only_when_told() -> None:
    admission = Admission()
    admission.begun(up(0, 1, Snapshot()))
    next_packet = Mark(5, 4)
    assert admission.decide(up(4, 1), next_packet, 0, uncertain=False) == "apply"
    assert admission.decide(up(4, 1, Snapshot()), next_packet, 0, uncertain=False) == "apply"
    assert admission.decide(up(2, 2, Snapshot()), next_packet, 0, uncertain=False) == "begin"
    assert admission.decide(up(2, 2), next_packet, 0, uncertain=False) == "ask"
    admission.ask(up(9, 1), 0)
    assert admission.decide(up(4, 1), next_packet, 0, uncertain=False) == "apply", "what was missing came"


# Endpointing

V, U = 0.9, 0.1  # voiced, unvoiced
ENDPOINTS = [
    ("silence", [U] * 50, []),
    ("a click", [U, V, U, V, U] * 5, []),
    ("speech", [U] * 5 + [V] * 10 + [U] * 20, [(6, "started"), (30, "stopped")]),
    ("a pause within speech", [V] * 5 + [U] * 10 + [V] * 5 + [U] * 16, [(1, "started"), (35, "stopped")]),
    ("between the thresholds it goes on", [V] * 3 + [0.4] * 40 + [U] * 16, [(1, "started"), (58, "stopped")]),
    ("just at the threshold", [0.5] * START_WINDOWS, [(1, "started")]),
]


@pytest.mark.parametrize(("case", "probabilities", "want"), ENDPOINTS, ids=[row[0] for row in ENDPOINTS])
def test_endpointing(case: str, probabilities: list[float], want: list[tuple[int, str]]) -> None:
    endpointer = Endpointer(TurnDetection(silence_duration_ms=500))
    got = [(index, endpointer.feed(value)) for index, value in enumerate(probabilities)]
    assert [change for change in got if change[1]] == want


# Sentences

SENTENCES = [
    ("Hello. How are you? Fine!", ["Hello.", " How are you?", " Fine!"]),
    ('He said "stop." Then he went.', ['He said "stop."', " Then he went."]),
    ("Pi is 3.14 or so. Yes.", ["Pi is 3.14 or so.", " Yes."]),
    ("One line\nanother", ["One line\n", "another"]),
    ("no end", ["no end"]),
    ("  ", []),
]


@pytest.mark.parametrize(("text", "want"), SENTENCES)
def test_sentences(text: str, want: list[str]) -> None:
    assert split(text) == want


@given(st.text(alphabet="ab .!?\n\"'", max_size=1200), st.data())
def test_sentences_do_not_depend_on_how_the_text_comes(text: str, data: st.DataObject) -> None:
    splitter, pieces, position = SentenceSplitter(), [], 0
    while position < len(text):
        size = data.draw(st.integers(1, max(1, len(text) // 3)))
        pieces += splitter.feed(text[position : position + size])
        position += size
    pieces += splitter.flush()
    assert pieces == split(text)
    assert text.startswith("".join(pieces))
    assert not text.removeprefix("".join(pieces)).strip()
    assert all(len(piece) <= MAX_SENTENCE_CHARACTERS for piece in pieces[:-1])


# Conversation


def test_the_oldest_items_go_first() -> None:
    conversation = Conversation(SessionConfig(), [])
    for number in range(MAX_ITEMS + 5):
        conversation.append(Item(str(number), "user", "x"))
    assert [item.id for item in conversation.items] == [str(number) for number in range(5, MAX_ITEMS + 5)]
    assert conversation.dropped == 5


def test_a_snapshot_stays_within_its_bytes() -> None:
    conversation = Conversation(SessionConfig(instructions="x" * 100_000), [])
    for number in range(10):
        conversation.append(Item(str(number), "user", "y" * 50_000))
    assert sum(len(item.text) for item in conversation.items) + 100_000 < MAX_SNAPSHOT_BYTES
    conversation.configure(SessionConfig(instructions="x" * 230_000))
    assert conversation.items == []
    assert conversation.dropped == 10
    with pytest.raises(TooLarge, match="must fit into"):
        conversation.configure(SessionConfig(instructions="x" * MAX_SNAPSHOT_BYTES))


def test_items_up_to_one() -> None:
    items = [Item(name, "user", name) for name in "abc"]
    conversation = Conversation(SessionConfig(), items)
    assert conversation.up_to("b") == items[:2]
    assert conversation.up_to("") == conversation.up_to("forgotten") == items


# Reply


def steps_of(reply: Reply, audio: dict[str, bytes], now: float = 0.0) -> list[object]:
    """Everything until the reply has to wait for somebody else, with time passing as it wants."""
    done: list[object] = []
    while True:
        match step := reply.step(now):
            case Wait(None):
                return done
            case Wait(until):
                now = cast(float, until)
            case Finish():
                return [*done, step]
            case Speak(text):
                done.append(step)
                reply.audio_ready(audio[text])
            case _:
                done.append(step)


REQUEST = ResponseRequest("r", "i")
PCM: Codec = "pcm16/24000"
SPOKEN = {"One.": bytes(range(250)) * 100, "Two.": b"\1\2" * 9_000}


def test_a_reply_speaks_sentence_by_sentence() -> None:
    reply = Reply(REQUEST, PCM, 2000)
    for sentence in ("One.", " Two."):
        reply.add_sentence(sentence)
    reply.end("completed")
    done = steps_of(reply, SPOKEN)
    assert [step for step in done if not isinstance(step, Audio)] == [
        Text("One."),
        Speak("One."),
        Text(" Two."),
        Speak("Two."),
        Finish("completed", ""),
    ]
    assert b"".join(step.audio for step in done if isinstance(step, Audio)) == SPOKEN["One."] + SPOKEN["Two."]
    assert reply.said == "One. Two."


@given(st.integers(0, 43_000))
def test_a_reply_goes_on_from_any_byte(heard: int) -> None:
    whole = SPOKEN["One."] + SPOKEN["Two."]
    first = len(SPOKEN["One."])
    in_second = heard > first
    resume = (
        ResumePoint("r", "i", "One.", " Two.", heard - first) if in_second else ResumePoint("r", "i", "", "One.", heard)
    )
    reply = Reply(REQUEST, PCM, 2000, resume)
    if not in_second:
        reply.add_sentence(" Two.")
    reply.end("completed")
    done = steps_of(reply, SPOKEN)
    assert b"".join(step.audio for step in done if isinstance(step, Audio)) == whole[heard:]
    assert reply.said == "One. Two."


def test_an_answer_has_a_bound() -> None:
    reply = Reply(REQUEST, PCM, 2000)
    assert reply.add_sentence("x" * MAX_ANSWER_CHARACTERS)
    assert not reply.add_sentence("y")
    assert steps_of(reply, {"x" * MAX_ANSWER_CHARACTERS: b""})[-1] == Finish("incomplete", "max_output_tokens")


def test_a_clock_that_was_overtaken_starts_again() -> None:
    reply = Reply(REQUEST, PCM, 200)
    reply.add_sentence("One.")
    assert isinstance(reply.step(0), Text)
    assert isinstance(reply.step(0), Speak)
    reply.audio_ready(bytes(9600 * 5))
    assert isinstance(reply.step(0), Audio)
    assert isinstance(reply.step(10), Audio), "a pause is not made up for by a burst"
    assert isinstance(reply.step(10), Wait)


# Partitions

WORKERS = [f"worker-{number}" for number in range(5)]


def test_every_partition_has_one_owner_and_one_watcher() -> None:
    owned = [owned_by(worker, WORKERS, 64) for worker in WORKERS]
    assert sorted(p for partitions in owned for p in partitions) == list(range(64))
    watched = [watched_by(worker, WORKERS, 64) for worker in WORKERS]
    assert sorted(p for partitions in watched for p in partitions) == list(range(64))
    for worker, partitions in zip(WORKERS, watched, strict=True):
        assert worker not in partitions.values()


def test_a_worker_that_goes_moves_only_its_own() -> None:
    rest = WORKERS[1:]
    for partition in range(64):
        before, after = ranking(partition, WORKERS)[0], ranking(partition, rest)[0]
        assert after == (ranking(partition, WORKERS)[1] if before == WORKERS[0] else before)


def test_nobody_owns_what_nobody_is_there_for() -> None:
    assert owned_by("worker-9", WORKERS, 8) == set()
    assert owned_by("worker-0", [], 8) == set()
    assert owned_by("worker-0", ["worker-0"], 8) == set(range(8))
    assert watched_by("worker-0", ["worker-0"], 8) == {}


# Audio


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("codec", "name"), [("g711_ulaw/8000", "ulaw"), ("g711_alaw/8000", "alaw")])
def test_g711_is_the_standard_one(codec: Codec, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        audioop = pytest.importorskip("audioop", reason="the reference left Python in 3.13")
    codes = bytes(range(256))
    linear = decode(codes, codec).astype("<i2").tobytes()
    assert linear == getattr(audioop, f"{name}2lin")(codes, 2)
    samples = np.arange(-32768, 32768, 7, dtype=np.int16)
    ours = decode(encode(samples, codec), codec).astype(int)
    reference = np.frombuffer(
        getattr(audioop, f"{name}2lin")(getattr(audioop, f"lin2{name}")(samples.tobytes(), 2), 2), "<i2"
    ).astype(int)
    assert (np.abs(ours - samples) <= np.abs(reference - samples)).all(), "never worse than the reference"


def test_pcm_round_trip_drops_half_a_sample() -> None:
    assert encode(decode(b"\1\2\3", PCM), PCM) == b"\1\2"


@pytest.mark.parametrize("rate", sorted(set(SAMPLE_RATES.values())))
def test_resampling_keeps_a_tone(rate: int) -> None:
    tone = (np.sin(2 * np.pi * 440 * np.arange(rate) / rate) * 10_000).astype(np.int16)
    for result in (resample(tone, rate, 16_000), StreamResampler(rate, 16_000).feed(tone)):
        spectrum = np.abs(np.fft.rfft(result[1000:15_000].astype(float)))
        assert abs(np.argmax(spectrum) * 16_000 / 14_000 - 440) < 3


# Members


def test_ready_pods() -> None:
    def endpoint(name: str, kind: str = "Pod", **conditions: bool) -> dict[str, Any]:
        return {"conditions": conditions, "targetRef": {"kind": kind, "name": name}}

    item = {
        "endpoints": [
            endpoint("a", ready=True),
            endpoint("b", ready=False),
            endpoint("c"),
            endpoint("d", kind="Node", ready=True),
            {"addresses": ["10.0.0.1"]},
        ]
    }
    assert ready_pods(item) == {"a", "c"}
    assert ready_pods({"endpoints": None}) == frozenset()


# The local responder

FIRST_QUESTION = Item("1", "user", "what is the capital of france")
ANSWERS = [
    ("Tell me the story of the lighthouse!", [], "On a rock far out in the sea"),
    ("what did I ask first?", [FIRST_QUESTION], "Your first question was: what is the capital of france."),
    ("what did i ask first", [], "This is your first question."),
    ("what did i ask before", [FIRST_QUESTION], "Before that you asked: what is the capital of france."),
    ("what is seven plus six", [], "Seven plus six is 13."),
    ("what is the capital of atlantis", [], "I do not know that country."),
    ("flibbertigibbet", [], "You said: flibbertigibbet."),
    ("", [FIRST_QUESTION], "I did not understand that."),
    ("please repeat that", [Item("2", "assistant", "Paris.")], "Paris."),
]


@pytest.mark.parametrize(("question", "before", "want"), ANSWERS)
def test_local_answers(question: str, before: list[Item], want: str) -> None:
    assert answer([*before, Item("q", "user", question)]).startswith(want)
