"""How one client reaches RocketMQ: endpoints, TLS, credentials."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from litevoice_broker.errors import BrokerError
from litevoice_contracts.names import ClientId
from litevoice_contracts.settings import BrokerSettings


@dataclass(frozen=True, slots=True)
class BrokerConfig:
    """How one client reaches RocketMQ.

    Attributes:
        endpoints: ``host:port[;host:port…]`` of the proxies (gRPC).
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
        access_key = secret_key = ""
        if settings.credentials_dir:
            folder = Path(settings.credentials_dir)
            access_key, secret_key = (_read_credential(folder / name) for name in ("accessKey", "secretKey"))
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
        found = []
        for part in self.endpoints.split(";"):
            host, _, port = part.strip().rpartition(":")
            if not host or not port.isdigit() or not 0 < int(port) < 65536:
                raise BrokerError(f"endpoints: expected host:port[;host:port…], got {self.endpoints!r}")
            found.append((host, int(port)))
        return found


def _read_credential(path: Path) -> str:
    try:
        value = path.read_text().strip()
    except OSError as error:
        raise BrokerError(f"credentials_dir: cannot read {path}: {error.strerror}") from error
    if not value:
        raise BrokerError(f"credentials_dir: {path} is empty")
    return value
