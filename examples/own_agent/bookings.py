"""A responder of one's own: it books tables. See docs/own-agent.md."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator

from pydantic import BaseModel, ConfigDict, Field

from litevoice_contracts.errors import InvalidField
from litevoice_worker.commands import Prompt, StageContext
from litevoice_worker.sentences import unsaid
from litevoice_worker.stages import Plugin

NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6}


class Options(BaseModel):
    """What `options:` may hold; an unknown one is an error, so that typos are found."""

    model_config = ConfigDict(extra="forbid")

    database: str
    tables: int = Field(default=10, ge=1)


class Bookings(Plugin[Options]):
    Options = Options

    async def start(self) -> None:
        try:
            await asyncio.to_thread(self._create)
        except sqlite3.OperationalError as error:
            raise InvalidField("database", f"a file that can be written ({error})") from error

    async def respond(self, prompt: Prompt, context: StageContext) -> AsyncIterator[str]:
        question = next((item.text.lower() for item in reversed(prompt.items) if item.role == "user"), "")
        if match := re.search(rf"table for ({'|'.join(NUMBERS)})", question):
            number = await asyncio.to_thread(self.book, NUMBERS[match[1]], context)
            if number is None:
                text = "I am sorry. We have no table left."
            else:
                text = f"Of course. I have booked a table for {match[1]}. Your number is {number}. See you soon."
        else:
            text = "I book tables. For how many people?"
        # Another worker may have begun this answer. What it said is not said again.
        for sentence in unsaid(text, prompt.said):
            yield sentence

    # The tool. It blocks, so it runs in a thread.

    def book(self, seats: int, context: StageContext) -> int | None:
        """The booking's number. An answer that is begun again, by whichever worker, books nothing new: its key is
        there already."""
        with sqlite3.connect(self.options.database, timeout=5) as database:
            database.execute("BEGIN IMMEDIATE")
            (taken,) = database.execute("SELECT count(*) FROM bookings").fetchone()
            if taken < self.options.tables:
                database.execute(
                    "INSERT OR IGNORE INTO bookings (key, caller, seats) VALUES (?, ?, ?)",
                    (context.idempotency_key, context.principal, seats),
                )
            found = database.execute("SELECT id FROM bookings WHERE key = ?", (context.idempotency_key,)).fetchone()
            return int(found[0]) if found else None

    def _create(self) -> None:
        with sqlite3.connect(self.options.database, timeout=5) as database:
            database.execute("CREATE TABLE IF NOT EXISTS bookings (id INTEGER PRIMARY KEY, key UNIQUE, caller, seats)")
