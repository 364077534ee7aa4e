"""What of a sentence is for the ear: a model writes Markdown, links and emoji, which a voice would read out as signs.

Pure. The client gets the text as it was written.
"""

from __future__ import annotations

import re
import unicodedata

_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^)\s]{0,2048}\)")
_URL = re.compile(r"\bhttps?://(?:www\.)?([^\s/?#<>\"')\]]+)[^\s<>\"')\]]*", re.IGNORECASE)
_BLANK = r"[^\S\n]"
_LINE = (
    re.compile(  # nothing in it goes beyond its line, nor twice over the same: a model may write thousands of anything
        rf"^{_BLANK}*+(?:#{{1,6}}(?:{_BLANK}+|$)|>{_BLANK}?|(?:[-*_]{_BLANK}?){{3,}}+$|[-*+•](?:{_BLANK}+|$)"
        rf"|(?:{_BLANK}|[:-])*+\|(?:{_BLANK}|[:|-])*+$|```.*$)",
        re.MULTILINE,
    )
)
_EMPHASIS = re.compile(r"(?<![^\W_])(\*{1,3}|_{1,3}|~~)(?=\S)|(?<=\S)(\*{1,3}|_{1,3}|~~)(?![^\W_])|`+")
_TRAILING = ".,;:!?"
_NO_SOUND = {0x200D, 0xFE0E, 0xFE0F, 0x20E3}  # what joins, and chooses the look of, an emoji


def speakable(sentence: str) -> str:
    """The sentence without marks that are for the eye; "" when nothing of it is to be said."""
    text = _LINK.sub(r"\1", sentence)
    text = _URL.sub(_host, text)
    text = _LINE.sub("", text)
    text = _EMPHASIS.sub("", text).replace("|", ", ")
    text = "".join(character for character in text if not _is_picture(character))
    text = " ".join(text.split())
    return text if any(character.isalnum() for character in text) else ""


def _host(url: re.Match[str]) -> str:
    whole, host = url[0], url[1].rstrip(_TRAILING)
    return host + (whole[-1] if whole[-1] in _TRAILING else "")


def _is_picture(character: str) -> bool:
    """An emoji or its like, which has a name and no sound. Signs such as ° € + = have one."""
    code = ord(character)
    return code in _NO_SOUND or (code >= 0x2190 and unicodedata.category(character) in ("So", "Sk", "Cn", "Co"))
