"""Credentials and authorities that change while a program runs, as a kubelet changes a mounted Secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from litevoice_broker import config
from litevoice_broker.config import AdminAccess, BrokerConfig
from litevoice_broker.errors import BrokerError
from litevoice_contracts.names import ClientId
from litevoice_contracts.settings import BrokerSettings
from tests.integration.shared_rocketmq import make_certificate


class Mount:
    """A folder of links into the version that `..data` names; `show` swaps that link."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._versions = 0
        folder.mkdir()

    def show(self, **files: str) -> None:
        self._versions += 1
        version = self.folder / f"..{self._versions}"
        version.mkdir()
        for name, content in files.items():
            (version / name).write_text(content)
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")
        (self.folder / "..new").symlink_to(version.name)
        (self.folder / "..new").rename(self.folder / "..data")


@pytest.fixture
def mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mount:
    monkeypatch.setattr(config, "LOOK_SECONDS", 0.0)
    made = Mount(tmp_path / "credentials")
    made.show(accessKey="ak", secretKey="old")
    return made


def settings(mount: Mount) -> BrokerSettings:
    return BrokerSettings.model_validate(
        {
            "endpoints": "h:1",
            "nameServer": "h:2",
            "requestTopic": "x",
            "replyTopic": "y",
            "partitions": 1,
            "credentialsDir": str(mount.folder),
        }
    )


def test_the_keys_are_those_of_the_version_that_is_mounted(mount: Mount) -> None:
    client = BrokerConfig.from_settings(settings(mount), ClientId.new("a", "b", "c"))
    admin = AdminAccess.from_settings(settings(mount))
    assert (client.keys, admin.keys) == (("ak", "old"), ("ak", "old"))
    mount.show(accessKey="ak-2", secretKey="new")
    assert (client.keys, admin.keys) == (("ak-2", "new"), ("ak-2", "new"))


def test_keys_that_cannot_be_read_stay_as_they_were(mount: Mount) -> None:
    client = BrokerConfig.from_settings(settings(mount), ClientId.new("a", "b", "c"))
    mount.show(accessKey="ak-2", secretKey="")
    assert client.keys == ("ak", "old")
    mount.show(accessKey="ak-2", secretKey="new")
    assert client.keys == ("ak-2", "new")


def test_both_keys_are_of_one_version(mount: Mount, monkeypatch: pytest.MonkeyPatch) -> None:
    """The link is swapped between the two reads."""
    client = BrokerConfig.from_settings(settings(mount), ClientId.new("a", "b", "c"))
    read = Path.read_text
    swapped: list[Path] = []

    def swap(path: Path) -> str:
        text = read(path)
        if not swapped:
            swapped.append(path)
            mount.show(accessKey="ak-2", secretKey="new")
        return text

    monkeypatch.setattr(Path, "read_text", swap)
    assert client.keys == ("ak", "old")
    assert client.keys == ("ak-2", "new")


def test_authorities_are_those_of_the_file_of_now(tmp_path: Path) -> None:
    key, certificate = make_certificate(tmp_path)
    ca = tmp_path / "ca.pem"
    ca.write_text(certificate.read_text())
    access = AdminAccess(tls=True, ca_file=str(ca))
    first = access.ssl_context()
    assert access.ssl_context() is first, "made once"
    ca.write_text("no certificate")
    with pytest.raises(BrokerError, match="ca_file: no certificates"):
        access.ssl_context()
    key.unlink()
    make_certificate(tmp_path)
    ca.write_text(certificate.read_text())
    again = access.ssl_context()
    assert again is not None
    assert first is not None
    assert again.get_ca_certs() != first.get_ca_certs()
