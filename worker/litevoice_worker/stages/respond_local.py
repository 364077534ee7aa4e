"""Responses without any service: a few rules for development and tests. The same question gets the same response."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence

from litevoice_contracts.conversation import Item
from litevoice_worker.commands import Outcome, Prompt, StageContext
from litevoice_worker.sentences import split
from litevoice_worker.stages import NoOptions, Plugin

_CAPITALS = {
    "france": "Paris",
    "germany": "Berlin",
    "italy": "Rome",
    "england": "London",
    "china": "Beijing",
    "india": "New Delhi",
    "egypt": "Cairo",
    "canada": "Ottawa",
}
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_VALUES = {word: value for value, word in enumerate(_NUMBERS)} | {"twenty": 20, "fifty": 50, "hundred": 100}

_LIGHTHOUSE = (
    "On a rock far out in the sea there stood a lighthouse. Every evening its keeper, an old woman named Ada, climbed "
    "two hundred steps and lit the lamp. In summer the sea was as smooth as glass, and she counted the ships by their "
    "lights. In winter the waves rose as high as the windows, and nobody came for many weeks. One night in November "
    "the lamp went out in the middle of a storm. Ada heard the horn of a ship that was coming nearer and nearer. She "
    "took every candle in the house, and every mirror, and carried them up the stairs. A hundred small flames shone "
    "in a hundred mirrors, and together they were brighter than the lamp had ever been. The ship turned away from the "
    "rock, so close that Ada could see the captain lift his hat. In the morning the sea was calm again. And from that "
    "day on, every ship that passed the rock sounded its horn three times, to say thank you."
)
_STORY = (
    "Once there was a small boat that had never left its harbour. Every day it listened to the big ships and their "
    "tales of far islands. One morning its rope came loose, and the tide carried it gently out to sea. It was afraid "
    "at first, and then it saw that the water was the same water. It met whales and lanterns and rain. When it came "
    "home, the big ships asked where it had been. And the small boat said: just around the corner of the world."
)
_MOON = (
    "The moon is our nearest neighbour in space. It is about three hundred and eighty four thousand kilometres away. "
    "Light needs a little more than one second for that way. The moon turns around the earth once in about "
    "twenty seven days, and always shows us the same side. Its gravity pulls at the sea and makes the tides. Twelve "
    "people have walked on it so far. Their footprints are still there, because there is no wind to blow them away."
)

# Question, as a whole, without punctuation → answer.
_RULES: tuple[tuple[str, str], ...] = (
    (r"tell me the story of the lighthouse", _LIGHTHOUSE),
    (r"tell me a story", _STORY),
    (r"tell me about the moon", _MOON),
    (r"tell me about the sun", "The sun is a star. It is so large that a million earths would fit inside."),
    (r"tell me about the ocean", "The ocean covers more than two thirds of the earth. Most of it is still unexplored."),
    (r"tell me about the mountains", "Mountains rise where the plates of the earth meet. Wind and rain carve them."),
    (r"tell me a joke", "Why did the sailor take a ladder to sea? He wanted to reach the high tide."),
    (r"please count to ten", "One, two, three, four, five, six, seven, eight, nine, ten."),
    (r"how many seconds are in a minute", "There are sixty seconds in a minute."),
    (r"how many minutes are in an hour", "There are sixty minutes in an hour."),
    (r"how many hours are in a day", "There are twenty four hours in a day."),
    (r"how many days are in a week", "There are seven days in a week."),
    (r"how many weeks are in a year", "There are fifty two weeks in a year."),
    (r"how many months are in a year", "There are twelve months in a year."),
    (r"what is the time|what day is it today", "I have no clock, so I would only be guessing."),
    (r"what is your name", "I am the demonstration voice of lite voice."),
    (r"what can you do for me", "I answer a few questions, tell stories, and remember what you asked."),
    (r"how are you today", "I am well, thank you."),
    (r"how is the weather", "I have no window, but I hope that the sun is shining."),
    (r"why is the sky blue", "The air scatters blue light more than red light. So the sky looks blue."),
    (r"how far away is the moon", "The moon is about three hundred and eighty four thousand kilometres away."),
    (r"how tall is the highest mountain", "Mount Everest is almost nine thousand metres tall."),
    (r"how deep is the ocean", "At its deepest place the ocean is about eleven kilometres deep."),
    (r"where does the sun rise", "The sun rises in the east."),
    (r"can you hear me", "Yes, I can hear you."),
    (r"good (morning|evening)", "Hello. What would you like to know?"),
    (r"hello.*", "Hello. What would you like to know?"),
    (r"thank you.*", "You are welcome."),
)  # fmt: skip


class LocalResponder(Plugin[NoOptions]):
    """Rules; `max_output_tokens` counts words."""

    async def respond(self, prompt: Prompt, context: StageContext) -> AsyncIterator[str | Outcome]:  # noqa: ARG002
        sentences = split(respond_to(prompt.items))
        words_in = sum(len(item.text.split()) for item in prompt.items)
        words_out, said = 0, ""
        for sentence in sentences:
            words = len(sentence.split())
            if prompt.max_output_tokens and words_out + words > prompt.max_output_tokens:
                yield Outcome("incomplete", "max_output_tokens", words_in, words_out)
                return
            words_out += words
            said += sentence
            if len(said) > len(prompt.said):
                yield sentence
        yield Outcome("completed", "", words_in, words_out)


def respond_to(items: Sequence[Item]) -> str:
    """The whole response to the newest thing that the user said."""
    messages = [item for item in items if item.kind == "message"]
    questions = [item.text for item in messages if item.role == "user"]
    if not questions:
        return "Hello. What would you like to know?"
    question, earlier = _normal(questions[-1]), [text for text in questions[:-1] if text.strip()]
    if not question:
        return "I did not understand that. Please say it again."
    if re.fullmatch(r"what did i ask first|what was my first question", question):
        return f"Your first question was: {earlier[0]}." if earlier else "This is your first question."
    if question == "what did i ask before":
        return f"Before that you asked: {earlier[-1]}." if earlier else "This is your first question."
    if question == "please repeat that":
        answers = [item.text for item in messages if item.role == "assistant"]
        return answers[-1] if answers else "I have not said anything yet."
    if match := re.fullmatch(r"what is the capital of (\w+)", question):
        capital = _CAPITALS.get(match[1])
        return f"The capital of {match[1].capitalize()} is {capital}." if capital else "I do not know that country."
    if match := re.fullmatch(r"what is (\w+) plus (\w+)", question):
        return _sum(match[1], match[2])
    for pattern, text in _RULES:
        if re.fullmatch(pattern, question):
            return text
    return f"You said: {questions[-1].strip()}."


def _sum(left: str, right: str) -> str:
    if left in _VALUES and right in _VALUES:
        return f"{left} plus {right} is {_VALUES[left] + _VALUES[right]}.".capitalize()
    return "I can only add small numbers."


def _normal(text: str) -> str:
    return " ".join(re.sub(r"[^\w\s]", " ", text.lower()).split())
