"""How one client reaches RocketMQ: endpoints, TLS, credentials.

Credentials and authorities may change while a program runs: a changed Secret is mounted anew beside it. Calls are
signed with what the files hold, new connections trust whom they name.
"""

from __future__ import annotations

import functools
import logging
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path

from litevoice_broker.errors import BrokerError
from litevoice_contracts.addresses import parse_addresses
from litevoice_contracts.errors import InvalidField
from litevoice_contracts.names import ClientId
from litevoice_contracts.settings import BrokerSettings

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""How often the files are looked at."""


@dataclass(frozen=True, slots=True)
class BrokerConfig:
    """How one client reaches RocketMQ.

    Attributes:
        endpoints: ``host:port[;host:port…]`` of the proxies (gRPC); an IPv6 address in brackets.
        client_id: what the client calls itself; another one for each client of a process.
        ca_file: PEM file with the authorities to trust; "" for the system's. Only with `tls`.
        access_key, secret_key: every call is signed when set.
        credentials_dir: where both are looked up again; "": they never change.
    """

    endpoints: str
    client_id: ClientId
    tls: bool = False
    ca_file: str = ""
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    credentials_dir: str = field(default="", compare=False)

    @classmethod
    def from_settings(cls, settings: BrokerSettings, client_id: ClientId) -> BrokerConfig:
        """Reads `credentials_dir`. Raises BrokerError that names the file that cannot be read."""
        access_key, secret_key = read_credentials(settings.credentials_dir)
        folder = settings.credentials_dir
        return cls(settings.endpoints, client_id, settings.tls, settings.ca_file, access_key, secret_key, folder)

    @property
    def keys(self) -> tuple[str, str]:
        """Access key and secret key of now; two empty texts without."""
        return _keys_now(self.credentials_dir, (self.access_key, self.secret_key))

    def read_ca(self) -> bytes | None:
        """None for the system's authorities. Raises BrokerError when the file cannot be read."""
        if not self.ca_file:
            return None
        try:
            return Path(self.ca_file).read_bytes()
        except OSError as error:
            raise BrokerError(f"ca_file: cannot read {self.ca_file}: {error.strerror}") from error

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of each proxy. Raises BrokerError when `endpoints` has another form."""
        try:
            return parse_addresses("endpoints", self.endpoints)
        except InvalidField as error:
            raise BrokerError(str(error)) from error


@dataclass(frozen=True, slots=True)
class AdminAccess:
    """How name servers and brokers are spoken to; TLS and credentials are each used when set.

    Attributes:
        ca_file: PEM file with the authorities to trust; "" for the system's. Only with `tls`. Certificates must name
            the addresses: the name servers' as they are configured, the brokers' as they register (brokerIP1).
        access_key, secret_key: every request is signed when set.
        credentials_dir: where both are looked up again; "": they never change.
    """

    tls: bool = False
    ca_file: str = ""
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)
    credentials_dir: str = field(default="", compare=False)

    @classmethod
    def from_settings(cls, settings: BrokerSettings) -> AdminAccess:
        """Reads `credentials_dir`. Raises BrokerError that names the file that cannot be read."""
        access_key, secret_key = read_credentials(settings.credentials_dir)
        return cls(settings.admin_tls, settings.ca_file, access_key, secret_key, settings.credentials_dir)

    @property
    def keys(self) -> tuple[str, str]:
        """Access key and secret key of now; two empty texts without."""
        return _keys_now(self.credentials_dir, (self.access_key, self.secret_key))

    def ssl_context(self) -> ssl.SSLContext | None:
        """With the authorities of now; None without `tls`. Raises BrokerError when they cannot be read."""
        if not self.tls:
            return None
        try:
            stamp = Path(self.ca_file).stat() if self.ca_file else None
            return _ssl_context(self.ca_file, (stamp.st_ino, stamp.st_mtime_ns) if stamp else None)
        except ssl.SSLError as error:
            raise BrokerError(f"ca_file: no certificates in PEM form in {self.ca_file}") from error
        except OSError as error:
            raise BrokerError(f"ca_file: cannot read {self.ca_file}: {error.strerror}") from error


@functools.lru_cache(maxsize=4)
def _ssl_context(ca_file: str, stamp: tuple[int, int] | None) -> ssl.SSLContext:  # noqa: ARG001 - part of the key
    return ssl.create_default_context(cafile=ca_file or None)


@dataclass(slots=True)
class _Looked:
    at: float
    keys: tuple[str, str]


_looked: dict[str, _Looked] = {}


def _keys_now(folder: str, first: tuple[str, str]) -> tuple[str, str]:
    """What the folder's files held LOOK_SECONDS ago at most; while they cannot be read, what they held before."""
    if not folder:
        return first
    looked, now = _looked.get(folder), time.monotonic()
    if looked is None or now - looked.at >= LOOK_SECONDS:
        keys = looked.keys if looked else first
        try:
            found = read_credentials(folder)
            if found != keys:
                logger.info("credentials have changed", extra={"folder": folder})
        except BrokerError as error:
            logger.warning("credentials stay as they were", extra={"reason": str(error)})
            found = keys
        looked = _looked[folder] = _Looked(now, found)
    return looked.keys


def read_credentials(folder: str) -> tuple[str, str]:
    """Access key and secret key from the folder's files; two empty texts without a folder.

    Raises BrokerError that names the file that cannot be read.
    """
    if not folder:
        return "", ""
    # A mounted Secret's files are links into one folder of each version: both are read from the same.
    names = Path(folder) / "accessKey", Path(folder) / "secretKey"
    version = names[0].resolve().parent
    same = all((version / name.name).exists() for name in names)
    access_key, secret_key = (_read_credential(version / name.name if same else name) for name in names)
    return access_key, secret_key


def _read_credential(path: Path) -> str:
    try:
        value = path.read_text().strip()
    except OSError as error:
        raise BrokerError(f"credentials_dir: cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BrokerError(f"credentials_dir: {path} is not text") from error
    if not value:
        raise BrokerError(f"credentials_dir: {path} is empty")
    return value
