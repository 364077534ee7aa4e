"""Frames to messages, as RFC 6455 wants them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litevoice_gateway import frames
from litevoice_gateway.frames import Assembler, Binary, Broken, PeerClose, Ping, Pong, Text

LIMIT = 1000
Frame = tuple[int, bytes, bool]


def run(*sent: Frame, limit: int = LIMIT) -> list[frames.Message]:
    assembler = Assembler(limit)
    got = [assembler.frame(opcode, payload, fin=fin, reserved=False) for opcode, payload, fin in sent]
    return [message for message in got if message is not None]


@given(
    st.text(max_size=200),
    st.lists(st.integers(0, 800), max_size=8),
    st.lists(st.sampled_from([(frames.PING, b"p"), (frames.PONG, b"")]), max_size=8),
)
def test_a_message_arrives_whole_however_it_is_cut(
    text: str, cuts: list[int], between: list[tuple[int, bytes]]
) -> None:
    payload = text.encode()
    edges = [0, *sorted(min(cut, len(payload)) for cut in cuts), len(payload)]
    pieces = [payload[begin:end] for begin, end in itertools.pairwise(edges)]
    sent: list[Frame] = []
    for number, piece in enumerate(pieces):
        sent.append((frames.CONTINUATION if number else frames.TEXT, piece, number == len(pieces) - 1))
        if number < len(between) and number < len(pieces) - 1:
            sent.append((*between[number], True))
    got = run(*sent)
    assert [message for message in got if isinstance(message, Text)] == [Text(text)]
    assert got[-1] == Text(text)


@pytest.mark.parametrize(
    ("description", "sent", "expected"),
    [
        ("binary", [(frames.BINARY, b"ab", True)], [Binary(b"ab")]),
        ("ping", [(frames.PING, b"x", True)], [Ping(b"x")]),
        ("pong", [(frames.PONG, b"x", True)], [Pong()]),
        ("close with code", [(frames.CLOSE, b"\x03\xe8bye", True)], [PeerClose(1000)]),
        ("close without code", [(frames.CLOSE, b"", True)], [PeerClose(frames.NO_STATUS)]),
        ("at the limit", [(frames.TEXT, b"x" * LIMIT, True)], [Text("x" * LIMIT)]),
        (
            "at the limit in fragments",
            [(frames.TEXT, b"x" * 600, False), (frames.CONTINUATION, b"x" * 400, True)],
            [Text("x" * LIMIT)],
        ),
    ],
)
def test_messages(description: str, sent: list[Frame], expected: list[frames.Message]) -> None:
    assert run(*sent) == expected, description


@pytest.mark.parametrize(
    ("description", "sent", "code"),
    [
        ("continuation of nothing", [(frames.CONTINUATION, b"x", True)], 1002),
        ("text within text", [(frames.TEXT, b"x", False), (frames.TEXT, b"y", True)], 1002),
        ("binary within text", [(frames.TEXT, b"x", False), (frames.BINARY, b"y", True)], 1002),
        ("text is not UTF-8", [(frames.TEXT, b"\xff\xfe", True)], 1007),
        ("fragments are not UTF-8", [(frames.TEXT, b"\xc3", False), (frames.CONTINUATION, b"(", True)], 1007),
        ("over the limit", [(frames.TEXT, b"x" * (LIMIT + 1), True)], 1009),
        (
            "over the limit in fragments",
            [(frames.TEXT, b"x" * 600, False), (frames.CONTINUATION, b"x" * 401, True)],
            1009,
        ),
        (
            "over the limit, and no end",
            [(frames.TEXT, b"x" * 600, False), (frames.CONTINUATION, b"x" * 401, False)],
            1009,
        ),
    ],
)
def test_broken(description: str, sent: list[Frame], code: int) -> None:
    last = run(*sent)[-1]
    assert isinstance(last, Broken), description
    assert last.code == code, description


def test_reserved_bits_need_an_extension() -> None:
    broken = Assembler(LIMIT).frame(frames.TEXT, b"x", fin=True, reserved=True)
    assert isinstance(broken, Broken)
    assert broken.code == 1002


def test_a_message_that_is_too_large_takes_no_memory() -> None:
    assembler = Assembler(LIMIT)
    assembler.frame(frames.TEXT, b"x" * 900, fin=False, reserved=False)
    for _ in range(100):
        assembler.frame(frames.CONTINUATION, b"x" * 900, fin=False, reserved=False)
    assert assembler._parts == []


def test_a_message_of_endless_nothing_takes_no_memory() -> None:
    assembler = Assembler(LIMIT)
    assembler.frame(frames.TEXT, b"", fin=False, reserved=False)
    for number in range(frames.MAX_FRAMES):
        broken = assembler.frame(frames.CONTINUATION, b"", fin=False, reserved=False)
        assert (broken is None) == (number < frames.MAX_FRAMES - 1)
    assert isinstance(broken, Broken)
    assert broken.code == 1009
    assert assembler._parts == []


@given(st.lists(st.tuples(st.sampled_from([0, 1, 2, 8, 9, 10]), st.binary(max_size=1500), st.booleans()), max_size=12))
def test_no_sequence_of_frames_raises(sent: list[Frame]) -> None:
    run(*sent)
