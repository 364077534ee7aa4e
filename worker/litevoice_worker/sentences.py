"""Cuts a stream of text into sentences, so that the first can be spoken while the rest is still being written."""

from __future__ import annotations

import re

MAX_SENTENCE_CHARACTERS = 400
"""A sentence that does not end is cut at the last space before this length: speech must not wait forever."""

_CLOSING = r"\"')\]»”’*_~」』）】》〉"
_SPACED = ".!?…؟۔।॥։።፧။៕។།᠃‼⁇⁈⁉\u037e"  # ends a sentence before white space
_UNSPACED = "。！？｡．"  # ends a sentence wherever it stands
_END = re.compile(
    rf"(?<![{_SPACED}])[{_SPACED}]++[{_CLOSING}]*+(?=\s)"  # a row of marks is looked at once, not from each of them
    # what follows is known, however the text is cut
    rf"|(?<![{_UNSPACED}])[{_UNSPACED}]++[{_CLOSING}]*+(?=[^{_UNSPACED}{_CLOSING}])"
    r"|\n"
)
_TITLES = "dr mr mrs ms prof hr fr st mt rev hon gen col lt sgt capt gov sen mme mlle sr sra srta dra sig dott dhr mevr"
_JOINING = "vs cf al approx ca bzw bspw evtl ggf inkl zzgl vgl geb ehem ej bijv"
_ABBREVIATED = frozenset(f"{_TITLES} {_JOINING}".split())
"""Words whose full stop is no end, in lower case; so is that of a letter ("J.", "z. B.") and of letters ("e.g.")."""
_AT_ITS_END = frozenset(["etc", "usw", "inc", "ltd", "co", "corp", "a.m", "p.m"])
"""Words that often end a sentence: it goes on when what follows is no capital."""
_BEFORE_NUMBER = frozenset(["no", "nos", "nr", "num", "fig", "art", "abs", "sec", "ch", "vol", "pp", "pag"])
"""Words whose full stop is no end before a digit."""
_PRONOUNS = frozenset("I")
_ORDINAL_BEFORE = re.compile(r"(?:jan|feb|mär|apr|mai|jun|jul|aug|sep|okt|nov|dez|jah)", re.IGNORECASE)
"""What follows a German ordinal, "3. Oktober" or "19. Jahrhundert"."""
_LETTERS = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")
_UNIT = re.compile(r"\d[^\S\n]?[a-z]\Z")
"""A letter behind a number, "3.5 m", is no abbreviation."""
_LIST_NUMBER = re.compile(r"\d{1,3}")
_DAY = re.compile(r"\d{1,2}")
_WORD = re.compile(r"[^\s\"'(\[{„“‚‘«»/-]*\Z")
_FOLLOWING = re.compile(r"[^\S\n]*")
MAX_WORD_CHARACTERS = 32
"""So far before a full stop is looked for its word: no abbreviation is longer."""

PHRASE_CHARACTERS = 40
"""Thai and Lao have neither full stops nor spaces between words: they are cut at a space between phrases, so far from
the beginning at least."""
_PHRASE = re.compile(
    r"(?<=[\u0e01-\u0e4e\u0e81-\u0ece]) +"
    r"(?=[\u0e01-\u0e45\u0e47-\u0e4e\u0e81-\u0ec5\u0ec7-\u0ece])"  # not before a mark that repeats the word
)


class SentenceSplitter:
    """The same sentences come out however the text is cut into pieces; joined, they are the text again."""

    def __init__(self) -> None:
        self._buffer = ""

    def feed(self, text: str) -> list[str]:
        """Sentences that are complete now, each with the white space before it."""
        self._buffer += text
        sentences, begin = list[str](), 0
        while (size := _cut(self._buffer[begin : begin + MAX_SENTENCE_CHARACTERS + 1])) is not None:
            sentences.append(self._buffer[begin : begin + size])
            begin += size
        self._buffer = self._buffer[begin:]
        return sentences

    def flush(self) -> list[str]:
        """The unfinished rest, [] if there is none."""
        rest, self._buffer = self._buffer, ""
        return [rest] if rest.strip() else []


def _cut(head: str) -> int | None:
    """Where the first sentence of a text ends, of which these are the first characters."""
    begin = len(head) - len(head.lstrip())
    phrase = _PHRASE.search(head, begin + PHRASE_CHARACTERS)
    for match in _END.finditer(head, begin):
        if phrase is not None and phrase.start() < match.start():
            break
        ends = _ends(head, begin, match)
        if ends is None and len(head) <= MAX_SENTENCE_CHARACTERS:
            return None
        if ends and match.end() <= MAX_SENTENCE_CHARACTERS:
            return match.end()
    if phrase is not None and phrase.start() <= MAX_SENTENCE_CHARACTERS:
        return phrase.start()
    if len(head) <= MAX_SENTENCE_CHARACTERS:
        return None
    space = head.rfind(" ", begin + 1)
    return space if space > begin else MAX_SENTENCE_CHARACTERS


def _ends(text: str, begin: int, mark: re.Match[str]) -> bool | None:
    """Whether a mark ends the sentence that begins there; None when that depends on what has not come yet."""
    if mark[0] != ".":
        return True
    found = _WORD.search(text, max(begin, mark.start() - MAX_WORD_CHARACTERS), mark.start())
    word = found[0] if found is not None else ""
    at_the_beginning = mark.start() - len(word) == begin
    gap = _FOLLOWING.match(text, mark.end())
    following = text[gap.end() if gap is not None else mark.end() :]
    lower = word.lower()
    if lower in _AT_ITS_END:
        return not (following[0].islower() or following[0].isdigit()) if following else None
    if _UNIT.search(text, max(begin, mark.start() - 3), mark.start()):
        return True
    if lower in _ABBREVIATED or (_LETTERS.fullmatch(word) and word not in _PRONOUNS):
        return False
    if lower in _BEFORE_NUMBER:
        return not following[0].isdigit() if following else None
    if _LIST_NUMBER.fullmatch(word) and at_the_beginning:
        return False
    if _DAY.fullmatch(word):
        known = following[:3]
        undecided = not known or (len(known) < 3 and known.isalpha())
        return None if undecided else _ORDINAL_BEFORE.match(known) is None
    return True


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
