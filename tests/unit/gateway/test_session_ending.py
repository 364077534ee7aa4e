"""How sessions end: by the client, by silence, by a newer connection, by a drain."""

from __future__ import annotations

import pytest

from litevoice_contracts import events
from litevoice_contracts.conversation import Mark
from litevoice_contracts.envelopes import KEEP_ALIVE
from litevoice_contracts.packets import Audio, EpochEnd
from litevoice_contracts.positions import EventId
from litevoice_gateway import commands as do
from litevoice_gateway.limits import Limits
from litevoice_gateway.protocols.openai_realtime import OpenAIRealtime
from tests.unit.gateway.driver import WALL, Driver, a_turn, finish

# Ending


def test_the_clients_close_is_answered_and_the_epoch_ended() -> None:
    driver = Driver()
    driver.audio(2)
    driver.session.peer_closed(1000, driver.now)
    driver.take()
    assert driver.closes == [1000]
    assert driver.packets[-1] == EpochEnd()
    assert len(driver.packets) == 3
    assert driver.all(do.End) == [do.End(True, "completed", 0)]


def test_the_connection_goes_when_the_broker_has_confirmed_everything() -> None:
    """What the client says elsewhere afterwards must not overtake it."""
    driver = Driver()
    driver.audio(2)
    driver.session.drain(driver.now, at_edge=True, by=driver.now)
    driver.take()
    driver.session.confirmed(2, driver.now)
    driver.audio(1)
    driver.session.peer_closed(1012, driver.now)
    driver.take()
    assert driver.session.unconfirmed == 2, "one packet and the end of the epoch"
    driver.session.confirmed(1, driver.now)
    driver.pass_time(1)
    assert not driver.all(do.Disconnect)
    driver.confirm_all()
    assert not driver.all(do.Disconnect), "nor may it overtake what is left to the next owner"
    driver.session.handed_over()
    driver.take()
    assert len(driver.all(do.Disconnect)) == 1
    driver.pass_time(10)
    assert len(driver.all(do.Disconnect)) == 1


def test_but_a_silent_broker_does_not_hold_it_for_ever() -> None:
    driver = Driver()
    driver.audio(2)
    driver.session.peer_closed(1000, driver.now)
    driver.pass_time(1.9)
    assert not driver.all(do.Disconnect)
    driver.pass_time(0.2)
    driver.confirm_all()
    assert len(driver.all(do.Disconnect)) == 1
    assert driver.all(do.End) == [do.End(True, "completed", 0)], "everything was read all the same"


def test_a_client_that_does_not_wait_for_the_confirmation_is_not_disconnected_twice() -> None:
    driver = Driver()
    driver.audio(2)
    driver.session.peer_closed(1000, driver.now)
    driver.session.disconnected(driver.now)
    driver.take()
    driver.confirm_all()
    assert not driver.all(do.Disconnect)


def test_with_nothing_to_confirm_it_goes_at_once() -> None:
    driver = Driver()
    driver.session.peer_closed(1000, driver.now)
    driver.take()
    assert driver.all(do.Disconnect)


def test_a_lost_connection_publishes_what_was_read() -> None:
    driver = Driver()
    driver.audio(2)
    driver.session.disconnected(driver.now)
    driver.session.disconnected(driver.now)
    driver.take()
    assert [type(packet) for packet in driver.packets] == [Audio, Audio, EpochEnd]
    assert len(driver.all(do.End)) == 1
    assert driver.closes == []


def test_idle_sessions_are_closed_normally() -> None:
    driver = Driver(limits=Limits(idle_timeout_seconds=30))
    driver.pass_time(20)
    driver.audio()
    driver.pass_time(25, 0.25)
    driver.down(events.Progress(Mark(WALL, 0)))
    driver.pass_time(29, 0.25)
    assert driver.closes == []
    driver.pass_time(2)
    assert driver.closes == [1000]


def test_a_keep_alive_takes_a_position_and_is_no_sign_of_life() -> None:
    """Of the client or of the worker: the session is as idle as before, and its next reply is heard."""
    driver = Driver(limits=Limits(idle_timeout_seconds=30))
    driver.pass_time(20)
    driver.session.delivered(driver.position, KEEP_ALIVE, driver.now)
    driver.position += 1
    driver.take()
    driver.pass_time(9)
    assert driver.closes == []
    driver.pass_time(2)
    assert driver.closes == [1000]


def test_a_reply_after_a_keep_alive_is_heard() -> None:
    driver = Driver()
    driver.session.delivered(driver.position, KEEP_ALIVE, driver.now)
    driver.position += 1
    driver.down(events.SpeechStarted("i1", 0))
    assert driver.types[-1] == "input_audio_buffer.speech_started"


def test_the_replaced_connection_ends_its_epoch_and_forgets() -> None:
    driver = Driver()
    driver.audio(2)
    driver.session.evicted(driver.now)
    driver.take()
    assert driver.closes == [4001]
    assert driver.packets[-1] == EpochEnd()
    assert driver.all(do.End) == [do.End(False, "moved", 0)]
    driver.clear()
    driver.audio(3)
    driver.down(events.InputCleared())
    assert driver.log == [do.Lose(1)] * 3, "nothing more is sent or published"
    driver.pass_time(3)
    assert driver.all(do.Disconnect)


def test_what_is_read_when_nobody_is_heard_any_more_is_counted_as_lost() -> None:
    driver = Driver()
    driver.session.refused(driver.now)
    driver.take()
    driver.clear()
    driver.audio(2)
    driver.session.messages(["no JSON"], driver.now)
    driver.take()
    assert driver.log == [do.Lose(1)] * 2


# Drain


def test_a_session_stays_when_its_drain_is_taken_back() -> None:
    driver = Driver()
    a_turn(driver)
    driver.session.drain(driver.now, at_edge=True, by=driver.now + 10)
    driver.take()
    driver.session.stay()
    finish(driver)
    driver.pass_time(20)
    assert driver.closes == []
    driver.session.drain(driver.now, at_edge=True, by=driver.now + 10)
    driver.take()
    assert driver.closes == [1012], "another drain is another one"


def test_but_not_when_its_close_has_gone_out() -> None:
    driver = Driver()
    driver.session.drain(driver.now, at_edge=True, by=driver.now + 10)
    driver.take()
    driver.session.stay()
    driver.session.peer_closed(1012, driver.now)
    driver.take()
    assert [end.outcome for end in driver.all(do.End)] == ["moved"]


def test_between_turns_a_drained_session_closes_at_once() -> None:
    driver = Driver()
    driver.session.drain(driver.now, at_edge=True, by=driver.now + 2)
    driver.take()
    assert driver.closes == [1012]


def test_in_a_turn_it_waits_for_the_edge() -> None:
    driver = Driver()
    a_turn(driver)
    driver.session.drain(driver.now, at_edge=True, by=driver.now + 10)
    driver.pass_time(1)
    assert driver.closes == []
    finish(driver)
    assert driver.closes == [1012]
    assert driver.types[-1] == "response.done"


def test_but_not_for_ever() -> None:
    driver = Driver()
    a_turn(driver)
    driver.session.drain(driver.now, at_edge=True, by=driver.now + 2)
    driver.pass_time(2.1)
    assert driver.closes == [1012]


def test_half_close_reads_and_publishes_until_the_peers_close() -> None:
    driver = Driver()
    driver.audio(2)
    driver.session.drain(driver.now, at_edge=True, by=driver.now + 2)
    driver.take()
    driver.audio(5)
    driver.say(type="input_audio_buffer.clear")
    driver.clear()
    driver.down(events.InputCleared())
    assert driver.sent == [], "nothing may follow a Close"
    driver.audio(1)
    driver.session.peer_closed(1012, driver.now)
    driver.take()
    assert driver.packets == [Audio(b"\1\2" * 480), EpochEnd()]
    assert driver.closes == [], "our Close was sent already"
    assert driver.all(do.End) == [do.End(True, "moved", 0)]


def test_every_packet_read_in_half_close_is_published() -> None:
    driver = Driver()
    driver.audio(3)
    driver.session.drain(driver.now, at_edge=True, by=driver.now)
    driver.audio(500)
    driver.session.peer_closed(1012, driver.now)
    driver.take()
    assert [type(packet) for packet in driver.packets].count(Audio) == 503


def test_taken_over_in_half_close_the_rest_is_still_published() -> None:
    driver = Driver()
    driver.session.drain(driver.now, at_edge=True, by=driver.now)
    driver.audio(2)
    driver.session.evicted(driver.now)
    driver.audio(2)
    driver.session.peer_closed(1012, driver.now)
    driver.take()
    assert [type(packet) for packet in driver.packets] == [Audio] * 4 + [EpochEnd]
    assert driver.closes == [1012]
    assert driver.all(do.End) == [do.End(False, "moved", 0)]


def test_a_peer_that_never_answers_the_close_is_cut() -> None:
    driver = Driver()
    driver.session.drain(driver.now, at_edge=True, by=driver.now)
    driver.pass_time(1.9)
    assert not driver.all(do.End)
    driver.pass_time(0.2)
    assert driver.all(do.End) == [do.End(True, "forced", 0)]
    assert driver.all(do.Disconnect)


def test_a_session_that_ends_before_it_is_moved_counts_as_completed() -> None:
    driver = Driver()
    a_turn(driver)
    driver.session.drain(driver.now, at_edge=False, by=driver.now + 50)
    finish(driver)
    driver.pass_time(5)
    assert driver.closes == []
    driver.session.peer_closed(1000, driver.now)
    driver.take()
    assert driver.all(do.End)[0].outcome == "completed"


def test_codes_that_clients_make_up_have_one_counter() -> None:
    for code in (1000, 3000, 4711, 65_535):
        driver = Driver()
        driver.session.peer_closed(code, driver.now)
        driver.take()
        assert driver.closes == [code]
        assert [seen.label for seen in driver.observed("closes")] == ["1000" if code == 1000 else "other"]


AWAY = "litevoice.going_away"


def away(driver: Driver) -> list[int]:
    return [sent["time_left_ms"] for sent in driver.sent if sent["type"] == AWAY]


def asking(*, resume: EventId | None = None, opened: bool = True) -> Driver:
    protocol = OpenAIRealtime(lambda: "item_new", told_of_moves=True, resume=resume)
    return Driver(protocol=protocol, resume=resume, opened=opened)


@pytest.mark.parametrize("at_edge", [True, False])
def test_who_asks_is_told_how_long_it_has_before_its_close(at_edge: bool) -> None:
    driver = asking()
    assert driver.sent[0]["session"]["litevoice"] == {"going_away": True}
    a_turn(driver)
    driver.session.drain(driver.now, at_edge=at_edge, by=driver.now + 2.5)
    driver.take()
    assert (away(driver), driver.closes) == ([2500], [])
    driver.pass_time(3)
    assert (away(driver), driver.closes) == ([2500], [1012])


def test_between_turns_it_is_told_as_well() -> None:
    driver = asking()
    driver.session.drain(driver.now, at_edge=True, by=driver.now + 2)
    driver.take()
    assert (away(driver), driver.closes) == ([2000], [1012])


def test_nobody_else_is_told() -> None:
    driver = Driver()
    driver.session.drain(driver.now, at_edge=True, by=driver.now + 2)
    driver.take()
    assert (away(driver), driver.closes) == ([], [1012])
    assert "litevoice" not in driver.sent[0]["session"]


def test_it_may_ask_later_and_no_more() -> None:
    driver = Driver()
    driver.say(type="session.update", session={"litevoice": {"going_away": True}})
    a_turn(driver)
    driver.session.drain(driver.now, at_edge=False, by=driver.now + 60)
    driver.take()
    assert away(driver) == [60_000]
    driver.session.stay()
    driver.say(type="session.update", session={"litevoice": {"going_away": False}})
    driver.session.drain(driver.now, at_edge=False, by=driver.now + 60)
    driver.take()
    assert away(driver) == [60_000]


def test_each_drain_is_told() -> None:
    driver = asking()
    a_turn(driver)
    for seconds in (60, 30):
        driver.session.drain(driver.now, at_edge=False, by=driver.now + seconds)
        driver.take()
        driver.session.stay()
    assert away(driver) == [60_000, 30_000]


def test_a_session_that_is_restored_meanwhile_is_told_after_its_beginning() -> None:
    first = Driver()
    first.down(events.SpeechStarted("i1", 0))
    driver = asking(resume=EventId.parse("evt_0_x"), opened=False)
    driver.session.drain(driver.now, at_edge=False, by=driver.now + 5)
    driver.session.opened(driver.now)
    driver.take()
    assert driver.sent == []
    driver.pass_time(1)
    driver.session.delivered(0, first.bodies[0], driver.now)
    driver.take()
    assert driver.sent[0]["type"] == "session.created"
    assert away(driver) == [4000]


@pytest.mark.parametrize(
    ("returns", "at_edge", "outcome"),
    [(True, False, "moved"), (False, False, "forced"), (False, True, "moved")],
    ids=["who comes back is moved", "who does not is cut by the limit", "unless the policy moves everybody"],
)
def test_what_a_session_counts_as_that_is_closed_at_the_last_call(returns: bool, at_edge: bool, outcome: str) -> None:
    driver = Driver(protocol=OpenAIRealtime(lambda: "item_new", returns=returns))
    a_turn(driver)
    driver.session.drain(driver.now, at_edge=at_edge, by=driver.now + 2)
    driver.pass_time(2.1)
    assert driver.closes == [1012]
    driver.session.peer_closed(1012, driver.now)
    driver.take()
    assert driver.all(do.End)[0].outcome == outcome
