"""Whose topics are: tables of cases."""

from __future__ import annotations

from typing import Any

import pytest

from litevoice_contracts.names import Names
from litevoice_operator.api.resource import Metadata
from litevoice_operator.decide.conditions import Problem
from litevoice_operator.decide.ownership import Owner, claim, is_owned, topic_prefix, trespass

METADATA = Metadata(namespace="voice", name="prod-eu", uid="u")
OLD, NEW = "lv-voice-prod-eu", "lv-voice_prod-eu"
NAMES = Names.with_prefix(NEW, 2)
MINE = Owner("11111111-2222", "aaaa")

PREFIXES: list[tuple[str, str, bool, bool, str]] = [
    ("new", "", False, True, NEW),
    ("of an early release", "", True, True, OLD),
    ("recorded, whatever it is", "lv-x", True, True, "lv-x"),
    ("new, but its CRD cannot record the choice", "", False, False, OLD),
    ("the same at the next look", "", True, False, OLD),
    ("the same after the CRD was upgraded", "", True, True, OLD),
]


@pytest.mark.parametrize(("description", "recorded", "seen", "recordable", "prefix"), PREFIXES,
                         ids=[row[0] for row in PREFIXES])  # fmt: skip
def test_the_prefix_is_chosen_once(description: str, recorded: str, seen: bool, recordable: bool, prefix: str) -> None:
    assert topic_prefix(METADATA, recorded, seen_before=seen, recordable=recordable) == prefix


SUCCESSOR, NEW_KEY, OTHER = Owner("9", "aaaa"), Owner(MINE.uid, "bbbb"), Owner("9", "cccc")
CLAIMS: list[tuple[str, list[str], bool, bool, str]] = [
    ("nothing is there", ["", ""], False, False, "Free"),
    ("marked as mine", [str(MINE), str(MINE)], True, False, "Mine"),
    ("one mark is missing: I was interrupted", [str(MINE), ""], False, False, "Mine"),
    ("my predecessor's, of the same name", [str(SUCCESSOR), str(SUCCESSOR)], True, False, "Mine"),
    ("mine, under another root key", [str(NEW_KEY), str(NEW_KEY)], True, False, "Mine"),
    ("mine before there were marks", ["", ""], True, True, "Mine"),
    ("made by somebody by hand", ["", ""], True, False, "Unmarked"),
    ("another's requests", [str(OTHER), ""], True, False, "NamesTaken"),
    ("another's replies", ["", str(OTHER)], True, True, "NamesTaken"),
    ("a group of somebody else", ["some-topic", ""], True, False, "NamesTaken"),
]


@pytest.mark.parametrize(("description", "marks", "exist", "had", "verdict"), CLAIMS, ids=[row[0] for row in CLAIMS])
def test_claims(description: str, marks: list[str], exist: bool, had: bool, verdict: str) -> None:
    found = claim(NAMES, MINE, marks, exist=exist, had_them=had)
    assert (found.reason if isinstance(found, Problem) else found) == verdict
    if isinstance(found, Problem):
        assert found.lasting
        assert "-owner" in found.message


@pytest.mark.parametrize("text", ["", "topic", "owner_", "owner_u", "other_u_l"])
def test_what_is_no_mark(text: str) -> None:
    assert Owner.parse(text) is None
    assert Owner.parse(str(MINE)) == MINE


def reference(kind: str, name: str, uid: str, *, controller: bool = True) -> dict[str, Any]:
    return {"kind": kind, "name": name, "uid": uid, "controller": controller}


OBJECTS: list[tuple[str, list[dict[str, Any]], bool | None, str]] = [
    ("made for this one", [reference("VoiceGateway", "web", "u-1")], None, ""),
    ("made by hand", [], True, "was not made by the operator"),
    ("another operator's", [reference("Shop", "web", "u-2")], True, "belongs to Shop web"),
    ("another VoiceGateway's", [reference("VoiceGateway", "www", "u-2")], True, "belongs to VoiceGateway www"),
    ("its predecessor's", [reference("VoiceGateway", "web", "u-2")], False, "earlier VoiceGateway"),
    ("owned, not controlled", [reference("VoiceGateway", "web", "u-1", controller=False)], True, "was not made"),
]


@pytest.mark.parametrize(("description", "references", "lasting", "text"), OBJECTS, ids=[row[0] for row in OBJECTS])
def test_objects_of_others(description: str, references: list[dict[str, Any]], lasting: bool | None, text: str) -> None:
    body = {"metadata": {"ownerReferences": references}}
    problem = trespass(body, "web", "u-1")
    assert is_owned(body, "u-1") is (problem is None)
    assert (problem.lasting if problem else None) is lasting
    assert text in (problem.message if problem else "")
