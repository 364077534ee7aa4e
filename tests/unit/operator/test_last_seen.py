"""What passes go by while the API server is not asked."""

from __future__ import annotations

from typing import Any

from litevoice_operator.decide.budget import LEAST_HOLD
from litevoice_operator.reconcile.last_seen import LastSeen

KIND, KEY = "VoiceGateway", ("voice", "demo")


def body(version: int | str, uid: str = "1") -> dict[str, Any]:
    return {"metadata": {"uid": uid, "resourceVersion": str(version)}}


def shown(last: LastSeen, now: float = 0.0) -> str | None:
    found = last.get(KIND, KEY, now)
    return None if found is None else found["metadata"]["resourceVersion"]


def test_an_event_is_believed_for_a_while() -> None:
    last = LastSeen()
    last.told(KIND, KEY, body(7), 0.0)
    assert shown(last, LEAST_HOLD - 0.1) == "7"
    assert shown(last, LEAST_HOLD) is None, "the API server is asked again"
    last.answered(KIND, KEY, body(7), LEAST_HOLD)
    assert shown(last, LEAST_HOLD + 1) == "7"


def test_an_event_from_before_our_own_write_changes_nothing() -> None:
    last = LastSeen()
    last.told(KIND, KEY, body(9), 0.0)
    last.answered(KIND, KEY, body(11), 1.0)
    last.told(KIND, KEY, body(10), 2.0)
    assert shown(last) == "11"
    last.told(KIND, KEY, body(12), 3.0)
    assert shown(last) == "12"


def test_another_one_of_its_name_is_another() -> None:
    last = LastSeen()
    last.told(KIND, KEY, body(9), 0.0)
    last.told(KIND, KEY, body(3, uid="2"), 1.0)
    assert shown(last) == "3"
    last.gone(KIND, KEY, body(10))
    assert shown(last) == "3", "the news of the former one's end comes late"
    last.gone(KIND, KEY, body(4, uid="2"))
    assert shown(last) is None


def test_versions_that_are_no_numbers_are_taken_as_they_come() -> None:
    last = LastSeen()
    last.told(KIND, KEY, body("a"), 0.0)
    last.told(KIND, KEY, body("b"), 0.0)
    assert shown(last) == "b"


def test_what_no_event_has_told_of_is_asked_for_each_time() -> None:
    last = LastSeen()
    last.answered(KIND, KEY, body(7), 0.0)
    assert shown(last) is None


def test_what_is_gone_is_asked_for() -> None:
    last = LastSeen()
    last.told(KIND, KEY, body(7), 0.0)
    last.answered(KIND, KEY, None, 1.0)
    assert shown(last) is None
    last.told(KIND, KEY, body(7), 2.0)
    last.forget(KIND, KEY)
    assert shown(last) is None
