"""The process that a worker recognizes speech in: what pocketsphinx does to a process, it does to this one only.

It imports nothing of the worker, so that it starts quickly and stays small. Frames over one socket: length (4 bytes,
big endian) and content. First the grammar comes in, and "" goes out, or what is wrong. Then, for each utterance,
seconds that it may take (a double) and samples (16 bit, 16 kHz) come in, and the text goes out. It ends with the
socket.
"""

from __future__ import annotations

import signal
import socket
import struct
import sys
from collections.abc import Callable

SAMPLE_RATE = 16_000
BAD_GRAMMAR = b"grammar"

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

Decode = Callable[[bytes], str]


def send(connection: socket.socket, content: bytes) -> None:
    """Raises OSError."""
    connection.sendall(struct.pack(">I", len(content)) + content)


def receive(connection: socket.socket) -> bytes | None:
    """None when the other side has closed. Raises OSError."""
    header = _exactly(connection, 4)
    return None if header is None else _exactly(connection, struct.unpack(">I", header)[0])


def _exactly(connection: socket.socket, length: int) -> bytes | None:
    content = bytearray()
    while len(content) < length:
        piece = connection.recv(min(length - len(content), 1 << 20))
        if not piece:
            return None
        content += piece
    return bytes(content)


def serve(connection: socket.socket, make: Callable[[str], Decode]) -> None:
    """`make` gets the grammar; raises ValueError for one that cannot be used."""
    grammar = receive(connection)
    if grammar is None:
        return
    try:
        decode = make(grammar.decode())
    except ValueError:
        send(connection, BAD_GRAMMAR)
        return
    send(connection, b"")
    while (request := receive(connection)) is not None:
        # The kernel ends a process that hangs, also when the worker is dead by then.
        signal.setitimer(signal.ITIMER_REAL, struct.unpack_from(">d", request)[0])
        text = decode(request[8:])
        signal.setitimer(signal.ITIMER_REAL, 0)
        send(connection, text.encode())


def _make(grammar: str) -> Decode:
    import pocketsphinx  # the worker imports this module, too, for the frames

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
    except (RuntimeError, KeyError) as error:
        raise ValueError("no usable grammar") from error

    def decode(samples: bytes) -> str:
        decoder.start_utt()
        decoder.process_raw(samples, full_utt=True)
        decoder.end_utt()
        hypothesis = decoder.hyp()
        return str(hypothesis.hypstr) if hypothesis is not None else ""

    return decode


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), _make)
