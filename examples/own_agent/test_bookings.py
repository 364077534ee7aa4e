"""The responder in virtual time: a conversation of a minute takes milliseconds, and workers die in it."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from examples.own_agent.bookings import Bookings, Options
from litevoice_contracts.conversation import SessionConfig
from litevoice_worker.testing import Call, run

ANSWER = "Of course. I have booked a table for four. Your number is 1. See you soon."


def call_to(database: Path, tables: int = 10) -> Call:
    options = Options(database=str(database), tables=tables)
    return Call(lambda: Bookings(options), config=SessionConfig(principal="alice"))


def bookings(database: Path) -> list[tuple[str, int]]:
    with sqlite3.connect(database) as opened:
        return opened.execute("SELECT caller, seats FROM bookings").fetchall()


def test_a_table_is_booked(tmp_path: Path) -> None:
    async def story() -> None:
        async with call_to(tmp_path / "bookings", tables=1) as call:
            call.say("Hello.")
            assert (await call.answer()).text == "I book tables. For how many people?"
            call.say("Please book a table for four.")
            assert (await call.answer(1)).text == ANSWER
            call.say("And a table for two.")
            assert (await call.answer(2)).text == "I am sorry. We have no table left."

    run(story)
    assert bookings(tmp_path / "bookings") == [("alice", 4)]


@pytest.mark.parametrize("sentences", range(5))
def test_it_is_booked_once_though_workers_die(tmp_path: Path, sentences: int) -> None:
    async def story() -> None:
        async with call_to(tmp_path / "bookings") as call:
            call.say("Please book a table for four.")
            if sentences:
                await call.sentences(sentences)
            for _ in range(2):
                await call.kill_worker()
                await asyncio.sleep(0.1)
            answer = await call.answer()
            assert (answer.status, answer.text) == ("completed", ANSWER)

    run(story)
    assert bookings(tmp_path / "bookings") == [("alice", 4)]
