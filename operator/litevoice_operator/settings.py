"""The operator's own settings: environment variables that the chart sets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from litevoice_contracts.errors import InvalidField
from litevoice_operator.api.resolved import Defaults
from litevoice_operator.manifests.keys import ROOT_KEY_MIN_BYTES

LOG_LEVELS = ("debug", "info", "warning", "error")
_ADDRESSES = re.compile(r"[^:;,\s]+:\d+(;[^:;,\s]+:\d+)*")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

HELP = """environment:
  ROOT_KEY_FILE         file with at least 32 bytes; every gateway's keys are derived from it (needed)
  GATEWAY_IMAGE         image of gateways whose VoiceGateway names none
  WORKER_IMAGE          image of workers whose VoiceGateway names none
  ROCKETMQ_ENDPOINTS    proxies, host:port[;host:port…], for VoiceGateways that name none
  ROCKETMQ_NAME_SERVER  name servers, host:port[;host:port…], for VoiceGateways that name none
  WATCH_NAMESPACES      namespaces to look after, separated by commas; empty: all
  LISTEN_PORT           port of /healthz, /readyz and /metrics (default 9090)
  LOG_LEVEL             debug, info, warning or error (default info)
  POD_NAME              named as the reporter of Events
"""


@dataclass(frozen=True, slots=True)
class Settings:
    root_key: bytes = field(repr=False)
    defaults: Defaults
    namespaces: tuple[str, ...]
    listen_port: int
    log_level: str
    pod_name: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Raises InvalidField that names the variable."""

        def read(name: str, default: str = "") -> str:
            return environment.get(name, "").strip() or default

        port = read("LISTEN_PORT", "9090")
        if not port.isdigit() or not 1 <= int(port) <= 65535:
            raise InvalidField("LISTEN_PORT", f"a port, 1 to 65535, got {port!r}")
        log_level = read("LOG_LEVEL", "info").lower()
        if log_level not in LOG_LEVELS:
            raise InvalidField("LOG_LEVEL", f"one of {', '.join(LOG_LEVELS)}, got {log_level!r}")
        namespaces = tuple(name for part in read("WATCH_NAMESPACES").split(",") if (name := part.strip()))
        for namespace in namespaces:
            if not _NAMESPACE.fullmatch(namespace):
                raise InvalidField("WATCH_NAMESPACES", f"names of namespaces, separated by commas, got {namespace!r}")
        return cls(
            root_key=_root_key(read("ROOT_KEY_FILE")),
            defaults=Defaults(
                gateway_image=read("GATEWAY_IMAGE"),
                worker_image=read("WORKER_IMAGE"),
                endpoints=_addresses("ROCKETMQ_ENDPOINTS", read("ROCKETMQ_ENDPOINTS")),
                name_server=_addresses("ROCKETMQ_NAME_SERVER", read("ROCKETMQ_NAME_SERVER")),
            ),
            namespaces=namespaces,
            listen_port=int(port),
            log_level=log_level,
            pod_name=read("POD_NAME", "litevoice-operator"),
        )


def _addresses(name: str, text: str) -> str:
    if text and not _ADDRESSES.fullmatch(text):
        raise InvalidField(name, f"host:port[;host:port…], got {text!r}")
    return text


def _root_key(path: str) -> bytes:
    if not path:
        raise InvalidField("ROOT_KEY_FILE", "the path of the file with the root key")
    try:
        key = Path(path).read_bytes().strip()
    except OSError as error:
        raise InvalidField("ROOT_KEY_FILE", f"a readable file: {error}") from error
    if len(key) < ROOT_KEY_MIN_BYTES:
        raise InvalidField("ROOT_KEY_FILE", f"a file with at least {ROOT_KEY_MIN_BYTES} bytes, got {len(key)}")
    return key
