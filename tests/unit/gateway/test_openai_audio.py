"""Audio of OpenAI Realtime: base64 in any form, cut anywhere, even within a sample."""

from __future__ import annotations

import base64
import json

import pytest

from litevoice_contracts.conversation import SessionConfig
from litevoice_contracts.packets import Audio
from litevoice_gateway.protocols import Refusal
from litevoice_gateway.protocols.openai_realtime import OpenAIRealtime
from tests.unit.gateway.openai_events import CONFIG, PCM, PROTOCOL, decode


def test_telephone_audio_may_have_any_length() -> None:
    config = SessionConfig(input_codec="g711_ulaw/8000")
    assert decode({"type": "input_audio_buffer.append", "audio": "AAAA"}, config) == Audio(b"\0\0\0")


@pytest.mark.parametrize("size", [1, 3, 1323])
def test_audio_may_be_cut_within_a_sample(size: int) -> None:
    protocol, audio, got = OpenAIRealtime(lambda: "item_new"), bytes(range(256)) * 20, b""
    for begin in range(0, len(audio), size):
        slice_ = base64.b64encode(audio[begin : begin + size]).decode()
        for event in protocol.decode(json.dumps({"type": "input_audio_buffer.append", "audio": slice_}), CONFIG):
            assert isinstance(event.packet, Audio)
            assert len(event.packet.data) % 2 == 0
            got += event.packet.data
    assert got == audio


def test_half_a_sample_ends_with_its_buffer() -> None:
    protocol = OpenAIRealtime(lambda: "item_new")
    append = {"type": "input_audio_buffer.append", "audio": base64.b64encode(b"\1\2\3").decode()}
    for end in ("commit", "clear"):
        protocol.decode(json.dumps(append), CONFIG)
        protocol.decode(json.dumps({"type": f"input_audio_buffer.{end}"}), CONFIG)
        (event,) = protocol.decode(json.dumps(append), CONFIG)
        assert event.packet == Audio(b"\1\2")


def test_half_a_sample_ends_with_its_codec() -> None:
    protocol, telephone = OpenAIRealtime(lambda: "item_new"), SessionConfig(input_codec="g711_ulaw/8000")
    append = {"type": "input_audio_buffer.append", "audio": base64.b64encode(b"\1\2\3").decode()}

    def change(kind: str, before: SessionConfig) -> None:
        audio = {"input": {"format": {"type": kind}}}
        protocol.decode(json.dumps({"type": "session.update", "session": {"audio": audio}}), before)

    protocol.decode(json.dumps(append), CONFIG)
    change("audio/pcmu", CONFIG)
    protocol.decode(json.dumps(append), telephone)
    change("audio/pcm", telephone)
    (event,) = protocol.decode(json.dumps(append), CONFIG)
    assert event.packet == Audio(b"\1\2")
    change("audio/pcm", CONFIG)  # nothing changes: the sample goes on
    (event,) = protocol.decode(json.dumps(append), CONFIG)
    assert event.packet == Audio(b"\3\1\2\3")


def test_appends_that_are_counted_have_whole_samples() -> None:
    protocol = OpenAIRealtime(lambda: "item_new", confirmed_appends=0)
    half = {"type": "input_audio_buffer.append", "event_id": "mine", "audio": base64.b64encode(b"\1\2\3").decode()}
    with pytest.raises(Refusal) as refusal:
        protocol.decode(json.dumps(half), CONFIG)
    assert (refusal.value.problem.code, refusal.value.problem.event_id) == ("invalid_audio_length", "mine")
    (event,) = protocol.decode(json.dumps(half | {"audio": PCM}), CONFIG)
    assert event.client_seq == 2


@pytest.mark.parametrize(
    "audio",
    ["+/+/AA==", "+/+/AA", "-_-_AA", "+/+/\r\nAA==\n", " +/+/ \n\tAA== "],
    ids=["plain", "bare", "url", "lines", "blanks"],
)
def test_base64_in_any_form(audio: str) -> None:
    assert decode({"type": "input_audio_buffer.append", "audio": audio}) == Audio(b"\xfb\xff\xbf\x00")


def test_nothing_is_no_event() -> None:
    assert PROTOCOL.decode('{"type": "input_audio_buffer.append", "audio": ""}', CONFIG) == ()
