"""Speech to text without any service: pocketsphinx, which understands the sentences of a grammar and nothing else."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Executor
from importlib import resources
from pathlib import Path

import pocketsphinx

from litevoice_contracts.errors import InvalidField
from litevoice_worker.audio import Samples
from litevoice_worker.endpointing import SAMPLE_RATE
from litevoice_worker.stages import StageError

# British pronunciations of words that the bundled dictionary has in American only: espeak-ng's voice "en" is British.
_PRONUNCIATIONS = {
    "ask": "AA S K",
    "far": "F AA",
    "france": "F R AA N S",
    "hour": "AW AH",
    "morning": "M AO N IH NG",
    "story": "S T AO R IY",
    "weather": "W EH DH AH",
}


class PocketsphinxTranscriber:
    """`grammar` is JSGF text. Decoders are made on first use, one per thread of the executor."""

    def __init__(self, grammar: str, executor: Executor) -> None:
        self._grammar = grammar
        self._executor = executor
        self._local = threading.local()

    async def transcribe(self, samples: Samples, language: str) -> str:
        if language not in ("", "en"):
            raise StageError(f"the built-in recognizer understands English only, not {language!r}")
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._decode, samples)

    async def close(self) -> None:
        """The executor belongs to whoever made it."""

    async def prepare(self) -> None:
        """Makes the first decoder. Raises InvalidField if the grammar cannot be used."""
        await asyncio.get_running_loop().run_in_executor(self._executor, self._decoder)

    def _decode(self, samples: Samples) -> str:
        decoder = self._decoder()
        decoder.start_utt()
        decoder.process_raw(samples.astype("<i2", copy=False).tobytes(), full_utt=True)
        decoder.end_utt()
        hypothesis = decoder.hyp()
        return str(hypothesis.hypstr) if hypothesis is not None else ""

    def _decoder(self) -> pocketsphinx.Decoder:
        decoder = getattr(self._local, "decoder", None)
        if decoder is None:
            decoder = _make_decoder(self._grammar)
            self._local.decoder = decoder
        return decoder


def default_grammar() -> str:
    """The grammar that comes with litevoice."""
    return resources.files(__package__).joinpath("english.gram").read_text()


def read_grammar(path: str) -> str:
    """The grammar in a file, the default for "". Raises InvalidField if it cannot be read."""
    if not path:
        return default_grammar()
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidField("pipeline.transcriber.grammarFile", f"a readable text file, {path}: {error}") from error


def _make_decoder(grammar: str) -> pocketsphinx.Decoder:
    # Without bestpath a hypothesis is a whole sentence of the grammar or nothing. The beams are wide enough for clear
    # speech and narrow enough to reject noise.
    decoder = pocketsphinx.Decoder(
        samprate=SAMPLE_RATE,
        lm=None,
        loglevel="FATAL",
        bestpath=False,
        beam=1e-80,
        pbeam=1e-80,
        wbeam=1e-50,
        cmn="batch",
    )
    for word, phones in _PRONUNCIATIONS.items():
        decoder.add_word(f"{word}(british)", phones, False)
    try:
        decoder.add_jsgf_string("grammar", grammar)
        decoder.activate_search("grammar")
    except (RuntimeError, ValueError, KeyError) as error:
        expected = "a JSGF grammar with one public rule and words of the dictionary only"
        raise InvalidField("pipeline.transcriber.grammarFile", expected) from error
    return decoder
