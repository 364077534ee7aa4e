"""What a session's machine tells of where it stands."""

from __future__ import annotations

from tests.unit.worker.world import World


def told(world: World, seconds: float) -> list[str]:
    """Each stage once it is another one, looked at every millisecond."""
    stages: list[str] = [world.machine.stage]
    for millisecond in range(round(seconds * 1000)):
        world.run(millisecond / 1000)
        if world.machine.stage != stages[-1]:
            stages.append(world.machine.stage)
        assert world.machine.queued >= 0
    return stages


def test_a_spoken_question_goes_through_every_stage() -> None:
    world = World(transcribe_seconds=0.3, listen_seconds=lambda: 0.01)
    world.stream([(1.0, 0), (1.2, 1), (2.0, 0)])
    stages = told(world, 12)
    assert set(stages) == {"idle", "vad", "listening", "asr", "publishing", "speaking"}
    assert stages[-1] == "idle"
    steps = [stages.index(stage) for stage in ("vad", "listening", "asr", "speaking")]
    assert steps == sorted(steps), stages
