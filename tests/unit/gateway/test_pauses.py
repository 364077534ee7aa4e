"""A client that stops sending in mid-speech: the silence that this implies, and what implies none."""

from __future__ import annotations

import pytest

from litevoice_contracts import events
from litevoice_contracts.conversation import Cursor, SessionConfig, Snapshot, TurnDetection
from litevoice_contracts.packets import Silence
from litevoice_gateway.limits import Limits
from litevoice_gateway.pauses import PAUSE_SECONDS
from tests.unit.gateway.driver import Driver


def speaking(limits: Limits | None = None) -> Driver:
    driver = Driver(limits=limits)
    driver.audio(3)
    driver.down(events.SpeechStarted("i1", 20))
    driver.pass_time(1)
    return driver


def silence(driver: Driver) -> int:
    """Bytes."""
    return sum(packet.size for packet in driver.packets if isinstance(packet, Silence))


def test_silence_is_implied_once() -> None:
    driver = speaking()
    driver.pass_time(PAUSE_SECONDS - 1.5)
    assert silence(driver) == 0
    driver.pass_time(1)
    assert silence(driver) == 48_000, "500 ms end the turn, and half a second more"
    driver.pass_time(60)
    assert silence(driver) == 48_000


def test_a_slower_turn_detection_gets_more() -> None:
    driver = speaking()
    config = SessionConfig(turn_detection=TurnDetection(silence_duration_ms=1250), input_codec="g711_ulaw/8000")
    driver.down(events.SessionUpdated(), snapshot=Snapshot(config, turn=1, cursor=Cursor(open_turn=1)))
    driver.say(
        type="session.update",
        session={
            "audio": {
                "input": {
                    "format": {"type": "audio/pcmu"},
                    "turn_detection": {"type": "server_vad", "silence_duration_ms": 1250},
                }
            }
        },
    )
    driver.pass_time(10)
    assert silence(driver) == 1750 * 8


def test_a_turn_detector_that_waits_gets_as_much_as_it_may_wait_for() -> None:
    driver = speaking()
    config = SessionConfig(turn_detection=TurnDetection(silence_duration_ms=300, eagerness="low"))
    driver.down(events.SessionUpdated(), snapshot=Snapshot(config, turn=1, cursor=Cursor(open_turn=1)))
    driver.pass_time(10)
    assert silence(driver) == 8500 * 48


@pytest.mark.parametrize(
    "case",
    [
        "it sends",
        "nobody speaks",
        "it is not read",
        "the client commits by itself",
        "the process stood still",
        "the link is dead",
    ],
)
def test_nothing_is_implied_when(case: str) -> None:
    driver = speaking(Limits(max_events_per_second=1) if case == "it is not read" else None)
    match case:
        case "it sends":
            for _ in range(30):
                driver.audio()
                driver.pass_time(1)
        case "nobody speaks":
            driver.down(events.InputCommitted("i1"))
        case "it is not read":
            driver.audio(100)
            assert not driver.is_reading()
            driver.pass_time(3)
        case "the client commits by itself":
            driver.say(type="session.update", session={"audio": {"input": {"turn_detection": None}}})
        case "the link is dead":
            driver.answers_pings = False
            driver.pass_time(60)
        case "the process stood still":
            driver.pass_time(4)
            driver.now += 30
            driver.pass_time(0.5)
    driver.pass_time(0.5 if case == "the process stood still" else 3.5)
    assert silence(driver) == 0


def test_a_link_that_comes_to_life_again_implies_silence_then() -> None:
    driver = speaking()
    driver.answers_pings = False
    driver.pass_time(20)
    assert silence(driver) == 0
    driver.answers_pings = True
    driver.pass_time(1)
    assert silence(driver) == 48_000
