"""How much of an answer its listener has heard, in words. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from litevoice_contracts.conversation import Item


def heard(text: str, speech: Sequence[tuple[int, int]], milliseconds: int) -> tuple[str, list[tuple[int, int]]]:
    """The beginning of an answer that takes so long to say, to the last whole word, and its speech (see Item).

    Within a sentence, each character counts alike. Of an answer whose speech is unknown it is all, or nothing at 0.
    """
    if not speech:
        return (text if milliseconds > 0 else ""), []
    kept = list[tuple[int, int]]()
    begin, left = 0, max(0, milliseconds)
    for characters, length in speech:
        if left < length:
            end = _whole_words(text, begin, begin + characters * left // length)
            return text[:end], [*kept, (end - begin, left)] if end > begin else kept
        kept.append((characters, length))
        begin += characters
        left -= length
    return text[:begin], kept


def truncated(item: Item, milliseconds: int) -> Item:
    """What is left of an answer when only so much of it was heard."""
    text, speech = heard(item.text, item.speech, milliseconds)
    return replace(item, text=text, speech=speech, complete=item.complete and text == item.text)


def _whole_words(text: str, begin: int, end: int) -> int:
    """`end`, or where the word that it cuts begins; in a script without spaces each character is a word."""
    if end >= len(text) or text[end].isspace():
        return min(end, len(text))
    space = max((index for index in range(begin, end) if text[index].isspace()), default=None)
    sentence_has_spaces = any(character.isspace() for character in text[begin:].strip())
    if space is not None:
        return space
    return begin if sentence_has_spaces else end
