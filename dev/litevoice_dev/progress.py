"""What a person sees while something takes long, on stderr; standard output is for results."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator

_started = time.monotonic()


def say(text: str) -> None:
    """One line of progress, with the seconds since the start of this program."""
    sys.stderr.write(f"[{time.monotonic() - _started:5.0f} s] {text}\n")  # at once: other threads say something, too
    sys.stderr.flush()


@contextlib.contextmanager
def progress(what: str) -> Iterator[None]:
    """Says every 20 seconds that `what` goes on."""
    over, began = threading.Event(), time.monotonic()

    def tell() -> None:
        while not over.wait(20):
            say(f"… {what} ({time.monotonic() - began:.0f} s)")

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
