"""Addresses as settings, resources and environment variables write them."""

from __future__ import annotations

import ipaddress
import re

from litevoice_contracts.errors import InvalidField

_ADDRESS = r"(\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\]|[^:;,\s\[\]]+):[0-9]+"
ADDRESSES = rf"^{_ADDRESS}(;{_ADDRESS})*$"
"""`host:port[;host:port…]`; an IPv6 address stands in brackets"""


def parse_addresses(field: str, text: str) -> list[tuple[str, int]]:
    """Host (IPv6 without brackets) and port of each. Raises InvalidField."""
    pairs = [split_address(part) for part in text.split(";")] if re.fullmatch(ADDRESSES, text) else []
    if not pairs or any(not 0 < port < 65536 or (":" in host and not _is_ipv6(host)) for host, port in pairs):
        raise InvalidField(field, f"host:port[;host:port…] or [IPv6]:port, got {text!r}")
    return pairs


def split_address(text: str) -> tuple[str, int]:
    """Host (IPv6 without brackets) and port. Raises ValueError."""
    host, _, port = text.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def join_address(host: str, port: int) -> str:
    """The opposite of `split_address`."""
    return f"{url_host(host)}:{port}"


def url_host(host: str) -> str:
    """The host as URLs write it: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def is_from(address: str, wanted: str) -> bool:
    """Whether `address` (``host:port``) is the wanted one, which may leave the port out."""
    return address in (wanted, f"{url_host(wanted)}:{address.rpartition(':')[2]}")


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True
