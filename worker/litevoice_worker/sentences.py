"""Cuts a stream of text into sentences, so that the first can be spoken while the rest is still being written."""

from __future__ import annotations

import re

MAX_SENTENCE_CHARACTERS = 400
"""A sentence that does not end is cut at the last space before this length: speech must not wait forever."""

_CLOSING = r"\"')\]»”’*_~」』）】》〉"
_SPACED = ".!?…؟۔।॥։።፧။៕។།᠃‼⁇⁈⁉\u037e"  # ends a sentence before white space
_UNSPACED = "。！？｡．"  # ends a sentence wherever it stands
_END = re.compile(
    rf"[{_SPACED}]+[{_CLOSING}]*(?=\s)"
    rf"|[{_UNSPACED}]+[{_CLOSING}]*(?=[^{_UNSPACED}{_CLOSING}])"  # what follows is known, however the text is cut
    r"|\n"
)


class SentenceSplitter:
    """The same sentences come out however the text is cut into pieces; joined, they are the text again."""

    def __init__(self) -> None:
        self._buffer = ""

    def feed(self, text: str) -> list[str]:
        """Sentences that are complete now, each with the white space before it."""
        self._buffer += text
        sentences = []
        while (end := self._cut()) is not None:
            sentences.append(self._buffer[:end])
            self._buffer = self._buffer[end:]
        return sentences

    def flush(self) -> list[str]:
        """The unfinished rest, [] if there is none."""
        rest, self._buffer = self._buffer, ""
        return [rest] if rest.strip() else []

    def _cut(self) -> int | None:
        head = self._buffer[: MAX_SENTENCE_CHARACTERS + 1]
        begin = len(head) - len(head.lstrip())
        match = _END.search(head, begin)
        if match is not None and match.end() <= MAX_SENTENCE_CHARACTERS:
            return match.end()
        if len(head) <= MAX_SENTENCE_CHARACTERS:
            return None
        space = head.rfind(" ", begin + 1)
        return space if space > begin else MAX_SENTENCE_CHARACTERS


def split(text: str) -> list[str]:
    """All sentences of a text."""
    splitter = SentenceSplitter()
    return splitter.feed(text) + splitter.flush()


def unsaid(text: str, said: str) -> list[str]:
    """The sentences of an answer that are still to be said, after `said` of it."""
    position, rest = 0, []
    for sentence in split(text):
        position += len(sentence)
        if position > len(said):
            rest.append(sentence)
    return rest
