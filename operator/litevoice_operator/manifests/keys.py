"""The Secrets with the keys of gateways and of workers, derived from the operator's root key: each is made once and
neither read nor changed, for which the operator has no permission."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass

from litevoice_contracts.control import ADMIN_CERTIFICATE_FILE, ADMIN_KEY_FILE
from litevoice_operator.api.resolved import Gateway
from litevoice_operator.manifests.certificates import Certificate, admin_certificate
from litevoice_operator.manifests.objects import Manifest, manifest

ROOT_KEY_MIN_BYTES = 32
_CONTENT = "2"
"""Another one when there is more in a Secret: those that are there are never changed."""


@dataclass(frozen=True, slots=True, repr=False)
class Keys:
    """Hexadecimal, 64 characters each."""

    session_signing_key: str
    admin_token: str
    worker_token: str
    """That the workers' admin port wants: not in the Secret, workers get its hash in their settings."""


def derive_line(root_key: bytes, namespace: str, name: str) -> str:
    """What a VoiceGateway has in common with those of its name that were before it: 16 hexadecimal characters."""
    return hmac.new(root_key, f"owner/{namespace}/{name}".encode(), hashlib.sha256).hexdigest()[:16]


def derive_keys(root_key: bytes, namespace: str, name: str) -> Keys:
    """Keys of one VoiceGateway: HMAC-SHA256 of purpose, namespace and name, so they survive its re-creation."""

    def derive(purpose: str) -> str:
        return hmac.new(root_key, f"{purpose}/{namespace}/{name}".encode(), hashlib.sha256).hexdigest()

    return Keys(derive("session"), derive("admin"), derive("worker-admin"))


def keys_secret(gateway: Gateway, keys: Keys) -> Manifest:
    # Not `stringData`: server-side apply cannot own what the API server turns into `data`.
    own = {"session-signing-key": keys.session_signing_key.encode(), "admin-token": keys.admin_token.encode()}
    data = _base64(own | _files(admin_certificate(keys.admin_token)))
    return manifest(gateway, "gateway", "v1", "Secret", keys_secret_name(gateway, keys), type="Opaque", data=data)


def worker_keys_secret(gateway: Gateway, keys: Keys) -> Manifest:
    """Without the token: a worker knows only what that must hash to."""
    data = _base64(_files(admin_certificate(keys.worker_token)))
    return manifest(gateway, "worker", "v1", "Secret", worker_keys_secret_name(gateway, keys), type="Opaque", data=data)


def _files(certificate: Certificate) -> dict[str, bytes]:
    return {ADMIN_CERTIFICATE_FILE: certificate.certificate, ADMIN_KEY_FILE: certificate.key}


def _base64(data: dict[str, bytes]) -> dict[str, str]:
    return {name: base64.b64encode(value).decode() for name, value in data.items()}


def keys_secret_name(gateway: Gateway, keys: Keys) -> str:
    """Says what is in it and for whom, so a Secret of that name is the right one: other keys, or a VoiceGateway created
    again, have another. Who does not know the keys cannot tell it beforehand."""
    what = f"{_CONTENT}/{keys.session_signing_key}/{gateway.uid}"
    return f"{gateway.name}-keys-{_digest(keys.admin_token, what)}"


def worker_keys_secret_name(gateway: Gateway, keys: Keys) -> str:
    """The same for the workers'."""
    return f"{gateway.name}-keys-worker-{_digest(keys.worker_token, f'{_CONTENT}/{gateway.uid}')}"


def _digest(key: str, what: str) -> str:
    return hmac.new(key.encode(), what.encode(), hashlib.sha256).hexdigest()[:10]
