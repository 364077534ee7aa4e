"""The session state machine, with virtual time: opening, what goes up, what comes down, what it tells about itself."""

from __future__ import annotations

import pytest

from litevoice_contracts import events
from litevoice_contracts.conversation import Cursor, Item, Mark, SessionConfig, Snapshot, Untranscribed
from litevoice_contracts.envelopes import DownEnvelope
from litevoice_contracts.news import SessionNews
from litevoice_contracts.packets import Audio, Clear, Commit, CreateResponse, Update
from litevoice_gateway import commands as do
from litevoice_gateway.intake import MAX_EARLY_MESSAGES
from litevoice_gateway.limits import Limits
from litevoice_gateway.protocols import Problem
from litevoice_gateway.standing import Phase
from tests.unit.gateway.driver import PCM, PENDING, WALL, Driver, a_turn, finish

# Opening


def test_a_new_session_is_greeted_once_it_is_ours_and_not_before() -> None:
    driver = Driver(opened=False)
    driver.take()
    assert driver.log == []
    driver.session.opened(driver.now)
    driver.take()
    assert driver.types == ["session.created"]
    assert driver.sent[0]["event_id"] == "evt_x_x_g1"
    assert driver.sent[0]["session"]["id"] == "s_1"


def test_what_the_client_says_before_that_waits_and_is_applied_in_order() -> None:
    driver = Driver(opened=False)
    driver.say(type="session.update", session={"audio": {"input": {"format": {"type": "audio/pcmu"}}}})
    driver.say(type="input_audio_buffer.append", audio="AAAA")
    driver.session.opened(driver.now)
    driver.take()
    driver.pass_time(0.2)
    assert [type(packet) for packet in driver.packets] == [Update, Audio]
    assert driver.types == ["session.created"]
    assert [envelope.codec for envelope in driver.published] == ["pcm16/24000", "g711_ulaw/8000"]


def test_a_client_that_talks_too_much_before_that_is_not_read() -> None:
    driver = Driver(opened=False)
    driver.audio(MAX_EARLY_MESSAGES)
    assert driver.all(do.PauseReading)
    driver.session.opened(driver.now)
    driver.take()
    assert isinstance(driver.all(do.ResumeReading)[-1], do.ResumeReading)
    driver.pass_time(0.2)
    assert len(driver.packets) == MAX_EARLY_MESSAGES


def test_a_session_that_cannot_be_opened_is_told_to_try_again() -> None:
    driver = Driver(opened=False)
    driver.session.open_failed("the broker is away", driver.now)
    driver.take()
    assert driver.closes == [1013]


# Up


def test_audio_is_collected_for_a_batch_and_published_with_the_first_snapshot() -> None:
    driver = Driver()
    driver.audio(3)
    assert driver.published == []
    assert len(driver.all(do.AwaitDeparture)) == 1
    driver.pass_time(0.1)
    (envelope,) = driver.published
    assert (envelope.epoch, envelope.seq, len(envelope.packets)) == (WALL, 0, 3)
    assert envelope.snapshot == Snapshot(config=SessionConfig())


def test_a_commit_does_not_wait_for_the_batch() -> None:
    driver = Driver()
    driver.audio(2)
    driver.say(type="input_audio_buffer.commit")
    assert [type(packet) for packet in driver.packets] == [Audio, Audio, Commit]


def test_bad_events_are_answered_and_the_session_lives_on() -> None:
    driver = Driver()
    driver.clear()
    driver.say(type="input_audio_buffer.append", audio="%%%", event_id="mine")
    driver.say(type="nonsense")
    driver.audio()
    driver.pass_time(0.2)
    errors = [message["error"]["code"] for message in driver.sent]
    assert errors == ["invalid_base64", "unknown_event"]
    assert driver.sent[0]["error"]["event_id"] == "mine"
    assert len(driver.packets) == 1
    assert driver.closes == []


def test_events_that_are_refused_count_too() -> None:
    driver = Driver(limits=Limits(max_events_per_second=10))
    driver.clear()
    for _ in range(25):
        driver.say(type="nonsense")
    assert len(driver.sent) == 25
    assert not driver.is_reading()
    driver.pass_time(0.7)
    assert driver.is_reading()


def test_too_many_events_are_read_later_and_none_is_refused() -> None:
    driver = Driver(limits=Limits(max_events_per_second=10))
    driver.clear()
    for number in range(25):
        driver.say(type="input_audio_buffer.append", audio=PCM, event_id=f"e{number}")
    assert driver.sent == []
    assert not driver.is_reading(), "six events beyond the burst: the socket waits"
    driver.pass_time(0.5)
    assert not driver.is_reading()
    driver.pass_time(0.2)
    assert driver.is_reading()
    assert len(driver.packets) == 25


def test_a_broken_protocol_is_explained_and_closed() -> None:
    driver = Driver()
    driver.clear()
    driver.session.broken(1002, Problem("protocol_error", "bad frame", "message"), driver.now)
    driver.audio(5)
    assert driver.types == ["error"]
    assert driver.closes == [1002]
    driver.pass_time(3)
    assert driver.packets == []
    assert driver.all(do.Disconnect)


def test_an_update_rules_what_comes_after_it() -> None:
    driver = Driver()
    driver.say(type="session.update", session={"audio": {"input": {"format": {"type": "audio/pcmu"}}}})
    driver.say(type="input_audio_buffer.append", audio="AAAA")
    driver.pass_time(0.2)
    assert driver.packets[-1] == Audio(b"\0\0\0")
    driver.down(events.SessionUpdated(), snapshot=Snapshot(config=driver.packets[0].config))  # type: ignore[union-attr]
    assert driver.types[-1] == "session.updated"
    assert driver.sent[-1]["session"]["audio"]["input"]["format"] == {"type": "audio/pcmu"}


def test_an_older_snapshot_does_not_undo_an_update_under_way() -> None:
    driver = Driver()
    driver.say(type="session.update", session={"audio": {"input": {"format": {"type": "audio/pcmu"}}}})
    driver.down(events.ItemCreated(Item("i", "user", "x")), snapshot=Snapshot(config=SessionConfig()))
    driver.say(type="input_audio_buffer.append", audio="AAAA")
    driver.pass_time(0.2)
    assert isinstance(driver.packets[-1], Audio)


def test_an_update_that_the_worker_refuses_is_not_built_upon() -> None:
    driver = Driver()
    driver.say(type="session.update", session={"instructions": "far too long"})
    driver.down(events.SessionError("session_too_large", "the configuration must fit"), snapshot=Snapshot())
    driver.say(type="session.update", session={"audio": {"output": {"speed": 1.5}}})
    (_, update) = [packet for packet in driver.packets if isinstance(packet, Update)]
    assert update.config == SessionConfig(speed=1.5)


# Down


def test_a_whole_turn() -> None:
    driver = Driver()
    driver.audio(10)
    driver.pass_time(0.2)
    driver.clear()
    a_turn(driver)
    finish(driver)
    assert driver.types == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "conversation.item.input_audio_transcription.completed",
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio_transcript.delta",
        "response.output_audio.delta",
        "response.output_audio_transcript.delta",
        "response.output_audio.delta",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
    ]
    ids = [message["event_id"] for message in driver.sent]
    assert ids[:3] == ["evt_0_x", "evt_1_x", "evt_1_x_1"]
    assert ids[5] == "evt_2_2"
    assert ids[-1] == "evt_8_8_5"
    assert len(set(ids)) == len(ids)
    assert driver.session.pending_requests == 0


def test_progress_frees_what_is_retained_and_is_not_forwarded() -> None:
    driver = Driver()
    driver.audio(4)
    driver.pass_time(0.2)
    driver.clear()
    driver.down(events.Progress(Mark(WALL, 2)))
    assert driver.sent == []
    assert driver.session.pending_requests == 1


def test_a_position_out_of_order_is_not_used() -> None:
    driver = Driver()
    driver.clear()
    driver.session.delivered(3, DownEnvelope(0, 1, [events.InputCleared()]).encode(), driver.now)
    driver.down(events.InputCleared())
    driver.session.delivered(0, DownEnvelope(0, 1, [events.InputCleared()]).encode(), driver.now)
    driver.take()
    assert [message["event_id"] for message in driver.sent] == ["evt_0_x"]


def test_an_unreadable_message_is_counted_and_skipped() -> None:
    driver = Driver()
    driver.session.delivered(0, b"\xc1", driver.now)
    driver.position = 1
    driver.down(events.InputCleared())
    assert driver.observed("dropped") == [do.Observe("dropped", "bad_envelope")]
    assert driver.sent[-1]["event_id"] == "evt_1_x"


def test_gateway_made_events_repeat_the_last_position() -> None:
    driver = Driver()
    driver.down(events.InputCleared())
    driver.say(type="nonsense")
    driver.say(type="nonsense")
    assert [message["event_id"] for message in driver.sent[-2:]] == ["evt_0_x_g2", "evt_0_x_g3"]


def test_a_snapshot_in_mid_response_is_no_place_to_restore_from() -> None:
    driver = Driver()
    a_turn(driver)
    snapshot = Snapshot(items=[Item("x", "user", "by the way")], turn=1, pending=PENDING)
    driver.down(events.ItemCreated(Item("x", "user", "by the way")), snapshot=snapshot)
    assert driver.sent[-1]["event_id"] == "evt_8_2_1"
    finish(driver)
    assert driver.sent[-1]["event_id"].startswith("evt_9_9")


# What it tells


def test_info_tells_no_content() -> None:
    driver = Driver()
    driver.audio(2)
    driver.pass_time(3)
    info = driver.session.info(driver.now)
    assert (info.session_id, info.client, info.principal) == ("s_1", "c:1", "p")
    assert (info.pending_requests, info.next_position, info.turn) == (1, 0, 0), "one message of two packets"
    assert info.oldest_request_seconds == pytest.approx(3, abs=0.2)


def test_other_packets_reach_the_worker_in_order() -> None:
    driver = Driver()
    driver.audio(1)
    driver.say(type="input_audio_buffer.clear", event_id="a")
    driver.say(type="response.create", response={"metadata": {"k": "v"}})
    assert driver.packets[1:] == [Clear("a"), CreateResponse(metadata={"k": "v"})]
    assert driver.session.phase is Phase.LIVE


# Turns that make no progress


def test_a_turn_stalls_from_its_last_sign_of_progress() -> None:
    driver = Driver()
    assert driver.session.stalled_seconds(driver.now) == 0, "nothing is expected"
    driver.say(type="input_audio_buffer.append", audio="AQIDBA==")
    driver.pass_time(5)
    assert 4 < driver.session.stalled_seconds(driver.now) < 6, "no worker is there"
    known = SessionNews(driver.session.id)
    driver.session.worker_is_alive(driver.now, known)
    assert driver.session.stalled_seconds(driver.now) == 0, "the user may still be speaking"
    committed = Snapshot(SessionConfig(), cursor=Cursor(untranscribed=[Untranscribed(1, Mark(1, 0))]))
    driver.down(events.SpeechStarted("i1", 0), events.InputCommitted("i1", None), snapshot=committed)
    driver.pass_time(3)
    driver.session.worker_is_alive(driver.now, known)
    assert 2.5 < driver.session.stalled_seconds(driver.now) < 3.5, (
        "the worker lives, and its recognizer does not answer"
    )
    driver.down(events.InputCleared())
    assert driver.session.info(driver.now).stalled_seconds < 0.1
