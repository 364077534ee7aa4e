"""The e2e tier: every test here runs against the cluster that `python -m e2e.prepare` has made ready."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from e2e import environment
from e2e.shell import cache_folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("e2e")


@pytest.fixture(scope="session", autouse=True)
def kubeconfig() -> None:
    if environment.is_local():
        os.environ["KUBECONFIG"] = str(cache_folder() / "cluster" / "kubeconfig")


@pytest.fixture
def endpoint(kubeconfig: None) -> environment.Endpoint:
    """The example VoiceGateway, ready, with two gateways and two workers."""
    environment.apply_examples()
    return environment.endpoint()
