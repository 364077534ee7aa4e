"""What a BacklogAlert that heals does, to which session, how often, and when it leaves it alone."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast, get_args

import msgspec
import pytest

from litevoice_contracts.operator_api import ActAnswer, Cause, SessionReport, Verdict
from litevoice_operator.adapters.cluster import ClusterError
from litevoice_operator.api.backlog_alert import (
    MAX_HEALED,
    MAX_PER_MINUTE,
    BacklogAlertSpec,
    BacklogAlertStatus,
    Culprit,
    Healed,
    Healing,
)
from litevoice_operator.api.definitions import definitions
from litevoice_operator.api.times import to_text
from litevoice_operator.decide.healing import AGAIN_SECONDS, LEFT_SECONDS, next_patient, remedy, with_healed
from litevoice_operator.reconcile.acts import CannotAct, Wish
from litevoice_operator.reconcile.backlog_alert import AlertReconciler
from litevoice_operator.reconcile.healing import Healer
from litevoice_operator.reconcile.inquiries import Question
from tests.unit.operator.test_verdict import made

NOW = 1_800_000_000.0


def healed(session: str, ago: float, by: str = "Heal") -> Healed:
    entry = {"session": session, "by": by, "cause": "lost-wakeup", "pod": "gateway-0", "at": to_text(NOW - ago)}
    return Healed.model_validate({**entry, "result": "it has"})


def culprit(session: str, owner: str = "Held") -> Culprit:
    return Culprit.model_validate({"session": session, "backlog": 3, "ageSeconds": 20, "owner": owner})


@pytest.mark.parametrize(
    ("description", "healing", "done", "examined", "top", "expected"),
    [
        ("the worst first", {}, [], {}, ["s_1", "s_2"], "s_1"),
        ("who was just looked at waits", {}, [], {"s_1": 5.0}, ["s_1", "s_2"], "s_2"),
        ("and is looked at again", {}, [], {"s_1": AGAIN_SECONDS}, ["s_1", "s_2"], "s_1"),
        ("who was healed is left", {}, [("s_1", 100)], {}, ["s_1", "s_2"], "s_2"),
        ("for a time", {}, [("s_1", LEFT_SECONDS)], {}, ["s_1", "s_2"], "s_1"),
        ("or goes elsewhere", {"move": True}, [("s_1", AGAIN_SECONDS)], {}, ["s_1"], "s_1"),
        ("but not at once", {"move": True}, [("s_1", AGAIN_SECONDS - 1)], {}, ["s_1"], ""),
        ("and once", {"move": True}, [("s_1", 200), ("s_1", 100, "Move")], {}, ["s_1"], ""),
        ("so many in a minute", {"perMinute": 2}, [("s_8", 50), ("s_9", 10)], {}, ["s_1"], ""),
        ("and then more", {"perMinute": 2}, [("s_8", 60), ("s_9", 10)], {}, ["s_1"], "s_1"),
        ("the clock was set back", {"perMinute": 1}, [("s_1", -3600)], {"s_1": -3600.0}, ["s_1"], "s_1"),
        ("nobody", {}, [], {}, [], ""),
    ],
)
def test_who_is_looked_at(
    description: str,
    healing: dict[str, Any],
    done: list[Any],
    examined: dict[str, float],
    top: list[str],
    expected: str,
) -> None:
    found = next_patient(
        Healing.model_validate({"perMinute": 3, **healing}),
        [healed(*entry) for entry in done],
        {session: NOW - ago for session, ago in examined.items()},
        [culprit(session) for session in top],
        NOW,
    )
    assert found == expected, description


def test_a_clock_that_was_set_back_holds_up_nobody() -> None:
    done = [healed("s_1", -3600.0), healed("s_2", -3600.0)]
    healing, later = Healing(per_minute=2), {"s_1": NOW + 3600.0}
    assert next_patient(healing, done, later, [culprit("s_1")], NOW) == "s_1"


def test_only_who_is_held_can_be_healed() -> None:
    top = [culprit("s_1", "Orphaned"), culprit("s_2", "Unknown"), culprit("", "Held"), culprit("s_3")]
    assert next_patient(Healing(per_minute=3), [], {}, top, NOW) == "s_3"


def test_it_is_asked_for_or_it_is_not_done() -> None:
    """An optional object whose fields all have defaults would get them as its own."""
    schema = definitions()["backlogalerts.yaml"]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert "default" not in schema["properties"]["spec"]["properties"]["healing"]


@pytest.mark.parametrize("cause", get_args(Cause))
def test_only_what_a_gateway_can_cure_is_cured(cause: Cause) -> None:
    report = msgspec.structs.replace(made({}, {}, {}), verdict=Verdict(cause, "", []))
    curable = cause in ("lost-subscription", "lost-wakeup", "wrong-owner")
    assert remedy(Healing(per_minute=3), [], report, NOW) == ("Heal" if curable else None)
    before = [healed(report.session_id, 20)]
    assert remedy(Healing(per_minute=3, move=True), before, report, NOW) == ("Move" if curable else None)
    assert remedy(Healing(per_minute=3), before, report, NOW) is None


def test_the_status_remembers_as_much_as_matters() -> None:
    entries: list[Healed] = []
    for number in range(MAX_HEALED + 3):
        entries = with_healed(entries, healed(f"s_{number}", 0))
    assert [entry.session for entry in (entries[0], entries[-1])] == ["s_3", f"s_{MAX_HEALED + 2}"]
    assert MAX_HEALED >= LEFT_SECONDS / 60 * MAX_PER_MINUTE


class Voice:
    """Stands for the API server, for what is told of a session, and for the acts: it notes what is asked of it."""

    def __init__(self, cause: Cause = "lost-wakeup") -> None:
        self.spec: dict[str, Any] | None = {}
        self.cause: Cause = cause
        self.acts: list[tuple[str, str, Wish]] = []
        self.fails: Exception | None = None

    async def get(self, kind: object, namespace: str, name: str) -> dict[str, Any] | None:
        assert (namespace, name) == ("voice", "demo")
        return None if self.spec is None else {"spec": self.spec}

    async def session(self, session: str, question: Question) -> SessionReport:
        assert (question.namespace, question.gateway) == ("voice", "demo")
        report = made({}, {}, {})
        return msgspec.structs.replace(report, session_id=session, verdict=Verdict(self.cause, "", []))

    async def heal(self, session: str, wish: Wish) -> ActAnswer:
        return self._act("heal", session, wish)

    async def move(self, session: str, wish: Wish) -> ActAnswer:
        return self._act("move", session, wish)

    def _act(self, act: Any, session: str, wish: Wish) -> ActAnswer:
        if self.fails is not None:
            raise self.fails
        self.acts.append((act, session, wish))
        return ActAnswer(act, "voice", "demo", "gateway-0", session, True, f"{act} it is", [])

    @property
    def healer(self) -> Healer:
        return Healer(cast(Any, SimpleNamespace(cluster=self)), cast(Any, self), cast(Any, self))


async def treated(voice: Voice, healing: Healing, done: list[Healed]) -> Healed | None:
    return await voice.healer.treat(("voice", "demo"), "late", healing, done, "s_1")


async def test_an_act_is_done_in_the_alerts_name_and_never_forced() -> None:
    voice = Voice()
    first = await treated(voice, Healing(per_minute=3, move=True), [])
    assert first is not None
    assert (first.session, first.by, first.cause, first.pod, first.result) == (
        "s_1", "Heal", "lost-wakeup", "gateway-0", "heal it is",
    )  # fmt: skip
    earlier = first.model_copy(update={"at": "2026-01-01T00:00:00Z"})
    again = await treated(voice, Healing(per_minute=3, move=True), [earlier])
    assert again is not None
    assert again.by == "Heal", "what was done long ago is over"
    assert [(act, wish.by, wish.force, wish.dry_run) for act, _, wish in voice.acts] == [
        ("heal", "BacklogAlert late", False, False)
    ] * 2


@pytest.mark.parametrize(
    "changed",
    [
        {"spec": {"paused": True}},
        {"spec": None},
        {"cause": "slow-reader"},
        {"cause": "stuck-model"},
        {"fails": CannotAct("its client reads too slowly")},
        {"fails": ClusterError(0, "no answer")},
    ],
)
async def test_nothing_is_done_where_it_would_not_help_or_cannot_be(changed: dict[str, Any]) -> None:
    voice = Voice()
    for name, value in changed.items():
        setattr(voice, name, value)
    assert await treated(voice, Healing(per_minute=3), []) is None
    assert voice.acts == []


FIRING = BacklogAlertStatus.model_validate({"state": "Firing", "top": [culprit("s_1").to_object()]})
SPEC = {
    "gatewayRef": {"name": "demo"},
    "target": "Replies",
    "thresholds": [{"severity": "warning", "messages": 1}],
    "healing": {"perMinute": 3},
}


def alert(voice: Voice) -> AlertReconciler:
    notifier = SimpleNamespace(put=lambda *_: None)
    shared = SimpleNamespace(resources=None, outbox=None, notifier=notifier, views={}, alerts={})
    return AlertReconciler(cast(Any, shared), voice.healer, ("voice", "late"))


async def passes(
    voice: Voice, status: BacklogAlertStatus = FIRING, *, draining: bool = False, **spec: Any
) -> BacklogAlertStatus:
    """Two passes of an alert, with time between them for what the first has begun."""
    reconciler, wanted = alert(voice), BacklogAlertSpec.model_validate(SPEC | spec)
    first = reconciler._healed(wanted, status, draining=draining)
    assert first == status, "nothing waits for it"
    for _ in range(5):
        await asyncio.sleep(0)
    second = reconciler._healed(wanted, status, draining=draining)
    await reconciler.close()
    return second


async def test_an_alert_that_fires_heals_one_session_at_a_time_and_records_it() -> None:
    voice = Voice()
    both = FIRING.model_copy(update={"top": [culprit("s_1"), culprit("s_2")]})
    status = await passes(voice, both)
    assert [(entry.session, entry.by) for entry in status.healed] == [("s_1", "Heal")]
    assert [session for _, session, _ in voice.acts] == ["s_1"]


@pytest.mark.parametrize(
    ("description", "given"),
    [
        ("it was not asked for", {"healing": None}),
        ("it only measures", {"dryRun": True}),
        ("sessions move anyhow", {"draining": True}),
        ("it does not fire", {"status": FIRING.model_copy(update={"state": "Pending"})}),
    ],
)
async def test_an_alert_heals_only_when_it_may(description: str, given: dict[str, Any]) -> None:
    voice = Voice()
    assert (await passes(voice, **given)).healed == [], description
    assert voice.acts == [], description


async def test_a_treatment_that_fails_does_not_stop_the_next() -> None:
    voice, spec = Voice(), BacklogAlertSpec.model_validate(SPEC)
    voice.fails = RuntimeError("a bug")
    reconciler = alert(voice)
    reconciler._healed(spec, FIRING, draining=False)
    for _ in range(5):
        await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="a bug"):
        reconciler._healed(spec, FIRING, draining=False)
    voice.fails = None
    other = FIRING.model_copy(update={"top": [culprit("s_2")]})
    reconciler._healed(spec, other, draining=False)
    for _ in range(5):
        await asyncio.sleep(0)
    assert [entry.session for entry in reconciler._healed(spec, other, draining=False).healed] == ["s_2"]
    await reconciler.close()
