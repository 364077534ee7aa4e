"""Reads the settings file. Every error names the field."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from litevoice_contracts.control import ADMIN_CERTIFICATE_FILE, ADMIN_KEY_FILE
from litevoice_contracts.errors import InvalidField, problems
from litevoice_contracts.settings import WorkerSettings
from litevoice_worker.members import EndpointSliceMembers, Members, StaticMembers, api_server

DEFAULT_PATH = "/etc/litevoice/config/settings.json"


def load(path: str) -> WorkerSettings:
    """Raises InvalidField, which names the first wrong field."""
    try:
        settings = WorkerSettings.model_validate(json.loads(Path(path).read_text()))
    except OSError as error:
        raise InvalidField("LITEVOICE_CONFIG", f"a readable file, {path}: {error.strerror}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InvalidField("LITEVOICE_CONFIG", f"a JSON file, {path}: {error}") from error
    except ValidationError as error:
        raise InvalidField(*problems(error, "settings")[0]) from error
    if bool(settings.members.service) == bool(settings.members.static):
        raise InvalidField("members", "either service or static")
    if settings.members.service.count("/") != (1 if settings.members.service else 0):
        raise InvalidField("members.service", f"namespace/name, got {settings.members.service!r}")
    settings.broker.names.validate()
    admin_tls(settings)
    return settings


def admin_tls(settings: WorkerSettings) -> ssl.SSLContext | None:
    """None: the admin port is not served with TLS. Raises InvalidField."""
    if not settings.admin_tls_dir:
        return None
    folder, context = Path(settings.admin_tls_dir), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_cert_chain(folder / ADMIN_CERTIFICATE_FILE, folder / ADMIN_KEY_FILE)
    except OSError as error:  # an SSLError is one
        wanted = f"a folder with {ADMIN_CERTIFICATE_FILE} and {ADMIN_KEY_FILE}, PEM that belongs together"
        raise InvalidField("adminTlsDir", f"{wanted}, got {folder}: {error}") from error
    return context


def make_members(settings: WorkerSettings, environment: Mapping[str, str]) -> Members:
    """Raises InvalidField if EndpointSlices are asked for outside a pod."""
    if settings.members.static:
        return StaticMembers(frozenset(settings.members.static))
    try:
        return EndpointSliceMembers(settings.members.service, api_server(environment))
    except KeyError as error:
        raise InvalidField("members.service", "only in a pod: KUBERNETES_SERVICE_HOST is not set") from error
