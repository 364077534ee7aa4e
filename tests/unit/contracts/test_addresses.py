"""Addresses with IPv6 literals: split, joined, and the same syntax in every schema."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from litevoice_contracts.addresses import join_address, parse_addresses, split_address
from litevoice_contracts.errors import InvalidField
from litevoice_contracts.settings import Addresses

SCHEMA = TypeAdapter(Addresses)


@pytest.mark.parametrize("text", ["10.0.0.1:1", "proxy.ns:8081", "[::1]:8081", "[fd00::a:1]:65535"])
def test_what_was_split_is_joined_again(text: str) -> None:
    assert join_address(*split_address(text)) == text
    assert parse_addresses("a", f"{text};{text}") == [split_address(text)] * 2
    assert SCHEMA.validate_python(f"{text};{text}")


def test_what_a_broker_registers_without_brackets_is_an_address_too() -> None:
    assert split_address("::1:10911") == ("::1", 10911)


@pytest.mark.parametrize("text", ["::1:8081", "[::1]", "[]:1", "[host]:1", "x[::1]:1", "[::1]:1;", "[::1]:1,[::1]:2"])
def test_neither_the_schema_nor_the_parser_takes_another_form(text: str) -> None:
    with pytest.raises(InvalidField, match=r"a: expected host:port\[;host:port…\] or \[IPv6\]:port, got"):
        parse_addresses("a", text)
    with pytest.raises(ValidationError):
        SCHEMA.validate_python(text)
