"""A team's plug-in in its process: what it does to itself costs nobody else anything."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from litevoice_contracts.control import FailingPlugin
from litevoice_contracts.conversation import Item
from litevoice_contracts.errors import InvalidField
from litevoice_contracts.settings import StageSettings
from litevoice_worker.apart import apart, watch, wire
from litevoice_worker.apart.process import PluginProcess
from litevoice_worker.apart.watch import Deaths
from litevoice_worker.commands import FunctionCall, Outcome, Prompt
from litevoice_worker.stages import StageError
from litevoice_worker.stages.respond_local import LocalResponder
from tests.stage_context import context
from tests.waiting import until, watching_the_loop

TEAM = '''
import asyncio, ctypes, os, subprocess, time
from pydantic import BaseModel
from litevoice_contracts.errors import InvalidField
from litevoice_worker.commands import FunctionCall, Outcome
from litevoice_worker.stages import Plugin, StageError

class Options(BaseModel, extra="forbid"):
    folder: str = ""

class Agent(Plugin[Options]):
    """Does what it is told by the last item; leaves a line for each time that it is asked."""
    Options = Options
    memory_mebibytes = 400
    async def start(self):
        if self.options.folder == "none":
            raise InvalidField("folder", "a folder")
        if self.options.folder == "crash":
            ctypes.string_at(0)
    async def respond(self, prompt, context):
        wish = prompt.items[-1].text
        with open(os.path.join(self.options.folder, wish), "a") as file:
            print(context.attempt, prompt.said, context.said, file=file)
        if wish == "echo":
            yield "One."
            yield " Two."
            yield FunctionCall("call_1", "f", "{}")
            yield Outcome("incomplete", "max_output_tokens", 3, 4)
        elif wish == "crash" or (wish == "crash once" and not prompt.said):
            yield "One."
            await asyncio.sleep(0.1)
            ctypes.string_at(0)
        elif wish == "call and crash":
            yield FunctionCall("call_1", "f", "{}")
            await asyncio.sleep(0.1)
            ctypes.string_at(0)
        elif wish == "hang":
            time.sleep(3600)
        elif wish == "grow":
            self.leak = [bytearray(os.urandom(1 << 20)) for _ in range(600)]
            await asyncio.sleep(60)
        elif wish == "fork and exit" and not prompt.said:
            yield "One."
            if os.fork() == 0:
                time.sleep(20)
                os._exit(0)
            await asyncio.sleep(0.1)
            os._exit(3)
        elif wish == "poison":
            while len(os.listdir(self.options.folder)) < 5:  # all others are here
                await asyncio.sleep(0.01)
            ctypes.string_at(0)
        elif wish.startswith("long"):
            if not prompt.said:
                yield "One."
                await asyncio.sleep(30 if context.attempt == 0 else 0.1)
            yield " Two."
        elif wish == "children and exit":
            if not prompt.said:
                child = subprocess.Popen(["sleep", "3600"])
                yield str(child.pid)
                await asyncio.sleep(0.1)
                os._exit(3)
        elif wish == "children":
            yield str(subprocess.Popen(["sleep", "3600"]).pid)
        elif wish == "flood":
            for number in range(20_000):
                yield f" {number}"
        elif wish == "endless":
            yield "x" * 2_000_000
        elif wish == "fail":
            raise ValueError("content")
        elif wish == "cancelled":
            raise asyncio.CancelledError  # of a task of its own that it waited for
        elif wish == "wrong call":
            yield FunctionCall(7, None, {"tables": 4})
        elif wish == "wrong outcome":
            yield Outcome("finished")
        elif wish == "wrong piece":
            yield 7
        elif wish == "lone surrogate":
            yield chr(0xD800)
        elif wish == "own string":
            yield type("Markup", (str,), {})("One.")
        elif wish == "tell":
            raise StageError("no tables today")
        elif wish == "tell badly":
            raise StageError(chr(0xD800))
        elif wish == "tell nothing":
            raise StageError
        elif wish == "tell much":
            raise StageError("x" * 100_000_000)
        elif wish == "no exception":
            raise type("Abort", (BaseException,), {})
        elif wish == "wait":
            try:
                yield "One."
                await asyncio.sleep(3600)
            finally:
                open(os.path.join(self.options.folder, "cancelled"), "w").close()
        else:
            yield " Two."

class Pieces:
    """An iterator that is no generator."""
    def __init__(self):
        self.left = ["One.", " Two."]
    def __aiter__(self):
        return self
    async def __anext__(self):
        if not self.left:
            raise StopAsyncIteration
        return self.left.pop(0)

class Plain(Plugin[Options]):
    """Is no generator."""
    Options = Options
    def respond(self, prompt, context):
        async def whole():
            return "One."
        return {"iterator": Pieces(), "list": ["One."], "nothing": None, "whole": whole()}[prompt.items[-1].text]

class Ears(Plugin[Options]):
    Options = Options
    async def transcribe(self, samples, context):
        return None

class Voice(Plugin[Options]):
    """Gives its audio in pieces; crashes at the first two attempts, each time a little later."""
    Options = Options
    async def synthesize(self, text, voice, speed, codec, context):
        audio, size = bytes(range(250)), 50 + 7 * context.attempt
        for begin in range(0, 250, size):
            yield audio[begin : begin + size]
            if context.attempt < 2 and begin:
                await asyncio.sleep(0.1)
                ctypes.string_at(0)

class Patience(Plugin[Options]):
    """Crashes the first time that it is asked."""
    Options = Options
    async def finished(self, samples, context):
        if context.attempt == 0:
            ctypes.string_at(0)
        return float(samples.mean()) / 100
'''
ENTRY_POINTS = """
[litevoice.responders]
agent = litevoice_test_team:Agent
plain = litevoice_test_team:Plain
[litevoice.transcribers]
ears = litevoice_test_team:Ears
[litevoice.synthesizers]
voice = litevoice_test_team:Voice
[litevoice.turn_detectors]
patience = litevoice_test_team:Patience
"""


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A team's distribution is installed; the folder that its plug-in writes to."""
    (tmp_path / "litevoice_test_team.py").write_text(TEAM)
    metadata = tmp_path / "litevoice_test_team-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: litevoice-test-team\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "wishes").mkdir()
    return tmp_path / "wishes"


@pytest.fixture
def deaths() -> Deaths:
    return Deaths()


@pytest.fixture
async def agent(team: Path, deaths: Deaths) -> AsyncIterator[PluginProcess]:
    made = await begun(deaths, folder=str(team))
    yield made
    await made.close()
    assert not children(), "no process stays"


async def begun(deaths: Deaths, **options: Any) -> PluginProcess:
    made = await apart("info", deaths)(
        "responder", StageSettings(use="agent", options=options), "pipelines[0].responder"
    )
    assert isinstance(made, PluginProcess)
    return made


async def wished(agent: PluginProcess, wish: str, said: str = "") -> list[Any]:
    prompt = Prompt("", [Item("i", "user", wish)], said)
    async with aclosing(cast(Any, agent.respond(prompt, context(said=said)))) as pieces:
        return [piece async for piece in pieces]


async def test_what_it_gives_comes_as_it_is(agent: PluginProcess, team: Path, caplog: pytest.LogCaptureFixture) -> None:
    call, outcome = FunctionCall("call_1", "f", "{}"), Outcome("incomplete", "max_output_tokens", 3, 4)
    assert await wished(agent, "echo") == ["One.", " Two.", call, outcome]
    assert len(await wished(agent, "flood")) == 20_001, "as fast as it can"
    for wish, told in (("tell", "no tables today"), ("tell badly", r"\?"), ("tell much", "x{500}")):
        with pytest.raises(StageError, match=f"^{told}$"):
            async with asyncio.timeout(10):
                await wished(agent, wish)
    for wish in ("fail", "endless", "tell nothing"):
        with pytest.raises(StageError, match=r"^internal error$"):
            await wished(agent, wish)
    at = next(vars(record)["at"] for record in caplog.records if record.message == "a plug-in failed")
    assert re.fullmatch(r"\S+\.py:\d+ respond", at), at


async def test_an_answer_need_not_come_from_a_generator(
    team: Path, deaths: Deaths, caplog: pytest.LogCaptureFixture
) -> None:
    settings = StageSettings(use="plain", options={"folder": str(team)})
    plain = cast(PluginProcess, await apart("info", deaths)("responder", settings, "pipelines[0].responder"))
    assert await wished(plain, "iterator") == ["One.", " Two.", Outcome()]
    assert await wished(plain, "whole") == ["One.", Outcome()]
    for wish, kind in (("list", "list"), ("nothing", "NoneType")):
        with pytest.raises(StageError, match=r"^internal error$"):
            await wished(plain, wish)
        told = [vars(record)["error"] for record in caplog.records if record.message == "a plug-in failed"]
        assert told[-1] == f"an async generator or a coroutine, not {kind}"
    await plain.close()


async def test_what_cannot_be_taken_costs_that_turn_only(
    agent: PluginProcess, deaths: Deaths, caplog: pytest.LogCaptureFixture
) -> None:
    """The process lives on, and with it the others' turns; the log says what was wrong, without its content."""
    others = asyncio.create_task(wished(agent, "wait"))
    wrong = {
        "cancelled": "CancelledError",
        "wrong call": "a wrong type at `$.call.call_id`",
        "wrong outcome": "a wrong type at `$.outcome.status`",
        "wrong piece": "a sentence, a call or an outcome, not int",
        "lone surrogate": "UnicodeEncodeError in what was given",
        "endless": f"more than {wire.MAX_PIECE_BYTES} bytes at once",
        "no exception": "Abort",
    }
    for wish in wrong:
        with pytest.raises(StageError, match=r"^internal error$"):
            async with asyncio.timeout(10):
                await wished(agent, wish)
    assert await wished(agent, "own string") == ["One.", Outcome()]
    assert not others.done()
    others.cancel()
    ears = await apart("info", deaths)("transcriber", StageSettings(use="ears"), "pipelines[0].transcriber")
    with pytest.raises(StageError, match=r"^internal error$"):
        await cast(Any, ears).transcribe(np.zeros(1600, dtype=np.int16), context())
    await ears.close()
    told = [vars(record)["error"] for record in caplog.records if record.message == "a plug-in failed"]
    assert told == [*wrong.values(), "a wrong type at `$.text`"]
    assert not deaths.failing(time.monotonic())


async def test_one_that_crashes_goes_on_behind_what_was_said(
    agent: PluginProcess, team: Path, deaths: Deaths, caplog: pytest.LogCaptureFixture
) -> None:
    assert await wished(agent, "crash once") == ["One.", " Two.", Outcome()]
    assert (team / "crash once").read_text().splitlines() == ["0  ", "1 One. One."]
    (failing,) = deaths.failing(time.monotonic())
    assert (failing.stage, failing.plugin, failing.how, failing.deaths) == ("responder", "agent", "crashed", 1)
    named = [record for record in caplog.records if record.message == "a plug-in's process ended"]
    assert [(record.plugin, record.how, record.status) for record in cast(Any, named)] == [("agent", "crashed", -11)]


async def test_it_is_asked_three_times_and_then_the_caller_is_told(agent: PluginProcess, deaths: Deaths) -> None:
    with pytest.raises(StageError, match=r"^the responder crashed 3 times at this$"):
        await wished(agent, "crash")
    assert deaths.failing(time.monotonic())[0].deaths == 3
    assert await wished(agent, "on") == [" Two.", Outcome()]


async def test_a_call_that_was_given_is_not_given_twice(agent: PluginProcess, team: Path) -> None:
    with pytest.raises(StageError, match=r"^the responder crashed at this$"):
        await wished(agent, "call and crash")
    assert len((team / "call and crash").read_text().splitlines()) == 1


async def test_one_that_stands_still_is_ended_and_others_go_on(
    agent: PluginProcess, deaths: Deaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop of the worker never waits; whose turn was in it is asked again with the next process."""
    monkeypatch.setattr(watch, "SILENT_LOOKS", 1)
    async with watching_the_loop() as pauses:
        waiting = asyncio.create_task(wished(agent, "wait"))
        await asyncio.sleep(0.2)
        hanging = asyncio.create_task(wished(agent, "hang"))
        await until(lambda: bool(deaths.failing(time.monotonic())), "the watchdog has seen it")
        assert deaths.failing(time.monotonic())[0].how == "hung"
        hanging.cancel()
    assert pauses.longest < 0.5
    assert await wished(agent, "on") == [" Two.", Outcome()]
    assert not waiting.done(), "asked again, it waits again"
    waiting.cancel()


async def test_one_that_grows_is_ended(agent: PluginProcess, deaths: Deaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "SILENT_LOOKS", 10_000)  # on a busy machine it is also silent while it grows
    growing = asyncio.create_task(wished(agent, "grow"))
    await until(lambda: bool(deaths.failing(time.monotonic())), "the watchdog has seen it")
    growing.cancel()
    assert deaths.failing(time.monotonic())[0].how == "grew"


async def test_a_child_of_its_own_does_not_hide_its_end(agent: PluginProcess, deaths: Deaths) -> None:
    """It has the connection, too."""
    assert await wished(agent, "fork and exit") == ["One.", " Two.", Outcome()]
    (failing,) = deaths.failing(time.monotonic())
    assert (failing.how, failing.deaths) == ("crashed", 1)


async def test_what_kills_it_fails_and_what_was_beside_it_does_not(agent: PluginProcess, deaths: Deaths) -> None:
    """Four answers are under way when the fifth ends their process, whenever it is asked for."""
    others = [asyncio.create_task(wished(agent, f"long {number}")) for number in range(4)]
    with pytest.raises(StageError, match=r"^the responder crashed 3 times at this$"):
        await wished(agent, "poison")
    assert [await other for other in others] == [["One.", " Two.", Outcome()]] * 4
    assert deaths.failing(time.monotonic())[0].deaths == 3


async def test_what_it_has_started_does_not_outlive_it(team: Path, deaths: Deaths) -> None:
    agent = await begun(deaths, folder=str(team))
    crashed, _ = await wished(agent, "children and exit")
    left, _ = await wished(agent, "children")
    await until(lambda: not runs(int(crashed)), "its process has crashed")
    assert runs(int(left))
    await agent.close()
    await until(lambda: not runs(int(left)), "its process was closed")


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_an_interruption_reaches_it(agent: PluginProcess, team: Path) -> None:
    waiting = asyncio.create_task(wished(agent, "wait"))
    await until((team / "wait").exists, "it was asked")
    waiting.cancel()
    await until((team / "cancelled").exists, "its finally has run")


@pytest.mark.usefixtures("team")
@pytest.mark.parametrize(
    ("options", "field", "expected"),
    [
        ({"folders": "x"}, ".options.folders", "what agent wants: Extra inputs are not permitted"),
        ({"folder": "none"}, ".options.folder", "a folder"),
        ({"folder": "crash"}, "", "a plug-in that starts: the process of agent crashed"),
    ],
)
async def test_what_is_wrong_is_named(deaths: Deaths, options: dict[str, str], field: str, expected: str) -> None:
    with pytest.raises(InvalidField) as error:
        await begun(deaths, **options)
    assert (error.value.field, error.value.expected) == (f"pipelines[0].responder{field}", expected)
    await until(lambda: not children(), "no process stays")


@pytest.mark.usefixtures("team")
async def test_a_turn_detector_is_apart_like_any_other_stage(deaths: Deaths) -> None:
    made = await apart("info", deaths)("turn_detector", StageSettings(use="patience"), "pipelines[0].turnDetector")
    assert isinstance(made, PluginProcess)
    assert await made.finished(np.full(1600, 25, dtype=np.int16), context()) == 0.25
    (failing,) = deaths.failing(time.monotonic())
    assert (failing.stage, failing.plugin, failing.how, failing.deaths) == ("turn_detector", "patience", "crashed", 1)
    await made.close()


@pytest.mark.usefixtures("team")
async def test_speech_comes_in_pieces_and_goes_on_to_the_byte_in_the_next_process(deaths: Deaths) -> None:
    made = await apart("info", deaths)("synthesizer", StageSettings(use="voice"), "pipelines[0].synthesizer")
    assert isinstance(made, PluginProcess)
    pieces = [piece async for piece in made.synthesize("One.", "default", 1.0, "pcm16/24000", context())]
    assert [len(piece) for piece in pieces] == [50, 50, 14, 14, 64, 58], "what was given is not given again"
    assert b"".join(pieces) == bytes(range(250))
    assert deaths.failing(time.monotonic())[0].deaths == 2
    await made.close()


async def test_what_comes_with_litevoice_needs_no_process(deaths: Deaths) -> None:
    made = await apart("info", deaths)("responder", StageSettings(use="demo"), "pipelines[0].responder")
    assert isinstance(made, LocalResponder)
    assert deaths.failing(time.monotonic()) == list[FailingPlugin]()


def children() -> list[int]:
    """Of this process, that run a plug-in and have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = (path / "stat").read_text().rpartition(")")[2].split()
            program = (path / "cmdline").read_text()
            if int(parent[1]) == os.getpid() and parent[0] != "Z" and "apart.host" in program:
                found.append(int(path.name))
        except OSError:
            continue
    return found
