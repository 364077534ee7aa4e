"""The parts of the wire that are ours: admin frames, RocketMQ's JSON, signature, metadata, endpoints."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from litevoice_broker import fastjson, signature, stubs
from litevoice_broker.admin import Admin
from litevoice_broker.config import AdminAccess, BrokerConfig
from litevoice_broker.errors import BrokerError
from litevoice_broker.remoting import decode_frame, encode_request
from litevoice_broker.status import check_status
from litevoice_contracts.names import ClientId
from litevoice_contracts.settings import BrokerSettings

CLIENT = ClientId("pod", "10.0.0.1", "replies", "0123abcd")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1, "x"], "b": null}', {"a": [1, "x"], "b": None}),
        ('{0:"10.0.0.1:10911",1:"10.0.0.2:10911"}', {"0": "10.0.0.1:10911", "1": "10.0.0.2:10911"}),
        (
            '{"offsetTable":{{"brokerName":"a","queueId":0,"topic":"t"}:{"brokerOffset":5,"consumerOffset":3}}}',
            {
                "offsetTable": {
                    (("brokerName", "a"), ("queueId", 0), ("topic", "t")): {"brokerOffset": 5, "consumerOffset": 3}
                }
            },
        ),
        (
            ' { bare : -1 , "s" : "a:{,}\\"b" , 2 : [ true , [ ] , { } ] } ',
            {"bare": -1, "s": 'a:{,}"b', "2": [True, [], {}]},
        ),
    ],
)
def test_fastjson(text: str, value: object) -> None:
    assert fastjson.parse(text.encode()) == value


@pytest.mark.parametrize("text", ["{0:", "{0:1", "[1", "{0 1}", "{0:1}x", "{0:}", ""])
def test_fastjson_refuses_garbage(text: str) -> None:
    with pytest.raises(ValueError, match=r"character|value"):
        fastjson.parse(text.encode())


def test_admin_request_frame() -> None:
    frame = encode_request(351, 7, {"topic": "t"}, b"body")
    length, word = struct.unpack_from(">ii", frame)
    assert length == len(frame) - 4
    assert word >> 24 == 0, "JSON header"
    header = json.loads(frame[8 : 8 + word])
    assert (header["code"], header["opaque"], header["flag"], header["extFields"]) == (351, 7, 0, {"topic": "t"})
    assert frame[8 + word :] == b"body"


def test_admin_answer_frame() -> None:
    header = b'{"code":0,"opaque":7,"flag":1}'
    answer = decode_frame(struct.pack(">i", len(header)) + header + b"rest")
    assert (answer.header["opaque"], answer.body) == (7, b"rest")
    with pytest.raises(BrokerError, match="JSON"):
        decode_frame(struct.pack(">i", (1 << 24) | 4) + b"\0\0\0\0")


OFFICIAL = """
import json, sys
from rocketmq.v5.util.signature import Signature
class Config:
    namespace = ""
    class credentials:
        ak, sk = "access", "secret key"
headers = dict(Signature.metadata(Config, "client"))
print(json.dumps({"headers": headers, "sign": Signature.sign("secret key", "20260102T030405Z")}))
"""


def test_signature_is_the_official_clients(tmp_path: Path) -> None:
    """The official client is the oracle; it runs in a process of its own because it writes to HOME at import."""
    run = subprocess.run(
        [sys.executable, "-c", OFFICIAL], env={**os.environ, "HOME": str(tmp_path)}, capture_output=True, check=True
    )
    official = json.loads(run.stdout)
    assert signature.sign("secret key", "20260102T030405Z") == official["sign"]
    theirs = official["headers"]
    now = datetime.strptime(theirs["x-mq-date-time"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    ours = dict(signature.metadata("client", "access", "secret key", now))
    assert ours.keys() == theirs.keys()
    for name in theirs.keys() - {"x-mq-request-id", "x-mq-client-version"}:
        assert ours[name] == theirs[name]


def test_admin_signature() -> None:
    """HMAC-SHA1 over the values in the order of their names (capitals first) and the body, in base64; the expected
    value is `printf 'litevoiceé0orders{"x":1}' | openssl dgst -sha1 -hmac s3cret -binary | base64`."""
    fields = {"topic": "orders", "queueId": "0", "a": "é"}
    signed = signature.sign_request("litevoice", "s3cret", fields, b'{"x":1}')
    assert signed == {**fields, "AccessKey": "litevoice", "Signature": "gCHAbbsG0k905LbKBPs4hqcriQU="}


def test_without_credentials_nothing_is_signed() -> None:
    headers = dict(signature.metadata("client"))
    assert headers["x-mq-client-id"] == "client"
    assert "authorization" not in headers


def test_import_writes_nothing_and_needs_no_home() -> None:
    """The official client makes ~/logs at import: it would fail on a read-only root file system."""
    program = """
import pathlib
def refuse(*args, **kwargs): raise AssertionError("a folder was made at import")
pathlib.Path.mkdir = refuse
import os
os.makedirs = os.mkdir = refuse
import litevoice_broker.lite.channel, litevoice_broker.partition_consumer, litevoice_broker.fence
import sys
assert "rocketmq" not in sys.modules and "rocketmq.v5" not in sys.modules, "the official client was imported"
"""
    environment = {name: value for name, value in os.environ.items() if name != "HOME"}
    subprocess.run([sys.executable, "-c", program], env={**environment, "HOME": "/proc/nowhere"}, check=True)


@pytest.mark.parametrize(
    ("endpoints", "addresses", "scheme"),
    [
        ("10.0.0.1:8081", [("10.0.0.1", 8081)], stubs.definition.IPv4),
        ("p-0.p:8081;p-1.p:8081", [("p-0.p", 8081), ("p-1.p", 8081)], stubs.definition.DOMAIN_NAME),
        ("[::1]:8081", [("::1", 8081)], stubs.definition.IPv6),
        ("[fd00::a]:1;[::ffff:10.0.0.1]:2", [("fd00::a", 1), ("::ffff:10.0.0.1", 2)], stubs.definition.IPv6),
        ("[::1]:8081;proxy:8081", [("::1", 8081), ("proxy", 8081)], stubs.definition.DOMAIN_NAME),
    ],
)
def test_endpoints(endpoints: str, addresses: list[tuple[str, int]], scheme: int) -> None:
    assert BrokerConfig(endpoints, CLIENT).addresses == addresses
    assert stubs.endpoints(addresses).scheme == scheme


@pytest.mark.parametrize(
    "endpoints",
    [
        *("", "host", "host:", ":8081", "host:0", "host:65536", "a:1;", "a:1,b:2;c"),
        *("::1:8081", "[::1]", "[::1]8081", "[]:1", "[::1:8081", "[1::2::3]:1", "[host]:1", "[10.0.0.1]:1", "x[::1]:1"),
    ],
)
def test_bad_endpoints_are_named(endpoints: str) -> None:
    with pytest.raises(BrokerError, match="endpoints: expected host:port"):
        _ = BrokerConfig(endpoints, CLIENT).addresses


def test_missing_authority_file_of_the_admin_is_named(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match=r"ca_file: cannot read /nowhere/ca\.pem: No such file"):
        Admin("h:1", access=AdminAccess(tls=True, ca_file="/nowhere/ca.pem"))
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(BrokerError, match=r"ca_file: no certificates in PEM form in .*ca\.pem"):
        Admin("h:1", access=AdminAccess(tls=True, ca_file=str(tmp_path / "ca.pem")))


@pytest.mark.parametrize("name_server", ["", ";", "host", "host:x"])
def test_bad_name_server_is_named(name_server: str) -> None:
    with pytest.raises(BrokerError, match="name_server: expected host:port"):
        Admin(name_server)


def settings(folder: str) -> BrokerSettings:
    return BrokerSettings(
        endpoints="h:1",
        name_server="n:1",
        request_topic="x",
        reply_topic="y",
        partitions=1,
        credentials_dir=folder,
        ca_file="ca.pem",
    )


def test_credentials_are_read_and_never_shown(tmp_path: Path) -> None:
    (tmp_path / "accessKey").write_text("ak\n")
    (tmp_path / "secretKey").write_text("very secret\n")
    config = BrokerConfig.from_settings(settings(str(tmp_path)), CLIENT)
    assert (config.access_key, config.secret_key) == ("ak", "very secret")
    assert "very secret" not in repr(config)
    access = AdminAccess.from_settings(settings(str(tmp_path)))
    assert (access.access_key, access.secret_key) == ("ak", "very secret")
    assert "very secret" not in repr(access)


def test_bad_credentials_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match=r"credentials_dir: cannot read .*accessKey"):
        BrokerConfig.from_settings(settings(str(tmp_path)), CLIENT)
    (tmp_path / "accessKey").write_text("ak")
    (tmp_path / "secretKey").write_text("\n")
    with pytest.raises(BrokerError, match=r"credentials_dir: .*secretKey is empty"):
        BrokerConfig.from_settings(settings(str(tmp_path)), CLIENT)


def test_missing_authority_file_is_named() -> None:
    with pytest.raises(BrokerError, match=r"ca_file: cannot read /nowhere/ca\.pem"):
        BrokerConfig("h:1", CLIENT, tls=True, ca_file="/nowhere/ca.pem").read_ca()


@pytest.mark.parametrize(
    ("code", "message", "retryable"),
    [
        ("TOO_MANY_REQUESTS", "", True),
        ("TOPIC_NOT_FOUND", "while its broker restarts", True),
        ("MESSAGE_PROPERTY_CONFLICT_WITH_TYPE", "the expected type is UNSPECIFIED, but actual type is FIFO", True),
        ("MESSAGE_PROPERTY_CONFLICT_WITH_TYPE", "the expected type is NORMAL, but actual type is FIFO", False),
        ("UNAUTHORIZED", "while credentials change", True),
        ("ILLEGAL_TOPIC", "", False),
    ],
)
def test_what_may_be_tried_again(code: str, message: str, retryable: bool) -> None:
    status = stubs.definition.Status(code=stubs.CODE.Value(code), message=message)
    with pytest.raises(BrokerError, match=f"Send: {code}") as caught:
        check_status(status, "Send")
    assert caught.value.retryable is retryable
    assert caught.value.code == stubs.CODE.Value(code)
