"""The operator's own settings: environment variables that the chart sets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, get_args

from litevoice_broker.config import AdminAccess, read_credentials
from litevoice_broker.errors import BrokerError
from litevoice_contracts.addresses import parse_addresses
from litevoice_contracts.errors import InvalidField
from litevoice_contracts.settings import LogLevel
from litevoice_operator.adapters.broker import Installed
from litevoice_operator.adapters.channels import Channel, read_channels
from litevoice_operator.api.resolved import DEFAULT_USER_ID, Defaults
from litevoice_operator.manifests.keys import ROOT_KEY_MIN_BYTES

MAX_RESEND_SECONDS = 300
MAX_ROLLOUTS = 1000
MAX_USER_ID = 2**31 - 1
LOG_LEVELS: tuple[str, ...] = get_args(LogLevel)
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

HELP = """environment:
  ROOT_KEY_FILE         file with at least 32 bytes; every gateway's keys are derived from it (required)
  GATEWAY_IMAGE         image of gateways whose VoiceGateway names none
  WORKER_IMAGE          image of workers whose VoiceGateway names none
  POD_USER_ID           user and group that gateways and workers run as, 1 to 2147483647 (default 65532); any: whichever
                        the cluster gives them, as OpenShift does
  ROCKETMQ_ENDPOINTS    proxies, host:port[;host:port…], for VoiceGateways that name none
  ROCKETMQ_NAME_SERVER  name servers, host:port[;host:port…], for VoiceGateways that name none
  ROCKETMQ_ADMIN_TLS    true: use TLS to them and their brokers, in gateways and workers, too (default false)
  ROCKETMQ_CA_FILE      PEM file with the CAs of their certificates; empty: the system's
  ROCKETMQ_CREDENTIALS_DIR
                        folder with the files accessKey and secretKey, used only for these name servers' brokers
  ALERT_CHANNELS        channels that BacklogAlerts may name as routes, a JSON list (default []):
                        {"name": …, "alertmanager": {"urls": […]}} or {"name": …, "webhook": {"url": …, "signed": true}}
  ALERT_KEYS_DIR        folder with the file <channel>/hmac-key for each signed webhook
  ALERT_RESEND_SECONDS  how often Alertmanagers are told what fires, 1 to 300 (default 30)
  ROLLOUTS_AT_A_TIME    VoiceGateways whose gateways are replaced at the same time, 1 to 1000 (default 1)
  WATCH_NAMESPACES      namespaces to watch, separated by commas; empty: all
  LISTEN_PORT           port of /healthz, /readyz and /metrics (default 9090)
  LOG_LEVEL             debug, info, warning or error (default info)
  POD_NAME              named as the reporter of Events
  LEASE_NAME            Lease in POD_NAMESPACE that one of several operators holds while it acts; empty: this is the
                        only one
  POD_NAMESPACE         namespace that the operator runs in: VoiceGateways there get no finalizer, which nobody would
                        be left to take off when the namespace is deleted
"""


@dataclass(frozen=True, slots=True)
class Settings:
    root_key: bytes = field(repr=False)
    defaults: Defaults
    installed: Installed
    channels: Mapping[str, Channel]
    resend_seconds: float
    rollouts_at_a_time: int
    namespaces: tuple[str, ...]
    listen_port: int
    log_level: str
    pod_name: str
    pod_namespace: str
    lease_name: str

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
        name_server = _addresses("ROCKETMQ_NAME_SERVER", read("ROCKETMQ_NAME_SERVER"))
        access = _admin_access(
            read("ROCKETMQ_ADMIN_TLS", "false"), read("ROCKETMQ_CA_FILE"), read("ROCKETMQ_CREDENTIALS_DIR")
        )
        return cls(
            root_key=_root_key(read("ROOT_KEY_FILE")),
            defaults=Defaults(
                gateway_image=read("GATEWAY_IMAGE"),
                worker_image=read("WORKER_IMAGE"),
                endpoints=_addresses("ROCKETMQ_ENDPOINTS", read("ROCKETMQ_ENDPOINTS")),
                name_server=name_server,
                admin_tls=access.tls,
                user_id=_user_id(read("POD_USER_ID", str(DEFAULT_USER_ID))),
            ),
            installed=Installed(name_server, access),
            channels=read_channels(
                "ALERT_CHANNELS", read("ALERT_CHANNELS"), Path(read("ALERT_KEYS_DIR", "/etc/litevoice/channels"))
            ),
            resend_seconds=_resend_seconds(read("ALERT_RESEND_SECONDS", "30")),
            rollouts_at_a_time=_rollouts(read("ROLLOUTS_AT_A_TIME", "1")),
            namespaces=namespaces,
            listen_port=int(port),
            log_level=log_level,
            pod_name=read("POD_NAME", "litevoice-operator"),
            pod_namespace=read("POD_NAMESPACE"),
            lease_name=_lease_name(read("LEASE_NAME"), read("POD_NAMESPACE")),
        )


def _resend_seconds(text: str) -> float:
    if not text.isdigit() or not 1 <= int(text) <= MAX_RESEND_SECONDS:
        raise InvalidField("ALERT_RESEND_SECONDS", f"1 to {MAX_RESEND_SECONDS}, got {text!r}")
    return float(text)


def _rollouts(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= MAX_ROLLOUTS:
        raise InvalidField("ROLLOUTS_AT_A_TIME", f"1 to {MAX_ROLLOUTS}, got {text!r}")
    return int(text)


def _user_id(text: str) -> int | None:
    if text == "any":
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and 1 <= int(text) <= MAX_USER_ID):
        raise InvalidField("POD_USER_ID", f"any, or 1 to {MAX_USER_ID}, got {text!r}")
    return int(text)


def _lease_name(name: str, namespace: str) -> str:
    if name and not namespace:
        raise InvalidField("LEASE_NAME", "POD_NAMESPACE as well: a Lease is in a namespace")
    return name


def _addresses(name: str, text: str) -> str:
    if text:
        parse_addresses(name, text)
    return text


def _admin_access(tls: str, ca_file: str, credentials_dir: str) -> AdminAccess:
    if tls not in ("true", "false"):
        raise InvalidField("ROCKETMQ_ADMIN_TLS", f"true or false, got {tls!r}")
    try:
        access_key, secret_key = read_credentials(credentials_dir)
    except BrokerError as error:
        raise InvalidField("ROCKETMQ_CREDENTIALS_DIR", f"a folder with accessKey and secretKey: {error}") from error
    if ca_file and tls != "true":
        raise InvalidField("ROCKETMQ_CA_FILE", "ROCKETMQ_ADMIN_TLS to be true")
    access = AdminAccess(tls == "true", ca_file, access_key, secret_key, credentials_dir)
    try:
        access.ssl_context()
    except BrokerError as error:
        raise InvalidField("ROCKETMQ_CA_FILE", f"a PEM file: {error}") from error
    return access


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
