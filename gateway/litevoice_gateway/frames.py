"""WebSocket frames to messages, sans I/O: picows delivers frames; RFC 6455's rules for messages are enforced here."""

from __future__ import annotations

import msgspec

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
PROTOCOL_ERROR = 1002
INVALID_TEXT = 1007
TOO_BIG = 1009
NO_STATUS = 1005
MAX_FRAMES = 4096
"""Of one message: each takes memory, even when it is empty, and is not counted as a message."""


class Text(msgspec.Struct, frozen=True, gc=False):
    content: str


class Binary(msgspec.Struct, frozen=True, gc=False):
    content: bytes


class Ping(msgspec.Struct, frozen=True, gc=False):
    payload: bytes


class Pong(msgspec.Struct, frozen=True, gc=False):
    pass


class PeerClose(msgspec.Struct, frozen=True, gc=False):
    """`code` is NO_STATUS when the peer gave none."""

    code: int


class Broken(msgspec.Struct, frozen=True, gc=False):
    """The peer violated the protocol: close with `code`."""

    code: int
    reason: str


Message = Text | Binary | Ping | Pong | PeerClose | Broken


class Assembler:
    """Reassembles the messages of one connection; one over `max_bytes` breaks it, because it may never end."""

    __slots__ = ("_max_bytes", "_opcode", "_parts", "_size")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._opcode: int | None = None
        self._parts: list[bytes] = []
        self._size = 0

    def frame(self, opcode: int, payload: bytes, *, fin: bool, reserved: bool) -> Message | None:
        """One frame; None while its message is not complete. Masking and control frame sizes are checked before."""
        if reserved:
            return Broken(PROTOCOL_ERROR, "reserved bits set without an extension")
        if opcode in (TEXT, BINARY) and fin and self._opcode is None and len(payload) <= self._max_bytes:
            return _text(payload) if opcode == TEXT else Binary(payload)
        if opcode == PING:
            return Ping(payload)
        if opcode == PONG:
            return Pong()
        if opcode == CLOSE:
            return PeerClose(int.from_bytes(payload[:2], "big") if len(payload) >= 2 else NO_STATUS)
        if (opcode == CONTINUATION) == (self._opcode is None):
            return Broken(
                PROTOCOL_ERROR, "a continuation frame outside a message, or a new message inside an unfinished one"
            )
        if self._opcode is None:
            self._opcode = opcode
        self._size += len(payload)
        if self._size > self._max_bytes:
            self._parts.clear()
            return Broken(TOO_BIG, f"expected a message of at most {self._max_bytes} bytes")
        if len(self._parts) >= MAX_FRAMES:
            self._parts.clear()
            return Broken(TOO_BIG, f"expected a message of at most {MAX_FRAMES} frames")
        self._parts.append(payload)
        return self._complete() if fin else None

    def _complete(self) -> Message:
        opcode, parts = self._opcode, self._parts
        self._opcode, self._parts, self._size = None, [], 0
        payload = b"".join(parts)
        return _text(payload) if opcode == TEXT else Binary(payload)


def _text(payload: bytes) -> Message:
    try:
        return Text(payload.decode())
    except UnicodeDecodeError:
        return Broken(INVALID_TEXT, "text that is not UTF-8")
