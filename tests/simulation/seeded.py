"""Takes clock and chance away from the program for one run: the loop is the time, the seed decides the rest."""

from __future__ import annotations

import base64
import gc
import logging
import os
import random
import secrets
import socket
import sys
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import litevoice_gateway.homes
from litevoice_broker.cpu import CpuMeter
from tests.early_ids import early_gateway_id, early_session_id
from tests.simulation.loop import VirtualLoop


@contextmanager
def seeded(seed: int, loop: VirtualLoop) -> Iterator[None]:
    """Patches the standard library's sources of time and chance; the product is left as it is, but for the form of new
    ids: with other ones every story would be another."""
    chance = random.Random(f"chance {seed}")
    undo: list[tuple[Any, str, Any]] = []

    def patch(where: Any, name: str, value: Any) -> None:
        undo.append((where, name, getattr(where, name)))
        setattr(where, name, value)

    state = random.getstate()
    random.seed(f"product {seed}")
    for clock in ("monotonic", "perf_counter"):
        patch(time, clock, loop.time)
    patch(time, "time", loop.wall)
    patch(time, "time_ns", lambda: int(loop.wall() * 1e9))
    for clock in ("process_time", "thread_time"):
        patch(time, clock, lambda: 0.0)
    patch(os, "urandom", chance.randbytes)
    patch(secrets, "token_bytes", lambda count=32: chance.randbytes(count))
    patch(secrets, "token_hex", lambda count=32: chance.randbytes(count).hex())
    patch(secrets, "token_urlsafe", lambda count=32: _urlsafe(chance.randbytes(count)))
    patch(secrets, "randbits", random.Random(f"ties {seed}").getrandbits)
    patch(uuid, "uuid4", lambda: uuid.UUID(bytes=chance.randbytes(16), version=4))
    patch(socket, "gethostname", lambda: "simulated")
    patch(CpuMeter, "look", lambda self: 0.0)
    patch(litevoice_gateway.homes, "new_session_id", early_session_id)
    patch(litevoice_gateway.homes, "new_gateway_id", early_gateway_id)
    try:
        yield
    finally:
        for where, name, value in reversed(undo):
            setattr(where, name, value)
        random.setstate(state)


@contextmanager
def quiet() -> Iterator[None]:
    """For a world and its end: what it logs nobody reads, and tasks that are cut off complain when they are collected.
    No collection comes in between, which would be at a moment that no seed decides."""
    hook = sys.unraisablehook
    sys.unraisablehook = lambda unraisable: None
    logging.disable(logging.CRITICAL)
    gc.disable()
    gc.freeze()  # the collection looks at what the world has made, not at all that was imported
    try:
        yield
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # what is to be spawned there finds no loop
            gc.collect()
    finally:
        gc.enable()
        logging.disable(logging.NOTSET)
        sys.unraisablehook = hook


def _urlsafe(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
