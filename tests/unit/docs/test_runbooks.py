"""Whoever is woken by an alert, or sees a condition, finds a section that says what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from litevoice_dev.reference.kubernetes import REASONS
from litevoice_operator.api import conditions
from litevoice_operator.decide.routing import ALERT_NAME, BLIND_NAME

ROOT = Path(__file__).resolve().parents[3]
RULE = (ROOT / "charts" / "litevoice" / "templates" / "prometheusrule.yaml").read_text()
PAGE = (ROOT / "docs" / "runbooks" / "README.md").read_text()

ALERTS = {ALERT_NAME, BLIND_NAME, *re.findall(r"- alert: (\w+)", RULE)}
CONDITIONS = {
    value for name, value in vars(conditions).items() if name.isupper() and isinstance(value, str) and value.isalpha()
}


NOTHING_TO_DO = {
    *("Ready", "Acting", "Settled", "Fits", "UpToDate", "Seeing", "ChannelsKnown", "AsExpected"),
    *("EnoughReady", "NamesAtBroker"),
    *("AsSessionsAsk", "ScaledByOthers", "AtMinimum", "Measuring", "Pending", "BelowThreshold"),
}
"""Reasons that say that all is well, or that somebody has decided so."""
WHOLE_SECTION = {"Paused": "Paused", "ThresholdExceeded": "Firing"}
"""Reasons that are a condition's only one of their kind."""


def sections(title: str) -> dict[str, str]:
    """Heading → text, of one half of the page."""
    half = re.split(r"^# ", PAGE, flags=re.MULTILINE)
    (text,) = (part.removeprefix(f"{title}\n") for part in half if part.startswith(f"{title}\n"))
    found = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return dict(zip(found[1::2], found[2::2], strict=True))


def test_the_names_are_found_where_they_stand() -> None:
    assert {"LitevoiceBacklog", "LitevoiceFleetFull"} <= ALERTS
    assert {"Ready", "CRDOutdated"} <= CONDITIONS


@pytest.mark.parametrize(("title", "names"), [("Alerts", ALERTS), ("Conditions", CONDITIONS)])
def test_each_has_a_section_with_what_to_do_and_no_section_is_left_over(title: str, names: set[str]) -> None:
    found = sections(title)
    assert found.keys() == names
    assert [name for name, text in found.items() if not re.search(r"^1\. \S", text, flags=re.MULTILINE)] == []


def test_static_alerts_lead_to_the_sections_by_their_anchors() -> None:
    anchors = re.findall(r"runbook_url: .*#(\S+)", RULE)
    assert sorted(anchors) == sorted(name.lower() for name in re.findall(r"- alert: (\w+)", RULE))
    assert set(anchors) <= {name.lower() for name in sections("Alerts")}


def test_each_reason_that_is_not_as_it_should_be_is_spoken_of() -> None:
    found = sections("Alerts") | sections("Conditions")
    told = set(re.findall(r"`(\w+)`", "".join(found.values())))
    told |= {reason for reason, section in WHOLE_SECTION.items() if section in found}
    assert REASONS.keys() - told == NOTHING_TO_DO - told
    assert REASONS.keys() >= NOTHING_TO_DO
