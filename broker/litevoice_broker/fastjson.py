"""Reads what RocketMQ's admin protocol calls JSON: map keys may be bare numbers or whole objects."""

from __future__ import annotations

import json
import re
from typing import Any

_SPACE = re.compile(r"[\s]*")
_BARE = re.compile(r"[^\s,:{}\[\]\"]+")
_decoder = json.JSONDecoder()


def parse(data: bytes) -> Any:
    """Like json.loads; an object that is a map key becomes the tuple of its items, sorted by name.

    Raises:
        ValueError: not even RocketMQ's dialect.
    """
    text = data.decode()
    try:
        return json.loads(text)
    except ValueError:
        value, end = _value(text, _skip(text, 0))
        if _skip(text, end) != len(text):
            raise ValueError(f"unexpected text at character {end}") from None
        return value


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _value(text: str, at: int) -> tuple[Any, int]:
    opening = text[at : at + 1]
    if opening == "{":
        return _object(text, at)
    if opening == "[":
        return _array(text, at)
    if opening == '"':
        return _decoder.raw_decode(text, at)
    match = _BARE.match(text, at)
    if match is None:
        raise ValueError(f"value expected at character {at}")
    try:
        return json.loads(match[0]), match.end()
    except ValueError:
        return match[0], match.end()


def _object(text: str, at: int) -> tuple[dict[Any, Any], int]:
    result: dict[Any, Any] = {}
    at = _skip(text, at + 1)
    while text[at : at + 1] != "}":
        key, at = _value(text, at)
        if isinstance(key, dict):
            key = tuple(sorted(key.items()))
        elif not isinstance(key, str):
            key = str(key)
        at = _skip(text, at)
        if text[at : at + 1] != ":":
            raise ValueError(f"':' expected at character {at}")
        result[key], at = _value(text, _skip(text, at + 1))
        at = _separator(text, at, "}")
    return result, at + 1


def _array(text: str, at: int) -> tuple[list[Any], int]:
    result: list[Any] = []
    at = _skip(text, at + 1)
    while text[at : at + 1] != "]":
        item, at = _value(text, at)
        result.append(item)
        at = _separator(text, at, "]")
    return result, at + 1


def _separator(text: str, at: int, closing: str) -> int:
    at = _skip(text, at)
    if text[at : at + 1] == ",":
        return _skip(text, at + 1)
    if text[at : at + 1] != closing:
        raise ValueError(f"',' or '{closing}' expected at character {at}")
    return at
