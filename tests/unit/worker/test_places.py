"""Where an exception comes from, as logs tell it."""

from __future__ import annotations

import asyncio
import re

from litevoice_worker.places import place


async def test_the_places_on_the_way_without_what_was_said_and_without_pythons_own() -> None:
    def look_up() -> None:
        raise KeyError("secret words")

    try:
        await asyncio.to_thread(look_up)
    except KeyError as error:
        told = place(error)
    name = r"worker/test_places\.py:\d+"
    assert re.fullmatch(rf"{name} test_the_places_\w+, {name} look_up", told), told


def test_what_was_not_raised_comes_from_nowhere() -> None:
    assert place(KeyError()) == ""
