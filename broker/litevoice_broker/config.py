"""How one client reaches RocketMQ: endpoints, TLS, credentials."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path

from litevoice_broker.errors import BrokerError
from litevoice_contracts.addresses import parse_addresses
from litevoice_contracts.errors import InvalidField
from litevoice_contracts.names import ClientId
from litevoice_contracts.settings import BrokerSettings


@dataclass(frozen=True, slots=True)
class BrokerConfig:
    """How one client reaches RocketMQ.

    Attributes:
        endpoints: ``host:port[;host:port…]`` of the proxies (gRPC); an IPv6 address in brackets.
        client_id: what the client calls itself; another one for each client of a process.
        ca_file: PEM file with the authorities to trust; "" for the system's. Only with `tls`.
        access_key, secret_key: every call is signed when set.
    """

    endpoints: str
    client_id: ClientId
    tls: bool = False
    ca_file: str = ""
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)

    @classmethod
    def from_settings(cls, settings: BrokerSettings, client_id: ClientId) -> BrokerConfig:
        """Reads `credentials_dir`. Raises BrokerError that names the file that cannot be read."""
        access_key, secret_key = read_credentials(settings.credentials_dir)
        return cls(settings.endpoints, client_id, settings.tls, settings.ca_file, access_key, secret_key)

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
    """

    tls: bool = False
    ca_file: str = ""
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)

    @classmethod
    def from_settings(cls, settings: BrokerSettings) -> AdminAccess:
        """Reads `credentials_dir`. Raises BrokerError that names the file that cannot be read."""
        access_key, secret_key = read_credentials(settings.credentials_dir)
        return cls(settings.admin_tls, settings.ca_file, access_key, secret_key)

    def ssl_context(self) -> ssl.SSLContext | None:
        """None without `tls`. Raises BrokerError when the authorities cannot be read."""
        if not self.tls:
            return None
        try:
            return ssl.create_default_context(cafile=self.ca_file or None)
        except ssl.SSLError as error:
            raise BrokerError(f"ca_file: no certificates in PEM form in {self.ca_file}") from error
        except OSError as error:
            raise BrokerError(f"ca_file: cannot read {self.ca_file}: {error.strerror}") from error


def read_credentials(folder: str) -> tuple[str, str]:
    """Access key and secret key from the folder's files; two empty texts without a folder.

    Raises BrokerError that names the file that cannot be read.
    """
    if not folder:
        return "", ""
    return _read_credential(Path(folder) / "accessKey"), _read_credential(Path(folder) / "secretKey")


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
