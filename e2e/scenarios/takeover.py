"""Three spoken questions; the gateway pod that holds the call is deleted while the second answer is being spoken."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from e2e.audit_pod import AuditPod
from e2e.environment import NAMESPACE, Endpoint, pod_holding
from e2e.shell import kubectl
from litevoice_dev.speech import read_wav, speak, write_wav
from litevoice_dev.tally import Tally, tally_events, tally_packets
from litevoice_dev.voice_client import Answer, VoiceClient

QUESTIONS = ("what is the capital of France", "tell me the story of the lighthouse", "what did I ask first")
AUDIO_BEFORE_THE_MOVE_BYTES = 96_000
"""Two seconds of the second answer must have been heard when the pod is deleted."""

Show = Callable[[str], None]


@dataclass(slots=True)
class Outcome:
    """What happened in the call, and what the audit says.

    Attributes:
        gap_ms: connection lost → first event on the new connection.
        stall_ms: longest time that a listener heard nothing while the second answer should have gone on.
    """

    session_id: str = ""
    questions: tuple[str, ...] = QUESTIONS
    answers: list[Answer] = field(default_factory=list)
    pod_before: str = ""
    pod_after: str = ""
    close_code: int | None = None
    gap_ms: float = 0.0
    stall_ms: float = 0.0
    packets: Tally = field(default_factory=lambda: Tally("audio packets", 0, 0))
    events: Tally = field(default_factory=lambda: Tally("events", 0, 0))


async def spoken_questions(folder: Path, questions: tuple[str, ...] = QUESTIONS) -> list[bytes]:
    """The questions as WAV files in `folder` (made with espeak-ng), and read back from there."""
    recordings = []
    for number, question in enumerate(questions, start=1):
        path = folder / f"question-{number}.wav"
        write_wav(path, await speak(question))
        recordings.append(read_wav(path))
    return recordings


async def delete_pod(pod: str) -> None:
    await asyncio.to_thread(kubectl, "delete", "pod", "-n", NAMESPACE, pod, "--wait=false")


async def hold(
    endpoint: Endpoint, folder: Path, show: Show, disturb: Callable[[str], Awaitable[None]] = delete_pod
) -> Outcome:
    """The whole call. `disturb` gets the name of the pod that holds it, in the middle of the second answer."""
    outcome = Outcome()
    recordings = await spoken_questions(folder)
    audit = AuditPod("requests")
    await asyncio.to_thread(audit.start)
    await asyncio.to_thread(audit.wait_ready)
    async with VoiceClient(endpoint.url, endpoint.api_key) as call:
        outcome.session_id = call.session_id
        show(f"session {call.session_id}")
        outcome.answers.append(await call.ask(recordings[0]))
        report(show, folder, 1, outcome.answers[-1])
        outcome.answers.append(await _interrupted(call, recordings[1], outcome, show, disturb))
        report(show, folder, 2, outcome.answers[-1])
        outcome.pod_after = await asyncio.to_thread(pod_holding, call.session_id)
        outcome.answers.append(await call.ask(recordings[2]))
        report(show, folder, 3, outcome.answers[-1])
        heard = [h.event_id for h in call.heard]
    sent = call.microphone.sent
    outcome.packets = await _audited_packets(audit, outcome.session_id, sent)
    replies = AuditPod("replies", outcome.session_id)
    await asyncio.to_thread(replies.start)
    log = await asyncio.to_thread(replies.wait_complete)
    last = max((int(i.split("_")[1]) for i in heard if i.split("_")[1].isdigit()), default=0)
    outcome.events = tally_events(heard, [line for line in log if line["position"] <= last])
    for pod in (audit, replies):
        await asyncio.to_thread(pod.remove)
    return outcome


async def _interrupted(
    call: VoiceClient, recording: bytes, outcome: Outcome, show: Show, disturb: Callable[[str], Awaitable[None]]
) -> Answer:
    start, before = len(call.heard), len(call.reconnects)
    outcome.pod_before = await asyncio.to_thread(pod_holding, call.session_id)
    spoken_until = await call.microphone.say(recording)
    await call.wait_for(
        lambda: len(call.answer(start, 0).audio) >= AUDIO_BEFORE_THE_MOVE_BYTES, 60, "two seconds of the second answer"
    )
    show(f"deleting pod {outcome.pod_before}, which holds the session, in the middle of the answer")
    await disturb(outcome.pod_before)
    await call.wait_for(lambda: call.answers_since(start) >= 1, 120, "the rest of the second answer")
    await call.wait_for(lambda: len(call.reconnects) > before, 60, "a reconnect")
    outcome.close_code = call.reconnects[-1].code
    outcome.gap_ms = max(reconnect.back_at - reconnect.lost_at for reconnect in call.reconnects[before:]) * 1000
    outcome.stall_ms = stall_seconds(call, start) * 1000
    return call.answer(start, spoken_until)


def stall_seconds(call: VoiceClient, start: int) -> float:
    """How long a player that began at once would have run dry during the answer that starts at index `start`."""
    played_until, stalled = 0.0, 0.0
    for item in call.heard[start:]:
        if item.type != "response.output_audio.delta":
            continue
        if played_until:
            stalled += max(0.0, item.at - played_until)
        seconds = len(getattr(item.event, "delta", "")) * 3 / 4 / 48_000
        played_until = max(played_until, item.at) + seconds
    return stalled


async def _audited_packets(audit: AuditPod, session_id: str, sent: int) -> Tally:
    """Waits until the audit has seen the last packet, or gives what it has seen after a while."""
    result = Tally("audio packets", 0, 0)
    for _ in range(30):
        result = tally_packets(sent, await asyncio.to_thread(audit.lines), session_id)
        if not result.lost:
            break
        await asyncio.sleep(1)
    return result


def report(show: Show, folder: Path, number: int, answer: Answer) -> None:
    path = folder / f"answer-{number}.wav"
    write_wav(path, bytes(answer.audio))
    show(f"question {number}: understood “{answer.question}”")
    show(f"  answered “{answer.text}”")
    show(
        f"  first audio {answer.latency_seconds * 1000:.0f} ms after the end of speech, "
        f"{len(answer.audio) / 48_000:.1f} s of audio in {path}"
    )
