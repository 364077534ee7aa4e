"""Log lines: one JSON object each, whatever the facts are."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from litevoice_contracts.conversation import Mark, ResponseRequest
from litevoice_contracts.json_logs import JsonFormatter, configure


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    logger, noisy = logging.getLogger(), logging.getLogger("noisy")
    handlers, level = logger.handlers[:], logger.level
    logger.handlers.clear()  # pytest's own: `force` would close them
    try:
        yield logger
    finally:
        logger.handlers[:] = handlers
        logger.setLevel(level)
        noisy.setLevel(logging.NOTSET)


def line(**fields: object) -> dict[str, Any]:
    record = logging.makeLogRecord({"name": "x", "levelname": "INFO", "msg": "drained", **fields})
    text = JsonFormatter().format(record)
    assert "\n" not in text
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def test_facts_are_fields() -> None:
    assert line(created=1.5, msecs=500.0, sessions=3) == {
        "time": "1970-01-01T00:00:01.500Z",
        "level": "info",
        "logger": "x",
        "message": "drained",
        "sessions": 3,
    }


def test_any_fact_can_be_told() -> None:
    told = line(request=ResponseRequest("r", "i"), mark=Mark(1, 2), error=ValueError("no ü"), level="mine")
    assert told["request"] == {"response_id": "r", "item_id": "i"}
    assert told["mark"] == [1, 2]
    assert told["error"] == "no ü"
    assert told["level"] == "info", "a fact does not take the place of what every line has"


def test_an_exception_stays_on_its_line() -> None:
    try:
        raise KeyError("gone")
    except KeyError:
        told = line(exc_info=sys.exc_info())
    assert told["exception"].endswith("KeyError: 'gone'")


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", ["own debug", "own warning", "noisy warning", "own error", "noisy error"]),
        ("warning", ["own warning", "noisy warning", "own error", "noisy error"]),
        ("error", ["own error", "noisy error"]),
    ],
)
def test_quiet_loggers(root: logging.Logger, level: str, shown: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    configure(level, quiet=["noisy"])
    for severity in ("debug", "warning", "error"):
        for name in ("own", "noisy"):
            getattr(logging.getLogger(name), severity)(f"{name} {severity}")
    assert [json.loads(text)["message"] for text in capsys.readouterr().err.splitlines()] == shown
