"""The operator's environment: read, checked, and named when wrong."""

from __future__ import annotations

import logging
import os
import sys
from itertools import islice
from pathlib import Path

import pytest

from litevoice_broker.config import AdminAccess
from litevoice_contracts.errors import InvalidField
from litevoice_operator.__main__ import main
from litevoice_operator.adapters.broker import Installed
from litevoice_operator.handlers.kopf_settings import EndlessBackoffs, operator_settings
from litevoice_operator.settings import Settings


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    key = tmp_path / "root-key"
    key.write_bytes(b"k" * 32 + b"\n")
    return {"ROOT_KEY_FILE": str(key), "GATEWAY_IMAGE": "g:1", "WORKER_IMAGE": "w:1"}


def test_complete(environment: dict[str, str]) -> None:
    settings = Settings.from_environment(
        environment
        | {"ROCKETMQ_ENDPOINTS": "a:1;[::1]:2", "ROCKETMQ_NAME_SERVER": "n:9876", "WATCH_NAMESPACES": "shop, bank,"}
    )
    assert settings.root_key == b"k" * 32
    assert (settings.defaults.endpoints, settings.defaults.name_server) == ("a:1;[::1]:2", "n:9876")
    assert (settings.namespaces, settings.listen_port, settings.log_level) == (("shop", "bank"), 9090, "info")
    assert "kkkk" not in repr(settings)


def test_access_to_the_broker(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "accessKey").write_text("ak\n")
    (tmp_path / "secretKey").write_text("very secret\n")
    settings = Settings.from_environment(
        environment
        | {
            "ROCKETMQ_NAME_SERVER": "n:9876",
            "ROCKETMQ_ADMIN_TLS": "true",
            "ROCKETMQ_CREDENTIALS_DIR": str(tmp_path),
        }
    )
    assert settings.installed == Installed("n:9876", AdminAccess(True, "", "ak", "very secret"))
    assert settings.defaults.admin_tls is True
    assert "very secret" not in repr(settings)


def test_plain_text_without_credentials_by_default(environment: dict[str, str]) -> None:
    assert Settings.from_environment(environment).installed == Installed("", AdminAccess())


def test_a_missing_file_is_named(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "accessKey").write_text("ak")
    with pytest.raises(InvalidField, match=r"ROCKETMQ_CREDENTIALS_DIR: .*secretKey: No such file"):
        Settings.from_environment(environment | {"ROCKETMQ_CREDENTIALS_DIR": str(tmp_path)})
    (tmp_path / "ca.crt").write_text("no certificate")
    for name, problem in (("ca.crt", "no certificates in PEM form"), ("none", "No such file")):
        with pytest.raises(InvalidField, match=f"ROCKETMQ_CA_FILE: .*{problem}"):
            Settings.from_environment(
                environment | {"ROCKETMQ_ADMIN_TLS": "true", "ROCKETMQ_CA_FILE": str(tmp_path / name)}
            )


WRONG = [
    ("ROOT_KEY_FILE", ""),
    ("ROOT_KEY_FILE", "/nowhere/key"),
    ("ROCKETMQ_ENDPOINTS", "proxy"),
    ("ROCKETMQ_NAME_SERVER", "names:port"),
    ("ROCKETMQ_NAME_SERVER", "::1:9876"),
    ("ROCKETMQ_ADMIN_TLS", "yes"),
    ("ROCKETMQ_CA_FILE", "/nowhere/ca.crt"),
    ("ROCKETMQ_CREDENTIALS_DIR", "/nowhere"),
    ("WATCH_NAMESPACES", "shop,Bank"),
    ("LISTEN_PORT", "http"),
    ("LISTEN_PORT", "70000"),
    ("LOG_LEVEL", "loud"),
    ("POD_USER_ID", "0"),
    ("POD_USER_ID", "root"),
    ("POD_USER_ID", "-1"),
    ("POD_USER_ID", "2147483648"),
    ("POD_USER_ID", "²"),
    ("ROLLOUTS_AT_A_TIME", "0"),
    ("ROLLOUTS_AT_A_TIME", "many"),
]


@pytest.mark.parametrize(("text", "user_id"), [("", 65532), ("1000700000", 1_000_700_000), ("any", None)])
def test_who_pods_run_as(environment: dict[str, str], text: str, user_id: int | None) -> None:
    assert Settings.from_environment(environment | {"POD_USER_ID": text}).defaults.user_id == user_id


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_wrong_values_are_named(environment: dict[str, str], name: str, value: str) -> None:
    with pytest.raises(InvalidField) as caught:
        Settings.from_environment(environment | {name: value})
    assert caught.value.field == name


def test_a_short_key_is_refused(environment: dict[str, str]) -> None:
    Path(environment["ROOT_KEY_FILE"]).write_bytes(b"short")
    with pytest.raises(InvalidField, match="at least 32 bytes, got 5"):
        Settings.from_environment(environment)


def run_main(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["litevoice-operator", *arguments])
    monkeypatch.setattr(os, "environ", environment)
    return main()


def test_the_program_ends_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], environment: dict[str, str]
) -> None:
    assert run_main(monkeypatch, {}) == 2
    assert capsys.readouterr().err.startswith("error: ROOT_KEY_FILE:")
    assert run_main(monkeypatch, environment, "--check-config") == 0


ACCESS = ("ROCKETMQ_ADMIN_TLS", "ROCKETMQ_CA_FILE", "ROCKETMQ_CREDENTIALS_DIR")


def test_help_lists_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], environment: dict[str, str]
) -> None:
    with pytest.raises(SystemExit):
        run_main(monkeypatch, {}, "--help")
    text = capsys.readouterr().out
    for name in (
        *environment,
        "ROCKETMQ_ENDPOINTS",
        "ROCKETMQ_NAME_SERVER",
        "WATCH_NAMESPACES",
        "LISTEN_PORT",
        *ACCESS,
    ):
        assert name in text


def test_backoffs_have_no_end_and_no_length() -> None:
    backoffs = EndlessBackoffs()
    assert not hasattr(backoffs, "__len__")
    assert list(islice(backoffs, 1000))[-1] == 5.0
    assert list(islice(backoffs, 2)) == [0.5, 1]  # every request begins anew


def test_kopf_stays_out_of_the_way() -> None:
    settings = operator_settings()
    assert settings.peering.standalone is True
    assert settings.scanning.disabled is True
    assert settings.persistence.finalizer == "litevoice.dev/operator"
    assert settings.posting.level == logging.WARNING
