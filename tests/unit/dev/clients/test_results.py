"""What a run of `make clients` is told as, and whether the documents show the last one."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from litevoice_dev.clients import results
from litevoice_dev.clients.catalog import CLIENTS, CONTINUES, GONE, STEPS
from litevoice_dev.clients.command import chosen_clients

WELL: dict[str, Any] = {"version": "1.2.3", "steps": dict.fromkeys(STEPS, results.HELD), "moved": CONTINUES}


def test_every_client_was_run_with_every_step() -> None:
    recorded = results.recorded()
    assert list(recorded) == [client.name for client in CLIENTS]
    assert all(list(result["steps"]) == list(STEPS) for result in recorded.values())


def test_the_recorded_versions_are_the_locked_ones() -> None:
    """After `make lock` has brought newer releases, `make clients` has to be run again."""
    for client in CLIENTS:
        assert results.recorded()[client.name]["version"] == results.locked_version(client), client.name


def test_the_support_of_the_protocol_is_told_against_the_same_release() -> None:
    """docs/reference/protocol-support.md is made with the package that is installed here."""
    assert openai.__version__ == results.locked_version(CLIENTS[0])


@pytest.mark.parametrize("page", results.PAGES, ids=lambda page: page.name)
def test_the_documents_show_the_last_run(page: Any) -> None:
    text = page.read_text()
    assert results.with_table(text, results.recorded()) == text, "run `make clients`"


def test_a_step_that_did_not_hold_is_a_miss_and_stands_in_the_table() -> None:
    steps = {**WELL["steps"], "interrupted": "no answer"}
    found = {"pipecat": {**WELL, "steps": steps, "moved": GONE}}
    assert results.misses(found) == ["pipecat-ai: interruption, and the next question: no answer"]
    assert "| **no**: no answer |" in results.table_of(found)


def test_who_was_told_how_to_come_back_must_come_back() -> None:
    found = {"openai-npm": {**WELL, "moved": GONE}, "agents-npm": {**WELL, "moved": GONE}}
    assert results.misses(found) == ["openai (npm): told how to come back, it does not come back"]


def test_a_page_without_a_place_for_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="no place for the table"):
        results.with_table("# Clients", {})


def test_an_unknown_client_is_refused_by_name() -> None:
    assert [client.name for client in chosen_clients("livekit,pipecat")] == ["livekit", "pipecat"]
    assert chosen_clients("") == list(CLIENTS)
    with pytest.raises(SystemExit, match=r"expected some of openai-python, .*, got 'pipcat'"):
        chosen_clients("pipcat")
