"""What is remembered of an answer that was interrupted: what was heard, in whole words."""

from __future__ import annotations

import pytest

from litevoice_worker.heard import heard

TEXT = "One two three. Four five six."
SPEECH = [(14, 1400), (15, 3000)]
CASES: list[tuple[str, str, list[tuple[int, int]], int, str]] = [  # case, text, speech, milliseconds, remembered
    ("nothing", TEXT, SPEECH, 0, ""),
    ("a piece of the first word", TEXT, SPEECH, 200, ""),
    ("the first word", TEXT, SPEECH, 300, "One"),
    ("a piece of the second word", TEXT, SPEECH, 600, "One"),
    ("the first sentence", TEXT, SPEECH, 1400, "One two three."),
    ("a piece of the second sentence", TEXT, SPEECH, 1400 + 1400, "One two three. Four"),
    ("all", TEXT, SPEECH, 4400, TEXT),
    ("more than all", TEXT, SPEECH, 10_000, TEXT),
    ("a sentence that was not spoken any more", TEXT, SPEECH[:1], 10_000, "One two three."),
    ("a script without spaces", "今日はいい天気です。", [(10, 1000)], 400, "今日はい"),
    ("speech unknown", TEXT, [], 1, TEXT),
    ("speech unknown, nothing heard", TEXT, [], 0, ""),
]


@pytest.mark.parametrize(
    ("text", "speech", "milliseconds", "remembered"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_heard(text: str, speech: list[tuple[int, int]], milliseconds: int, remembered: str) -> None:
    assert heard(text, speech, milliseconds)[0] == remembered


@pytest.mark.parametrize("first", range(0, 4500, 100))
def test_less_and_less_is_the_same_as_at_once(first: int) -> None:
    text, speech = heard(TEXT, SPEECH, first)
    for second in range(0, first + 1, 100):
        again, _ = heard(text, speech, second)
        assert again == heard(TEXT, SPEECH, second)[0] or TEXT.startswith(again)
        assert len(again) <= len(text)
