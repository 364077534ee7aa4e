"""The session state machine when an input comes early, late or twice."""

from __future__ import annotations

import pytest

from litevoice_contracts import events
from litevoice_contracts.conversation import Snapshot
from litevoice_contracts.packets import Audio, Update
from litevoice_contracts.positions import START
from litevoice_gateway import commands as do
from litevoice_gateway.protocols import Problem
from litevoice_gateway.standing import Phase
from tests.unit.gateway.driver import Driver

BROKEN = Problem("protocol_error", "bad frame", "message")


def update_input(driver: Driver, format_type: str) -> Update:
    driver.say(type="session.update", session={"audio": {"input": {"format": {"type": format_type}}}})
    driver.pass_time(0.2)
    packet = driver.packets[-1]
    assert isinstance(packet, Update)
    return packet


def test_a_confirmed_update_does_not_undo_the_next_one() -> None:
    driver = Driver()
    first = update_input(driver, "audio/pcmu")
    second = update_input(driver, "audio/pcm")
    driver.down(events.SessionUpdated(), snapshot=Snapshot(config=first.config))
    driver.clear()
    driver.say(type="input_audio_buffer.append", audio="f39/")  # three bytes: a sample and a half of the second's PCM16
    driver.down(events.SessionUpdated(), snapshot=Snapshot(config=second.config))
    driver.say(type="input_audio_buffer.append", audio="f38=")
    driver.pass_time(0.2)
    assert driver.packets == [Audio(b"\x7f\x7f"), Audio(b"\x7f\x7f")]


def test_a_broken_protocol_closes_a_session_that_is_not_restored_yet() -> None:
    driver = Driver(resume=START, opened=False)
    driver.session.broken(1002, BROKEN, driver.now)
    driver.take()
    assert (driver.types, driver.closes) == (["error"], [1002])


def test_nothing_follows_the_servers_close_but_the_count() -> None:
    driver = Driver()
    driver.session.drain(driver.now, at_edge=False, by=driver.now)
    driver.take()
    assert driver.closes == [1012]
    driver.clear()
    driver.say(type="nonsense")
    driver.session.broken(1002, BROKEN, driver.now)
    driver.take()
    assert (driver.sent, driver.closes) == ([], [])
    assert [seen.label for seen in driver.observed("client_errors")] == ["unknown_event"]


@pytest.mark.parametrize("can_write", [True, False])
def test_a_session_that_has_ended_does_nothing(can_write: bool) -> None:
    driver = Driver()
    driver.session.peer_closed(1000, driver.now)
    driver.confirm_all()
    driver.pass_time(3)
    driver.clear()
    assert driver.session.phase is Phase.ENDED
    driver.session.writable(can_write, driver.now)
    driver.say(type="nonsense")
    driver.session.broken(1002, BROKEN, driver.now)
    driver.take()
    assert driver.log == []


def test_a_buffer_that_is_still_full_pauses_nothing_twice() -> None:
    driver = Driver()
    for can_write in (True, False, False, True, True):
        driver.session.writable(can_write, driver.now)
    driver.take()
    assert (len(driver.all(do.PauseReplies)), len(driver.all(do.ResumeReplies))) == (1, 1)
