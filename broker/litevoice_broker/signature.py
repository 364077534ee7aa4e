"""Who calls, and the AK/SK signature when credentials are set: metadata of gRPC calls, fields of admin requests."""

from __future__ import annotations

import base64
import hashlib
import hmac
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

CLIENT_VERSION = "5.1.2"  # of the stubs; the proxy enables features by it
ALGORITHM = "MQv2-HMAC-SHA1"

Metadata = tuple[tuple[str, str], ...]


def sign(secret_key: str, date_time: str) -> str:
    """Hex HMAC-SHA1 of the date header: all that RocketMQ signs."""
    return hmac.new(secret_key.encode(), date_time.encode(), hashlib.sha1).hexdigest()


def authorization(access_key: str, secret_key: str, date_time: str) -> str:
    """Value of the ``authorization`` header."""
    signature = sign(secret_key, date_time)
    return f"{ALGORITHM} Credential={access_key}, SignedHeaders=x-mq-date-time, Signature={signature}"


def metadata(client_id: str, access_key: str = "", secret_key: str = "", now: datetime | None = None) -> Metadata:
    """The headers of one call. Without credentials they never change; with them they carry the time."""
    common: Metadata = (
        ("x-mq-language", "PYTHON"),
        ("x-mq-protocol", "GRPC_V2"),
        ("x-mq-client-version", CLIENT_VERSION),
        ("x-mq-client-id", client_id),
        ("x-mq-namespace", ""),
    )
    if not access_key:
        return common
    date_time = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    return (
        *common,
        ("x-mq-date-time", date_time),
        ("x-mq-request-id", str(uuid.uuid4())),
        ("authorization", authorization(access_key, secret_key, date_time)),
    )


def sign_request(access_key: str, secret_key: str, fields: Mapping[str, str], body: bytes) -> dict[str, str]:
    """`fields` of an admin request with the two that prove who sent it.

    Signed are the values of all fields, in the order of their names, and the body. No time and no address is among
    them: who can read a request can send it again, so credentials want TLS.
    """
    signed = {**fields, "AccessKey": access_key}
    content = "".join(signed[name] for name in sorted(signed)).encode() + body
    digest = hmac.new(secret_key.encode(), content, hashlib.sha1).digest()
    return {**signed, "Signature": base64.b64encode(digest).decode()}
