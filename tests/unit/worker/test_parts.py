"""The pure parts of the worker: endpointing, sentences, conversation, response, partitions, audio, members."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litevoice_contracts.conversation import (
    MAX_ITEMS,
    MAX_SNAPSHOT_BYTES,
    Codec,
    Item,
    ResponseRequest,
    SessionConfig,
    TurnDetection,
)
from litevoice_contracts.envelopes import MessageIds, ResumePoint
from litevoice_contracts.events import AudioDelta, TextDelta
from litevoice_worker.audio import SAMPLE_RATES, StreamResampler, decode, encode, resample
from litevoice_worker.commands import (
    CancelJob,
    Failed,
    Outcome,
    Respond,
    Responded,
    Sentence,
    Spoken,
    Synthesize,
    Synthesized,
)
from litevoice_worker.conversation import Conversation, TooLarge
from litevoice_worker.endpointing import START_WINDOWS, Endpointer
from litevoice_worker.members import ready_pods
from litevoice_worker.outlet import Outlet
from litevoice_worker.partitions import owned_by, ranking, watched_by
from litevoice_worker.response import MAX_RESPONSE_CHARACTERS, Response, ResponseEvent
from litevoice_worker.sentences import MAX_SENTENCE_CHARACTERS, SentenceSplitter, split
from litevoice_worker.stages.respond_local import respond_to
from tests.stage_context import context

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
    ("Dr. Smith and Mrs. Jones met. Then they left.", ["Dr. Smith and Mrs. Jones met.", " Then they left."]),
    ("J. R. R. Tolkien wrote it. So am I. Yes.", ["J. R. R. Tolkien wrote it.", " So am I.", " Yes."]),
    ("Fruit, e.g. apples, i.e. food. Good.", ["Fruit, e.g. apples, i.e. food.", " Good."]),
    ("Obst, z. B. Äpfel, d. h. Essen. Gut.", ["Obst, z. B. Äpfel, d. h. Essen.", " Gut."]),
    (
        "It is 3.5 m. And more: 20 g. Then, e. g. J. Bach.",
        ["It is 3.5 m.", " And more: 20 g.", " Then, e. g. J. Bach."],
    ),
    ("It is No. 5 (cf. Fig. 3). No. Not that.", ["It is No. 5 (cf. Fig. 3).", " No.", " Not that."]),
    (
        "At 5 p.m. tea etc. is served. Come at 6 p.m. It is art. Yes.",
        ["At 5 p.m. tea etc. is served.", " Come at 6 p.m.", " It is art.", " Yes."],
    ),
    ("Apples, pears, etc. Then we left.", ["Apples, pears, etc.", " Then we left."]),
    ("1. Eat.\n2. Sleep.", ["1. Eat.", "\n2. Sleep."]),
    (
        "Am 3. Oktober, im 19. Jahrhundert. Er ist 25. Sie",
        ["Am 3. Oktober, im 19. Jahrhundert.", " Er ist 25.", " Sie"],
    ),
    ("It was 1999. That is 3.5 times more. No", ["It was 1999.", " That is 3.5 times more.", " No"]),
    ("Er fragt bzw. sagt Nr. 7. Ja.", ["Er fragt bzw. sagt Nr. 7.", " Ja."]),
    (
        "สวัสดีครับ วันนี้อากาศดีมาก ท้องฟ้าแจ่มใสและมีลมพัดเย็นสบาย เราจะไปเดินเล่นต่าง ๆ ที่สวนสาธารณะกันไหม ราคา 500 บาท ครับ",
        [
            "สวัสดีครับ วันนี้อากาศดีมาก ท้องฟ้าแจ่มใสและมีลมพัดเย็นสบาย",
            " เราจะไปเดินเล่นต่าง ๆ ที่สวนสาธารณะกันไหม",
            " ราคา 500 บาท ครับ",
        ],
    ),
]


@pytest.mark.parametrize(("text", "want"), SENTENCES)
def test_sentences(text: str, want: list[str]) -> None:
    assert split(text) == want


WORDS = ["No", "Dr", "etc", "p.m", "3", "12", "Mai", "Ma", "x", "สวัสดีครับวันนี้", "ๆ", ".", " ", "\n", "X"]
TEXTS = st.one_of(
    st.text(alphabet="ab .!?\n\"'", max_size=1200),
    st.lists(st.sampled_from(WORDS), max_size=200).map("".join),
)


@given(TEXTS, st.data())
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


def test_what_an_answer_is_made_from() -> None:
    items = [Item(name, "user", name) for name in "abc"]
    conversation = Conversation(SessionConfig(), items)

    def made_from(after: str, answer: str, own: list[Item | str] | None = None) -> list[Item]:
        return conversation.context(ResponseRequest("r", answer, after_item_id=after, input=own))

    assert made_from("b", "no answer yet") == items[:2]
    assert made_from("", "no answer yet") == made_from("forgotten", "no answer yet") == items
    assert made_from("", "c") == made_from("forgotten", "c") == items[:2]
    own = Item("own", "user", "own")
    assert made_from("b", "c", []) == []
    assert made_from("b", "c", ["c", own, "forgotten", "a"]) == [items[2], own, items[0]]


# Response


REQUEST = ResponseRequest("r", "i")
PCM: Codec = "pcm16/24000"
SPOKEN = {"One.": bytes(range(250)) * 100, "Two.": b"\1\2" * 9_000}


class Speaker:
    """A response whose responder says `sentences`, and whose synthesizer gives SPOKEN.

    Attributes:
        pieces: how much of each sentence's audio comes before the rest.
        done: what came out of it: texts, Synthesize (as the sentence), audio, the outcome at last.
    """

    def __init__(
        self,
        sentences: list[str],
        ahead_milliseconds: int = 2000,
        resume: ResumePoint | None = None,
        pieces: Sequence[int] = (),
    ) -> None:
        self.outlet = Outlet(MessageIds(0))
        conversation = Conversation(SessionConfig(), [])
        self.response = Response(REQUEST, conversation, ahead_milliseconds, self.outlet, context, resume=resume)
        self.done: list[object] = []
        self.cancelled: list[int] = []
        self._sentences = sentences
        self._pieces = pieces

    def step(self, now: float) -> ResponseEvent | Outcome | None:
        """What the response does at a time; its jobs are done at once."""
        step = self.response.next(now)
        for command in self.outlet.take():
            match command:
                case Respond(job):
                    for sentence in self._sentences:
                        self.response.take(Sentence(job, sentence))
                    self.response.take(Responded(job, Outcome()))
                case Synthesize(job, text):
                    self.done.append(("speak", text))
                    audio = SPOKEN[text]
                    for size in self._pieces:
                        self.response.take(Spoken(job, audio[:size]))
                        audio = audio[size:]
                    self.response.take(Synthesized(job, audio))
                case CancelJob(job):
                    self.cancelled.append(job)
                case _:
                    raise AssertionError(command)
        return step

    def run(self) -> list[object]:
        """Everything to the end, with time passing as it wants."""
        now = 0.0
        while True:
            match step := self.step(now):
                case TextDelta(_, _, text):
                    self.done.append(("text", text))
                case AudioDelta(_, _, audio):
                    self.done.append(audio)
                case Outcome():
                    return [*self.done, step]
                case None:
                    now = self.response.wait_until or now

    @property
    def audio(self) -> bytes:
        return b"".join(step for step in self.done if isinstance(step, bytes))


def test_a_response_speaks_sentence_by_sentence() -> None:
    speaker = Speaker(["One.", " Two."])
    assert [step for step in speaker.run() if not isinstance(step, bytes)] == [
        ("speak", "One."),
        ("speak", "Two."),  # made while the first is spoken
        ("text", "One."),
        ("text", " Two."),
        Outcome("completed", ""),
    ]
    assert speaker.audio == SPOKEN["One."] + SPOKEN["Two."]
    assert speaker.response.said == "One. Two."


@given(st.integers(0, 43_000), st.lists(st.integers(0, 20_000), max_size=5))
def test_a_response_goes_on_from_any_byte(heard: int, pieces: list[int]) -> None:
    whole = SPOKEN["One."] + SPOKEN["Two."]
    first = len(SPOKEN["One."])
    in_second = heard > first
    resume = (
        ResumePoint("r", "i", "One.", " Two.", heard - first) if in_second else ResumePoint("r", "i", "", "One.", heard)
    )
    speaker = Speaker([] if in_second else [" Two."], resume=resume, pieces=pieces)
    speaker.run()
    assert speaker.audio == whole[heard:]
    assert speaker.response.said == "One. Two."


ONE_SECOND = 48_000


def spoken_since(response: Response, outlet: Outlet, now: float) -> list[int]:
    """How many bytes of audio each event has that is due."""
    sizes = list[int]()
    while event := response.next(now):
        if isinstance(event, AudioDelta):
            sizes.append(len(event.audio))
    outlet.take()
    return sizes


def begun(speed: float = 1.0) -> tuple[Response, Outlet]:
    """One whose first sentence is being made, by job 2."""
    outlet = Outlet(MessageIds(0))
    response = Response(REQUEST, Conversation(SessionConfig(speed=speed), []), 2000, outlet, context)
    response.next(0)
    response.take(Sentence(1, "One, with fourteen more characters."))
    assert response.next(0) is None
    return response, outlet


def test_a_sentence_is_spoken_as_it_is_made() -> None:
    response, outlet = begun()
    response.take(Spoken(2, bytes(4_700)))
    assert spoken_since(response, outlet, 0.0) == [], "too little to be worth a message"
    assert response.said, "its text is there"
    response.take(Spoken(2, bytes(101)))
    assert spoken_since(response, outlet, 0.1) == [4_800], "whole samples"
    response.take(Spoken(2, bytes(ONE_SECOND - 4_801)))
    assert spoken_since(response, outlet, 0.15) == [19_200, 19_200], "the client has enough to play"
    assert response.wait_until == pytest.approx(0.1 + 0.9 - 0.4)
    assert spoken_since(response, outlet, 0.6) == [4_800], "now it has not"
    response.take(Spoken(2, bytes(1)))
    assert spoken_since(response, outlet, 0.7) == []
    response.take(Synthesized(2, bytes(1)))
    assert spoken_since(response, outlet, 0.8) == [2], "no more comes"


def test_what_was_heard_of_a_sentence_that_is_being_made_is_reckoned_with_a_guess() -> None:
    response, outlet = begun()
    response.take(Spoken(2, bytes(ONE_SECOND)))
    spoken_since(response, outlet, 0.0)
    assert response.item(Outcome("cancelled", ""), 1_000).text == "One, with", "a character takes 65 ms"
    response.take(Synthesized(2, b""))
    assert response.item(Outcome("cancelled", ""), 1_000).text == "One, with fourteen more characters."


def test_a_guess_knows_how_fast_is_spoken_and_is_no_shorter_than_what_has_come() -> None:
    cancelled = Outcome("cancelled", "")
    response, outlet = begun(speed=0.5)
    response.take(Spoken(2, bytes(ONE_SECOND)))
    spoken_since(response, outlet, 0.0)
    assert response.item(cancelled, 2_000).text == "One, with", "a character takes 130 ms"
    response.take(Spoken(2, bytes(9 * ONE_SECOND)))
    assert response.item(cancelled, 5_000).text == "One, with", "17 of 35 characters in 5 s of 10"
    assert response.item(cancelled, 10_000).text == "One, with fourteen more characters."


def test_what_a_former_worker_has_published_of_a_sentence_counts_while_it_is_made_again() -> None:
    resume = ResumePoint("r", "i", "", "One, with fourteen more characters.", 9 * ONE_SECOND)
    outlet = Outlet(MessageIds(0))
    response = Response(REQUEST, Conversation(SessionConfig(), []), 2000, outlet, context, resume=resume)
    assert response.next(0) is None
    response.take(Spoken(1, bytes(ONE_SECOND)))
    assert response.item(Outcome("cancelled", ""), 5_000).text == "One, with fourteen", "5 s of 9"


def test_a_sentence_that_breaks_off_ends_the_answer() -> None:
    response, outlet = begun()
    response.take(Spoken(2, bytes(ONE_SECOND)))
    assert spoken_since(response, outlet, 0.0) == [19_200, 19_200]
    response.take(Failed(2, "broken off"))
    assert response.next(0.1) == Outcome("failed", "broken off")
    assert response.item(Outcome("failed", "broken off"), None).speech == [(35, 800)]


def test_the_next_sentence_is_made_while_the_first_one_comes() -> None:
    response, outlet = begun()
    response.take(Sentence(1, " Two."))
    assert spoken_since(response, outlet, 0.0) == []
    response.take(Spoken(2, bytes(ONE_SECOND)))
    while response.next(0.0):
        pass
    assert [command.text for command in outlet.take() if isinstance(command, Synthesize)] == ["Two."]
    response.take(Spoken(3, b"\1" * 4_800))
    response.take(Synthesized(3, b"\1" * 4_800))
    response.take(Synthesized(2, b""))
    assert sum(spoken_since(response, outlet, 0.1)) == ONE_SECOND - 38_400 + 9_600
    assert response.said.endswith(" Two.")


def test_a_response_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPOKEN, "x" * MAX_RESPONSE_CHARACTERS, b"")
    speaker = Speaker(["x" * MAX_RESPONSE_CHARACTERS, "y"])
    assert speaker.run()[-1] == Outcome("incomplete", "max_output_tokens")
    assert speaker.cancelled == [1]
    assert "y" not in speaker.response.said


def test_a_clock_that_was_overtaken_starts_again() -> None:
    speaker = Speaker(["One."], ahead_milliseconds=200)
    assert speaker.step(0) is None, "it asks for sentences first"
    assert speaker.step(0) is None, "and for the sentence's audio"
    assert isinstance(speaker.step(0), TextDelta), "the text goes with it"
    assert isinstance(speaker.step(0), AudioDelta)
    assert isinstance(speaker.step(10), AudioDelta), "a pause is not made up for by a burst"
    assert speaker.step(10) is None
    assert speaker.response.wait_until is not None


@pytest.mark.parametrize("failure", [Failed(1, "no model"), Responded(1, Outcome("failed", "no model"))])
def test_audio_that_comes_after_a_failure_is_not_spoken(failure: Failed | Responded) -> None:
    outlet = Outlet(MessageIds(0))
    response = Response(REQUEST, Conversation(SessionConfig(), []), 2000, outlet, context)
    response.next(0)
    response.take(Sentence(1, "One."))
    assert response.next(0) is None
    response.take(failure)
    response.take(Synthesized(2, SPOKEN["One."]))
    assert isinstance(response.next(0), TextDelta), "what it would have said can still be read"
    assert response.next(0) == Outcome("failed", "no model")


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
    assert respond_to([*before, Item("q", "user", question)]).startswith(want)
