from __future__ import annotations

import pytest

from litevoice_operator.decide.budget import alert_pause, hold_seconds, look_factor, pass_pause


@pytest.mark.parametrize(
    ("there_are", "passes", "alerts", "looks", "holds"),
    [(0, 10.0, 4.5, 1.0, 30.0), (1, 10.0, 4.5, 1.0, 30.0), (20, 10.0, 4.5, 1.0, 30.0), (33, 10.0, 4.5, 1.65, 30.0),
     (66, 20.0, 6.6, 3.3, 33.0), (100, 30.0, 10.0, 5.0, 50.0), (1000, 30.0, 10.0, 5.0, 120.0)],
)  # fmt: skip
def test_with_more_of_it_each_is_looked_at_less_often(
    there_are: int, passes: float, alerts: float, looks: float, holds: float
) -> None:
    assert pass_pause(there_are) == pytest.approx(passes)
    assert alert_pause(there_are) == pytest.approx(alerts)
    assert hold_seconds(there_are) == pytest.approx(holds)
    assert look_factor(there_are) == pytest.approx(looks)
