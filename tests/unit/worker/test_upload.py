"""Speech that is uploaded much faster than it can have been spoken, to a recognizer that takes its time."""

from __future__ import annotations

from litevoice_contracts import events
from litevoice_contracts.packets import Audio
from litevoice_gateway import commands as gateway
from litevoice_gateway.intake import Intake
from litevoice_gateway.limits import Limits
from tests.unit.worker.world import FRAME_SECONDS, World, tone

APPENDS_PER_SECOND = 200
SAID = [(8.0, 1), (2.0, 0)]


def upload(world: World, times: int) -> float:
    """Says SAID so many times; the gateway reads as it would. When the last append was read, in seconds."""
    commands: list[gateway.Command] = []
    intake = Intake(Limits(), commands, now=0.0)
    now = 0.0
    for _ in range(times):
        for seconds, level in SAID:
            for _ in range(round(seconds / FRAME_SECONDS)):
                world.at(now, lambda level=level: world.send(Audio(tone(level))))  # type: ignore[misc]
                intake.spend(now, 1)
                intake.spend_audio(FRAME_SECONDS, now)
                intake.settle(full=False)
                now += 1 / APPENDS_PER_SECOND
                if any(isinstance(command, gateway.PauseReading) for command in commands):
                    now = max(command.at for command in commands if isinstance(command, gateway.WakeAt))
                    assert intake.throttle_ends(now, closing=False)
                    intake.settle(full=False)
                commands.clear()
    return now


def test_every_utterance_of_a_fast_upload_is_transcribed() -> None:
    """22 utterances of 8 s, ten times as fast as real time, a recognizer that takes 3 s: none is left out."""
    world = World(transcribe_seconds=3.0)
    end = upload(world, 22)
    world.run(end + 30)
    assert len(world.of(events.InputTranscribed)) == 22
    assert "litevoice_worker_dropped_total/sessions" not in world.counts
    assert world.replays == 0
    assert 94 <= end <= 96, "30 s at once, the other 190 s of audio at twice real time"
