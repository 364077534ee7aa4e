"""What a voice says of what a model writes, and where it takes a breath."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litevoice_worker.sentences import SentenceSplitter, split
from litevoice_worker.speakable import speakable

SPOKEN = [
    ("Plain words, 3.5 °C and 20 €: 2 + 2 = 4.", "Plain words, 3.5 °C and 20 €: 2 + 2 = 4."),
    ("This is **very** important, *really*, __yes__.", "This is very important, really, yes."),
    ("***Stop!*** ~~No.~~", "Stop! No."),
    ("Call `make test` now.", "Call make test now."),
    ("2 * 3 * 4 and snake_case_name stay.", "2 * 3 * 4 and snake_case_name stay."),
    ("## A headline", "A headline"),
    ("- first\n- second\n", "first second"),
    ("* a point", "a point"),
    ("1. One", "1. One"),
    ("> quoted", "quoted"),
    ("See [the docs](https://example.com/a?b=c).", "See the docs."),
    ("![a cat](cat.png)", "a cat"),
    ("Go to https://www.example.com/path/to?x=1.", "Go to example.com."),
    ("Hello 👋🏽 there 😀! 👨‍👩‍👧 ❤️", "Hello there !"),
    ("🎉", ""),
    ("---", ""),
    ("```python", ""),
    ("#\nA headline", "A headline"),
    ("-\n\n  - first\n-  \nsecond", "first second"),
    ("- - -\nOne.\n* * *", "One."),
    ("One.\n\n\n## Two.", "One. Two."),
    ("|---|:--:|\nOne.", "One."),
    ("a [b](c) [d]", "a b [d]"),
    ("| a | b |", ", a , b ,"),
    (" Zwei Äpfel, на русском, 日本語。", "Zwei Äpfel, на русском, 日本語。"),
]


@pytest.mark.parametrize(("written", "spoken"), SPOKEN)
def test_what_is_said(written: str, spoken: str) -> None:
    assert speakable(written) == spoken


@pytest.mark.parametrize(
    "mark", ["\n", " ", "[", "|", "-", "*", "_", "- ", "#", "`", "[a](", "![", "https://", "\n\n- "]
)
def test_a_model_that_writes_the_same_for_ever_holds_up_nobody(mark: str) -> None:
    """Some took seconds for a sentence of this length, or days."""
    assert speakable(mark * 20_000 + "\nOne.").endswith("One.")


@given(st.text(max_size=80))
def test_nothing_without_a_letter_or_a_digit_is_said(text: str) -> None:
    said = speakable(text)
    assert said == "" or any(character.isalnum() for character in said)


SENTENCES = [
    ["One.", " Two!", " Three?"],
    ["今日は晴れです。", "明日は雨です！", "「そうですか？」", "はい。"],
    ["你好！！", "很高兴认识你。"],
    ["यह पहला है।", " यह दूसरा है।"],
    ["هل هذا سؤال؟", " نعم."],
    ["ជំរាបសួរ។", " អ្នកសុខសប្បាយទេ?"],
    ["བཀྲ་ཤིས།", " བདེ་ལེགས།"],
    ["Τι κάνεις\u037e", " Καλά."],
    ["**Bold.**", " _Next._", " Last."],
    ["It costs 3.50 and e.g.this stays.", " Yes."],
]


@pytest.mark.parametrize("sentences", SENTENCES)
def test_sentences_of_all_scripts(sentences: list[str]) -> None:
    text = "".join(sentences)
    assert split(text) == sentences
    piecewise = SentenceSplitter()
    assert [sentence for character in text for sentence in piecewise.feed(character)] + piecewise.flush() == sentences
