"""Reads the settings file and the keys, with errors that name file and field."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from litevoice_contracts.control import ADMIN_CERTIFICATE_FILE, ADMIN_KEY_FILE
from litevoice_contracts.errors import InvalidField, problems
from litevoice_contracts.settings import GatewaySettings

DEFAULT_PATH = "/etc/litevoice/config/settings.json"
MIN_SIGNING_KEY_BYTES = 32
MIN_TOKEN_BYTES = 16


class SettingsError(Exception):
    """Settings or keys are missing or invalid; the message is for people."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Secrets of all gateways of one VoiceGateway."""

    signing_key: bytes
    admin_token: bytes

    def __repr__(self) -> str:
        return "Keys(…)"


def load_settings(path: Path) -> GatewaySettings:
    """Raises SettingsError that names every field that does not fit."""
    text = _read(path)
    try:
        settings = GatewaySettings.model_validate_json(text)
        settings.broker.names.validate()
    except ValidationError as error:
        lines = "\n".join(f"  {field}: {message}" for field, message in problems(error, "file"))
        raise SettingsError(f"{path}:\n{lines}") from error
    except InvalidField as error:
        raise SettingsError(f"{path}:\n  {error}") from error
    for field, folder in (("apiKeysDir", settings.api_keys_dir), ("keysDir", settings.keys_dir)):
        if not Path(folder).is_dir():
            raise SettingsError(f"{path}:\n  {field}: expected a folder, got {folder}")
    return settings


def load_keys(settings: GatewaySettings) -> Keys:
    """Raises SettingsError when a key is missing or too short to be safe, or the certificate is."""
    admin_tls(settings)
    return Keys(
        _key(Path(settings.keys_dir) / "session-signing-key", MIN_SIGNING_KEY_BYTES),
        _key(Path(settings.keys_dir) / "admin-token", MIN_TOKEN_BYTES),
    )


def admin_tls(settings: GatewaySettings) -> ssl.SSLContext | None:
    """None: the admin port is not served with TLS. Raises SettingsError."""
    if not settings.admin_tls_dir:
        return None
    folder, context = Path(settings.admin_tls_dir), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_cert_chain(folder / ADMIN_CERTIFICATE_FILE, folder / ADMIN_KEY_FILE)
    except OSError as error:  # an SSLError is one
        wanted = f"expected {ADMIN_CERTIFICATE_FILE} and {ADMIN_KEY_FILE}, PEM that belongs together"
        raise SettingsError(f"adminTlsDir: {wanted}, in {folder}: {error}") from error
    return context


def _key(path: Path, least: int) -> bytes:
    value = _read(path).strip()
    if len(value) < least:
        raise SettingsError(f"{path}: expected at least {least} bytes, got {len(value)}")
    return value


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
