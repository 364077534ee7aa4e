"""The built-in stages for real: silero hears espeak-ng's voice in a stream of packets, pocketsphinx understands it, and
espeak-ng gives the same audio for the same text, whoever asks."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from litevoice_contracts.conversation import (
    CODEC_BYTES_PER_SECOND,
    Codec,
    Item,
    ResponseRequest,
    SessionConfig,
)
from litevoice_contracts.envelopes import MessageIds, ResumePoint
from litevoice_contracts.errors import InvalidField
from litevoice_contracts.events import AudioDelta
from litevoice_dev.speech import speak
from litevoice_worker.audio import SAMPLE_RATES, Samples, decode, encode, resample
from litevoice_worker.commands import Outcome, Respond, Responded, Sentence, Synthesize, Synthesized
from litevoice_worker.conversation import Conversation
from litevoice_worker.outlet import Outlet
from litevoice_worker.response import Response
from litevoice_worker.sentences import split
from litevoice_worker.stages import StageError
from litevoice_worker.stages.respond_local import respond_to
from litevoice_worker.stages.synthesize_espeak import EspeakOptions, EspeakSynthesizer
from litevoice_worker.stages.transcribe_pocketsphinx import (
    PocketsphinxOptions,
    PocketsphinxTranscriber,
    default_grammar,
)
from litevoice_worker.stages.vad import SileroNetwork
from tests.ear import Ear, sliced
from tests.stage_context import CONTEXT, context

DEMO_QUESTIONS = [
    "what is the capital of france",
    "tell me the story of the lighthouse",
    "what did i ask first",
    "how many days are in a week",
    "tell me about the moon",
]
PCM: Codec = "pcm16/24000"


@pytest.fixture
async def transcriber() -> AsyncIterator[PocketsphinxTranscriber]:
    made = PocketsphinxTranscriber(PocketsphinxOptions())
    yield made
    await made.close()


@pytest.fixture(scope="module")
def network() -> SileroNetwork:
    return SileroNetwork()


def hear(network: SileroNetwork, stream: bytes, codec: Codec = PCM, packet_milliseconds: int = 20) -> Ear:
    """What a session makes of a stream in packets."""
    ear = Ear(lambda stream, windows: network.advance([stream], [windows])[0])
    for packet in sliced(stream, packet_milliseconds, codec):
        ear.hear([packet])
    return ear


def silence(seconds: float, codec: Codec = PCM) -> bytes:
    return encode(np.zeros(int(seconds * SAMPLE_RATES[codec]), np.int16), codec)


@pytest.mark.parametrize("voice", ["en", "en-us"])
async def test_questions_in_a_stream_are_understood_exactly(
    transcriber: PocketsphinxTranscriber, network: SileroNetwork, voice: str
) -> None:
    stream = silence(1.0)
    for question in DEMO_QUESTIONS:
        stream += await speak(question, voice=voice) + silence(1.2)
    utterances = hear(network, stream).utterances
    assert [await transcriber.transcribe(utterance.samples, CONTEXT) for utterance in utterances] == DEMO_QUESTIONS


@pytest.mark.parametrize("codec", ["g711_ulaw/8000", "g711_alaw/8000"])
async def test_a_telephone_is_understood_too(
    transcriber: PocketsphinxTranscriber, network: SileroNetwork, codec: Codec
) -> None:
    speech = resample(decode(await speak(DEMO_QUESTIONS[0]), PCM), 24_000, 8_000)
    stream = silence(0.6, codec) + encode(speech, codec) + silence(1.2, codec)
    (utterance,) = hear(network, stream, codec).utterances
    assert await transcriber.transcribe(utterance.samples, context(language="en")) == DEMO_QUESTIONS[0]


async def test_the_size_of_packets_changes_nothing(
    transcriber: PocketsphinxTranscriber, network: SileroNetwork
) -> None:
    stream = silence(0.5) + await speak(DEMO_QUESTIONS[1]) + silence(1.0)
    for milliseconds in (10, 100, 10_000):
        (utterance,) = hear(network, stream, packet_milliseconds=milliseconds).utterances
        assert await transcriber.transcribe(utterance.samples, CONTEXT) == DEMO_QUESTIONS[1]


def noises() -> dict[str, Samples]:
    generator = np.random.default_rng(7)
    second = 16_000
    time = np.arange(2 * second) / second
    return {
        "silence": np.zeros(second, np.int16),
        "quiet noise": generator.normal(0, 30, 2 * second).astype(np.int16),
        "loud noise": generator.normal(0, 3000, 2 * second).astype(np.int16),
        "a whistle": (np.sin(2 * np.pi * 1000 * time) * 8000).astype(np.int16),
        "a hum": (np.sin(2 * np.pi * 50 * time) * 8000).astype(np.int16),
    }


@pytest.mark.parametrize("noise", noises())
async def test_noise_is_not_speech(transcriber: PocketsphinxTranscriber, network: SileroNetwork, noise: str) -> None:
    samples = noises()[noise]
    assert await transcriber.transcribe(samples, CONTEXT) == ""
    ear = hear(network, resample(samples, 16_000, 24_000).tobytes())
    assert ear.found == []
    assert ear.listened > 0 or noise == "silence", "it is the network that says so"


def sentences_of_the_grammar() -> list[str]:
    """Every sentence that the built-in grammar has, with a few of the sums."""
    text = re.sub(r"//.*", "", default_grammar())
    rules = dict(re.findall(r"<(\w+)> =([^;]*);", text))

    def expand(expression: str) -> list[str]:
        alternatives, depth, current = [], 0, ""
        for character in expression:
            depth += {"(": 1, ")": -1}.get(character, 0)
            if character == "|" and depth == 0:
                alternatives.append(current)
                current = ""
            else:
                current += character
        found: list[str] = []
        for alternative in [*alternatives, current]:
            parts = re.findall(r"\([^)]*\)|<\w+>|\w+", alternative)
            choices = [
                expand(part[1:-1])
                if part[0] == "("
                else (["two", "seven"] if part == "<number>" else expand(rules[part[1:-1]]))
                if part[0] == "<"
                else [part]
                for part in parts
            ]
            found += [" ".join(words) for words in product(*choices)]
        return found

    return expand(rules["utterance"])


async def test_nearly_every_sentence_of_the_grammar_is_understood_and_answered(
    transcriber: PocketsphinxTranscriber,
) -> None:
    sentences = sentences_of_the_grammar()
    assert len(sentences) > 40
    wrong: dict[str, str] = {}
    for sentence in sentences:
        assert not respond_to([Item("i", "user", sentence)]).startswith("You said"), sentence
        speech = resample(decode(silence(0.3) + await speak(sentence) + silence(0.5), PCM), 24_000, 16_000)
        heard = await transcriber.transcribe(speech, CONTEXT)
        if heard != sentence:
            wrong[sentence] = heard
    assert not set(wrong) & set(DEMO_QUESTIONS), wrong
    assert len(wrong) <= len(sentences) // 20, wrong


async def test_other_languages_are_refused(transcriber: PocketsphinxTranscriber) -> None:
    with pytest.raises(StageError, match="English only"):
        await transcriber.transcribe(np.zeros(100, np.int16), context(language="de"))


@pytest.mark.parametrize("grammar", ["no grammar", "#JSGF V1.0; grammar g; public <x> = flibbertigibbetish;"])
async def test_a_bad_grammar_is_named(grammar: str, tmp_path: Path) -> None:
    file = tmp_path / "grammar.gram"
    file.write_text(grammar)
    with pytest.raises(InvalidField, match=r"^grammarFile"):
        await PocketsphinxTranscriber(PocketsphinxOptions(grammar_file=str(file))).start()
    with pytest.raises(InvalidField, match="readable text file"):
        PocketsphinxTranscriber(PocketsphinxOptions(grammar_file="/nowhere/grammar.gram"))


STORY = respond_to([Item("i", "user", "tell me the story of the lighthouse")])


async def spoken(sentences: list[str], resume: ResumePoint | None = None) -> bytes:
    """All audio of a response, with time passing as it wants."""
    synthesizer, outlet = EspeakSynthesizer(EspeakOptions()), Outlet(MessageIds(0))
    conversation = Conversation(SessionConfig(), [])
    response = Response(ResponseRequest("r", "i"), conversation, 2000, outlet, context, resume=resume)
    audio, now = b"", 0.0
    while True:
        match response.next(now):
            case AudioDelta(_, _, piece):
                audio += piece
            case Outcome():
                return audio
            case None:
                now = response.wait_until or now
        for command in outlet.take():
            match command:
                case Respond(job):
                    for sentence in sentences:
                        response.take(Sentence(job, sentence))
                    response.take(Responded(job, Outcome()))
                case Synthesize(job, text):
                    response.take(Synthesized(job, await synthesizer.synthesize(text, "default", 1.0, PCM, CONTEXT)))


async def test_another_worker_continues_a_story_to_the_byte() -> None:
    sentences = split(STORY)
    whole = await spoken(sentences)
    assert len(whole) > 20 * CODEC_BYTES_PER_SECOND[PCM], "a story to interrupt"
    lengths = [
        len(await EspeakSynthesizer(EspeakOptions()).synthesize(s.strip(), "default", 1.0, PCM, CONTEXT))
        for s in sentences[:3]
    ]
    for heard in (0, 1, 9_600, lengths[2] - 1, lengths[2]):
        resume = ResumePoint("r", "i", "".join(sentences[:2]), sentences[2], heard)
        rest = await spoken(sentences[3:], resume)
        assert rest == whole[lengths[0] + lengths[1] + heard :]


@pytest.mark.parametrize("codec", list(CODEC_BYTES_PER_SECOND))
async def test_espeak_speaks_every_codec(codec: Codec) -> None:
    synthesizer = EspeakSynthesizer(EspeakOptions())
    audio = await synthesizer.synthesize("Hello world.", "default", 1.0, codec, CONTEXT)
    assert 0.5 < len(audio) / CODEC_BYTES_PER_SECOND[codec] < 2
    assert np.abs(decode(audio, codec)).max() > 3000
    faster = await synthesizer.synthesize("Hello world.", "default", 1.5, codec, CONTEXT)
    assert len(faster) < len(audio)
    assert await synthesizer.synthesize(" … ", "default", 1.0, codec, CONTEXT) == b""


async def test_voices() -> None:
    synthesizer = EspeakSynthesizer(EspeakOptions())
    await synthesizer.start()
    own = await synthesizer.synthesize("Hello.", "default", 1.0, PCM, CONTEXT)
    assert await synthesizer.synthesize("Hello.", "alloy", 1.0, PCM, CONTEXT) == own, "espeak-ng crashes on this one"
    assert await synthesizer.synthesize("Hello.", "../../etc/passwd", 1.0, PCM, CONTEXT) == own
    assert await synthesizer.synthesize("Hello.", "en-us", 1.0, PCM, CONTEXT) != own
    with pytest.raises(InvalidField, match=r"^voice"):
        await EspeakSynthesizer(EspeakOptions(voice="nobody")).start()
    with pytest.raises(InvalidField, match="not installed"):
        await EspeakSynthesizer(EspeakOptions(), program="espeak-nowhere").start()
    with pytest.raises(StageError, match="cannot be started"):
        await EspeakSynthesizer(EspeakOptions(), program="/nowhere/espeak-ng").synthesize(
            "x", "default", 1.0, PCM, CONTEXT
        )
