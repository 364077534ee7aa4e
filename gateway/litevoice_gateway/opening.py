"""How a connection begins: what the session core is given besides the protocol and the limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Opening:
    """`wall_milliseconds`: clock for epochs; `tie`: see `new_epoch`; `principal` and `client` (address): for people."""

    session_id: str
    wall_milliseconds: Callable[[], int]
    principal: str = ""
    client: str = ""
    tie: int = 0
