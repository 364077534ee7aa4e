"""The Secret with a gateway's own keys, derived from the operator's root key: it is made once and neither read nor
changed, for which the operator has no permission."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass

from litevoice_operator.api.resolved import Gateway
from litevoice_operator.manifests.objects import Manifest, manifest

ROOT_KEY_MIN_BYTES = 32


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
    data = {"session-signing-key": _base64(keys.session_signing_key), "admin-token": _base64(keys.admin_token)}
    return manifest(gateway, "gateway", "v1", "Secret", keys_secret_name(gateway, keys), type="Opaque", data=data)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def keys_secret_name(gateway: Gateway, keys: Keys) -> str:
    """Says what is in it and for whom, so a Secret of that name is the right one: other keys, or a VoiceGateway created
    again, have another. Who does not know the keys cannot tell it beforehand."""
    digest = hmac.new(keys.admin_token.encode(), f"{keys.session_signing_key}/{gateway.uid}".encode(), hashlib.sha256)
    return f"{gateway.name}-keys-{digest.hexdigest()[:10]}"
