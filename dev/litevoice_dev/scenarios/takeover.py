"""A spoken conversation; the gateway that holds it is disturbed while an answer is being spoken. Another caller, who is
silent and does without acknowledgements, shows what those are for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from litevoice_dev.scenarios.audits import audited_events, audited_packets
from litevoice_dev.scenarios.place import Disturbance, Place, Show
from litevoice_dev.scenarios.playback import picture, played, stall_seconds
from litevoice_dev.scenarios.printing import show, verdict
from litevoice_dev.speech import read_wav, speak, write_wav
from litevoice_dev.tally import Tally
from litevoice_dev.voice_client import Answer, VoiceClient

AUDIO_BEFORE_THE_MOVE_BYTES = 240_000
"""Five seconds of the answer have arrived when the gateway is struck: the listener has heard three of them."""


@dataclass(frozen=True, slots=True)
class Script:
    """`questions`, the last of which asks for the first; `disturbed`: index of the one whose answer is disturbed."""

    questions: tuple[str, ...]
    disturbed: int


LONG = Script(("what is the capital of France", "tell me a story", "what did I ask first"), 1)
SHORT = Script(("tell me a story", "what did I ask first"), 0)


@dataclass(slots=True)
class Outcome:
    """What happened in the call, and what the audit says.

    Attributes:
        gap_ms: connection lost → first event on the new connection.
        stall_ms: longest time that a listener heard nothing while the disturbed answer should have gone on.
        timeline: a picture of that.
        unacknowledged: packets of the caller without acknowledgements.
    """

    script: Script
    session_id: str = ""
    answers: list[Answer] = field(default_factory=list)
    pod_before: str = ""
    pod_after: str = ""
    close_code: int | None = None
    gap_ms: float = 0.0
    stall_ms: float = 0.0
    timeline: list[str] = field(default_factory=list)
    packets: Tally = field(default_factory=lambda: Tally("audio packets", 0, 0))
    unacknowledged: Tally = field(default_factory=lambda: Tally("audio packets", 0, 0))
    events: Tally = field(default_factory=lambda: Tally("events", 0, 0))

    @property
    def problems(self) -> list[str]:
        """What is not as it should be, but for the two tallies."""
        found = []
        for number, (question, answer) in enumerate(zip(self.script.questions, self.answers, strict=True), start=1):
            if answer.status != "completed":
                found.append(f"answer {number} is {answer.status or 'absent'}, not completed")
            if answer.question != question.lower():
                found.append(f"question {number}, “{question}”, was understood as “{answer.question}”")
        if self.script.questions[0].lower() not in self.answers[-1].text.lower():
            found.append("the last answer does not know the first question")
        if self.pod_after == self.pod_before:
            found.append(f"the session is still held by {self.pod_before}")
        return found


async def spoken_questions(folder: Path, questions: Sequence[str]) -> list[bytes]:
    """The questions as WAV files in `folder` (made with espeak-ng), and read back from there."""
    recordings = []
    for number, question in enumerate(questions, start=1):
        path = folder / f"question-{number}.wav"
        write_wav(path, await speak(question))
        recordings.append(read_wav(path))
    return recordings


async def hold(place: Place, disturbance: Disturbance, script: Script, folder: Path, tell: Show) -> Outcome:
    """The whole call; recordings of it go to `folder`."""
    outcome, cut_at = Outcome(script), None
    recordings = await spoken_questions(folder, script.questions)
    async with place.requests() as read:
        url, more = place.urls[0], place.urls[1:]
        async with (
            VoiceClient(url, place.api_key, more_urls=more) as call,
            VoiceClient(url, place.api_key, more_urls=more, acknowledged=False) as other,
        ):
            outcome.session_id = call.session_id
            tell(f"session {call.session_id}")
            for index, recording in enumerate(recordings):
                if index == script.disturbed:
                    cut_at = await _disturbed(call, other, recording, place, disturbance, outcome, tell)
                else:
                    outcome.answers.append(await call.ask(recording))
                report(tell, folder, index + 1, outcome.answers[-1])
        outcome.packets = await audited_packets(read, call)
        without = await audited_packets(read, other, cut_at=cut_at if disturbance.cuts else None)
        outcome.unacknowledged = replace(without, what="the same without acknowledgements")
    outcome.events = await audited_events(place, call)
    return outcome


async def _disturbed(
    call: VoiceClient,
    other: VoiceClient,
    recording: bytes,
    place: Place,
    disturbance: Disturbance,
    outcome: Outcome,
    tell: Show,
) -> int:
    """Adds the answer to `outcome`; how many packets `other` had sent when the gateway was struck."""
    start, before = len(call.heard), len(call.reconnects)
    pod = outcome.pod_before = await place.holder(call.session_id)
    spoken_until = await call.microphone.say(recording)
    await call.wait_for(
        lambda: len(call.answer(start, 0).audio) >= AUDIO_BEFORE_THE_MOVE_BYTES, 60, "five seconds of the long answer"
    )
    tell(f"{disturbance.what} {pod}, which holds the session, in the middle of an answer")
    sent, struck_at = other.microphone.sent, time.monotonic()
    await disturbance.strike(pod)
    await call.wait_for(lambda: call.answers_since(start) >= 1, 120, "the rest of the long answer")
    await call.wait_for(lambda: len(call.reconnects) > before, 60, "a reconnect")
    outcome.pod_after = await place.holder(call.session_id)
    last = call.reconnects[-1]
    outcome.close_code = last.code
    outcome.gap_ms = max(reconnect.back_at - reconnect.lost_at for reconnect in call.reconnects[before:]) * 1000
    pieces = played(call.heard[start:])
    outcome.stall_ms = stall_seconds(pieces) * 1000
    names = {"before": pod, "after": outcome.pod_after, "mark": disturbance.what}
    outcome.timeline = picture(pieces, struck_at, last.back_at, names)
    outcome.answers.append(call.answer(start, spoken_until))
    return sent


def show_outcome(outcome: Outcome) -> bool:
    """The picture, the figures and the verdict; whether all is well."""
    show("\n".join(["", *(f"  {line}" for line in outcome.timeline), ""]))
    show(f"  moved from {outcome.pod_before} to {outcome.pod_after} (close code {outcome.close_code})")
    show(
        f"  gap {outcome.gap_ms:.0f} ms without a connection; the listener heard nothing for {outcome.stall_ms:.0f} ms"
    )
    return verdict([outcome.packets, outcome.events, outcome.unacknowledged], outcome.problems)


def report(tell: Show, folder: Path, number: int, answer: Answer) -> None:
    path = folder / f"answer-{number}.wav"
    write_wav(path, bytes(answer.audio))
    tell(f"question {number}: understood “{answer.question}”")
    tell(f"  answered “{answer.text}”")
    tell(
        f"  first audio {answer.latency_seconds * 1000:.0f} ms after the end of speech, "
        f"{len(answer.audio) / 48_000:.1f} s of audio in {path}"
    )
