"""Whether the limits of a drain can work: a table of cases."""

from __future__ import annotations

from typing import Any

import pytest

from litevoice_operator.api.voice_gateway import VoiceGatewaySpec
from litevoice_operator.decide.drain_limits import drain_finding

CASES: list[tuple[str, int, dict[str, Any], tuple[str, str], str]] = [
    ("the defaults", 5000, {}, ("True", "Fits"), "within 60 s"),
    ("more than can be moved", 20_000, {}, ("False", "TimeoutTooShort"), "up to 8500 of a full gateway would be cut"),
    ("what would be enough", 20_000, {}, ("False", "TimeoutTooShort"), "would be cut; timeoutSeconds 103 is enough"),
    ("or faster, within what a broker takes over", 11_501, {}, ("False", "TimeoutTooShort"),
     "would be cut; ratePerSecond 201 or timeoutSeconds 61 is enough"),
    ("what the operator does meanwhile", 20_000, {}, ("False", "TimeoutTooShort"),
     "drains no gateway that holds more than 11500, so a rollout or a scale-down waits"),
    ("exactly what can be moved", 11_500, {}, ("True", "Fits"), ""),
    ("one more, which might be told too late to answer its Close", 11_501, {}, ("False", "TimeoutTooShort"),
     "1 of a full gateway"),
    ("enough by rate", 12_190, {"ratePerSecond": 212}, ("True", "Fits"), ""),
    ("faster than the broker takes over", 20_000, {"ratePerSecond": 348}, ("False", "BrokersTooSlow"),
     "20000 sessions (session.maxPerPod) take 97 s at 212 per second"),
    ("who may complete is moved in the end", 20_000, {"policy": "Complete"}, ("False", "TimeoutTooShort"),
     "8500 of a full gateway would be cut, if none of them ends by itself"),
    ("and with time to complete", 20_000, {"policy": "Complete", "timeoutSeconds": 500}, ("True", "Fits"), ""),
    ("no faster than the broker takes over, then", 20_000, {"policy": "Complete", "ratePerSecond": 348},
     ("False", "BrokersTooSlow"), "take 97 s"),
    ("longer than autoscalers wait", 5000, {"timeoutSeconds": 1800}, ("Unknown", "LongerThanNodesMayWait"),
     "1830 s to end, but the cluster autoscaler ends it after 600 s"),
    ("just as long", 5000, {"timeoutSeconds": 570}, ("True", "Fits"), ""),
    ("too short matters more", 100_000, {"timeoutSeconds": 600, "ratePerSecond": 1}, ("False", "TimeoutTooShort"),
     "99403"),
    ("a very short one", 201, {"timeoutSeconds": 2}, ("False", "TimeoutTooShort"), "timeoutSeconds 3 is enough"),
    ("is half for closing", 200, {"timeoutSeconds": 2}, ("True", "Fits"), ""),
]  # fmt: skip


@pytest.mark.parametrize(("description", "sessions", "drain", "verdict", "text"), CASES, ids=[row[0] for row in CASES])
def test_drain_limits(
    description: str, sessions: int, drain: dict[str, Any], verdict: tuple[str, str], text: str
) -> None:
    spec = {"auth": {"apiKeysSecret": "keys"}, "session": {"maxPerPod": sessions}, "drain": drain}
    finding = drain_finding(VoiceGatewaySpec.model_validate(spec))
    assert (finding.status, finding.reason) == verdict
    assert text in finding.message
