"""Slow readers and a broker that is away: what waits, where, and when the session is given up."""

from __future__ import annotations

import base64

from litevoice_gateway import commands as do
from litevoice_gateway.intake import MAX_OWN_EVENTS
from litevoice_gateway.limits import Limits
from litevoice_gateway.session import STALL_SECONDS
from tests.unit.gateway.driver import Driver

# Slow readers


def test_a_slow_reader_leaves_its_replies_at_the_broker() -> None:
    driver = Driver()
    driver.session.writable(False, driver.now)
    driver.take()
    assert driver.all(do.PauseReplies)
    assert not driver.session.info(driver.now).reading
    driver.audio(3)
    driver.pass_time(30)
    assert len(driver.packets) == 3, "it is still heard, and nobody is asked why it is quiet"
    assert len(driver.published) == 1
    driver.session.writable(True, driver.now)
    driver.take()
    assert driver.all(do.ResumeReplies)


def test_errors_for_a_client_that_does_not_read_are_bounded() -> None:
    driver = Driver()
    driver.session.writable(False, driver.now)
    for _ in range(MAX_OWN_EVENTS):
        driver.say(type="nonsense")
        driver.now += 0.01
    assert driver.all(do.PauseReading)
    driver.session.writable(True, driver.now)
    driver.take()
    assert driver.all(do.ResumeReading)


# The broker goes away


def test_at_the_bound_the_client_is_not_read_and_read_again_at_half() -> None:
    driver = Driver(limits=Limits(max_pending_packets=20))
    driver.audio(20)
    assert driver.all(do.PauseReading)
    driver.pass_time(0.2)
    driver.session.confirmed(9, driver.now)
    driver.take()
    assert not driver.all(do.ResumeReading)
    driver.session.confirmed(1, driver.now)
    driver.take()
    assert driver.all(do.ResumeReading)
    assert driver.closes == []


def test_a_session_that_stays_at_the_bound_is_closed() -> None:
    driver = Driver(limits=Limits(max_pending_packets=20))
    driver.audio(20)
    driver.pass_time(STALL_SECONDS + 0.5)
    assert driver.closes == [1013]


def test_packets_that_the_broker_never_took_end_the_session() -> None:
    driver = Driver()
    driver.audio(3)
    driver.pass_time(0.2)
    driver.session.not_confirmed(3, driver.now)
    driver.take()
    assert driver.closes == [1013]
    assert driver.session.unconfirmed == 0


# A client that sends faster than it can have spoken


def test_audio_faster_than_real_time_is_read_later() -> None:
    driver = Driver(limits=Limits(max_events_per_second=1000, max_audio_burst_seconds=3, max_audio_speed=2))
    second = base64.b64encode(b"\1\2" * 24_000).decode()
    for _ in range(2):
        driver.say(type="input_audio_buffer.append", audio=second)
        assert driver.is_reading(), "the burst"
    driver.say(type="input_audio_buffer.append", audio=second)
    assert not driver.is_reading(), "the burst is used up"
    driver.pass_time(0.4)
    assert not driver.is_reading()
    driver.pass_time(0.2)
    assert driver.is_reading(), "there is room for another second of audio after half a second"
    assert len(driver.packets) == 3, "nothing is refused"
    assert [seen.label for seen in driver.observed("client_errors")] == ["rate_limited"]
