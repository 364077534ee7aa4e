"""A node's copy of what a container has printed."""

from __future__ import annotations

from litevoice_dev.fleet.cri import objects, printed

AT = "2026-01-01T00:00:00.000000001Z"


def test_long_lines_are_put_together_and_the_rest_is_left_out() -> None:
    lines = [
        f'{AT} stdout F {{"ready": true}}\n',
        f'{AT} stdout P {{"session": "s_1",\n',
        f'{AT} stdout P  "log": [1,\n',
        f"{AT} stdout F  2]}}\n",
        f"{AT} stderr F Traceback: no JSON\n",
        "tail: '/var/log/pods/x/0.log' has been replaced\n",
        f"{AT} stdout F {{broken\n",
        f'{AT} stdout P {{"still": \n',
    ]
    assert list(objects(lines)) == [{"ready": True}, {"session": "s_1", "log": [1, 2]}]
    assert next(iter(printed([f"{AT} stdout F \n"]))) == ""
