"""The certificates of the pods' admin ports. Nobody signs them: who asks knows which one it must be.

All is derived, so an operator that starts again knows the same ones, and reads no Secret for it.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

REMEMBERED = 4096
_PURPOSE = b"certificate of the admin port"
_FROM, _UNTIL = datetime(2020, 1, 1, tzinfo=UTC), datetime(2120, 1, 1, tzinfo=UTC)
"""It is known by its fingerprint and goes with its key: the dates say nothing."""


@dataclass(frozen=True, slots=True, repr=False)
class Certificate:
    """`certificate`, `key`: PEM; `sha256`: of the certificate as it is sent, 32 bytes."""

    certificate: bytes
    key: bytes
    sha256: bytes


@lru_cache(maxsize=REMEMBERED)
def admin_certificate(token: str) -> Certificate:
    """Of the admin ports that want this token. The token cannot be told from it."""
    key = Ed25519PrivateKey.from_private_bytes(hmac.digest(token.encode(), _PURPOSE, hashlib.sha256))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "litevoice admin")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(_FROM)
        .not_valid_after(_UNTIL)
        .sign(key, None)
    )
    return Certificate(
        certificate.public_bytes(Encoding.PEM),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest(),
    )
