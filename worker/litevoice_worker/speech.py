"""The audio of one sentence, as a synthesizer makes it. Sans I/O."""

from __future__ import annotations


class Speech:
    """Of the sentence that `job` makes, in samples of `sample_bytes`.

    Attributes:
        ended: no more of it comes.
        failure: why nothing more comes, "" for no reason.
        total: bytes that have come so far.
    """

    __slots__ = ("_audio", "_offset", "_sample_bytes", "ended", "failure", "job", "total")

    def __init__(self, job: int, sample_bytes: int) -> None:
        self.job = job
        self.ended = False
        self.failure = ""
        self.total = 0
        self._sample_bytes = sample_bytes
        self._audio = bytearray()
        self._offset = 0  # of what was taken; larger than what there is: so much is to be skipped

    @property
    def left(self) -> int:
        """Bytes that can be taken."""
        return max(0, len(self._audio) - self._offset)

    @property
    def taken(self) -> int:
        """Bytes that were taken or skipped."""
        return self._offset

    @property
    def over(self) -> bool:
        """Everything was taken."""
        return self.ended and not self.left

    def skip(self, size: int) -> None:
        """The client has so many bytes of it already, whether they have come or not. Before anything is taken."""
        self._offset += size

    def add(self, audio: bytes, *, ends: bool = False) -> None:
        """Half a sample at its end is left out: it would be the beginning of all that the client plays after it."""
        self._audio += audio
        if ends:
            del self._audio[len(self._audio) // self._sample_bytes * self._sample_bytes :]
        self.total = len(self._audio)
        self.ended = ends

    def look(self, size: int) -> bytes:
        """What comes next, at most so much of it."""
        return bytes(self._audio[self._offset : self._offset + size])

    def take(self, size: int) -> None:
        """Of what was looked at."""
        self._offset += size
