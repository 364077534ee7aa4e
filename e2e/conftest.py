"""The e2e tier: every test here runs against the cluster that `python -m e2e.prepare` has made ready."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from e2e import environment
from e2e.shell import cache_folder

ASIDE = ("test_lifecycle", "test_rbac", "test_cluster")
"""Files that leave the example VoiceGateway and the broker alone: they run beside the calls."""
LAST = "test_broker_restart"


@pytest.hookimpl(tryfirst=True)  # before the groups are read
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("e2e")
            item.add_marker(pytest.mark.xdist_group("aside" if item.path.stem in ASIDE else "calls"))
    items.sort(key=lambda item: item.path.stem == LAST)


@pytest.fixture(scope="session", autouse=True)
def kubeconfig() -> None:
    if environment.is_local():
        os.environ["KUBECONFIG"] = str(cache_folder() / "cluster" / "kubeconfig")


@pytest.fixture
def endpoint(kubeconfig: None) -> environment.Endpoint:
    """The example VoiceGateway, ready, with two gateways and two workers."""
    environment.apply_examples()
    return environment.endpoint()
