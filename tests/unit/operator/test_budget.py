from __future__ import annotations

import pytest

from litevoice_operator.decide.budget import alert_pause, look_factor, pass_pause


@pytest.mark.parametrize(
    ("there_are", "passes", "alerts", "looks"),
    [(0, 10.0, 4.5, 1.0), (1, 10.0, 4.5, 1.0), (20, 10.0, 4.5, 1.0), (33, 10.0, 4.5, 1.65), (66, 20.0, 6.6, 3.3),
     (100, 30.0, 10.0, 5.0), (1000, 30.0, 10.0, 5.0)],
)  # fmt: skip
def test_with_more_of_it_each_is_looked_at_less_often(
    there_are: int, passes: float, alerts: float, looks: float
) -> None:
    assert pass_pause(there_are) == pytest.approx(passes)
    assert alert_pause(there_are) == pytest.approx(alerts)
    assert look_factor(there_are) == pytest.approx(looks)
