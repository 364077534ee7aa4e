"""Addresses as settings, resources and environment variables write them."""

from __future__ import annotations

import re

from litevoice_contracts.errors import InvalidField

ADDRESSES = r"^[^:;,\s]+:[0-9]+(;[^:;,\s]+:[0-9]+)*$"
"""`host:port[;host:port…]`"""


def parse_addresses(field: str, text: str) -> list[tuple[str, int]]:
    """Host and port of each. Raises InvalidField."""
    pairs = [part.rpartition(":") for part in text.split(";")] if re.fullmatch(ADDRESSES, text) else []
    if not pairs or any(not 0 < int(port) < 65536 for _, _, port in pairs):
        raise InvalidField(field, f"host:port[;host:port…], got {text!r}")
    return [(host, int(port)) for host, _, port in pairs]


def url_host(host: str) -> str:
    """The host as URLs write it: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host
