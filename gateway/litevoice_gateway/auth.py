"""API keys: who a client is. Files in a folder, as a mounted Secret gives them, read again when they change."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import secrets
from pathlib import Path

logger = logging.getLogger(__name__)

CHECK_SECONDS = 2.0
MIN_KEY_LENGTH = 8


class ApiKeys:
    """File name = principal, content = its keys, one per line; names that begin with a dot are not principals.

    Keys are kept and compared as keyed hashes, so that lookup time reveals nothing about any key.
    """

    def __init__(self, folder: Path, now: float) -> None:
        self._folder = folder
        self._hash_key = secrets.token_bytes(32)
        self._principals: dict[bytes, str] = {}
        self._stamp: tuple[tuple[str, int, int], ...] | None = None
        self._checked = now
        self._load()

    def principal(self, key: str, now: float) -> str | None:
        """The principal of a key, None when nobody has it. Checks for changed files at most every CHECK_SECONDS."""
        if now - self._checked >= CHECK_SECONDS:
            self._checked = now
            self._load()
        return self._principals.get(self._digest(key.encode(errors="surrogateescape")))

    def __len__(self) -> int:
        return len(self._principals)

    def _digest(self, key: bytes) -> bytes:
        return hmac.digest(self._hash_key, key, hashlib.sha256)

    def _load(self) -> None:
        try:
            stamp = self._look()
            if stamp == self._stamp:
                return
            found: dict[bytes, str] = {}
            for name, _, _ in stamp:
                for line in (self._folder / name).read_bytes().splitlines():
                    key = line.strip()
                    if len(key) >= MIN_KEY_LENGTH:
                        found[self._digest(key)] = name
                    elif key:
                        logger.warning("API key too short, ignored", extra={"principal": name})
        except OSError as error:
            logger.warning("cannot read API keys, keeping the previous ones", extra={"error": str(error)})
            return
        self._principals, self._stamp = found, stamp
        logger.info("API keys loaded", extra={"principals": len(stamp), "keys": len(found)})

    def _look(self) -> tuple[tuple[str, int, int], ...]:
        entries = []
        with os.scandir(self._folder) as listing:
            for entry in listing:
                if not entry.name.startswith(".") and entry.is_file():
                    status = entry.stat()
                    entries.append((entry.name, status.st_mtime_ns, status.st_ino))
        return tuple(sorted(entries))
