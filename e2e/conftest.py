"""The e2e tier: every test here runs against the cluster that `python -m e2e.prepare` has made ready."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from e2e import environment
from e2e.shell import cache_folder

ASIDE = ("test_lifecycle", "test_rbac", "test_cluster")
"""Files that leave the example VoiceGateway and the broker alone: they run beside the calls."""
LAST = "test_broker_restart"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("e2e")
    items.sort(key=lambda item: item.path.stem == LAST)


class CallsOneByOne(LoadScopeScheduling):  # type: ignore[misc]
    """All calls are one piece of work, and what may run beside them is another."""

    def _split_scope(self, nodeid: str) -> str:
        return "aside" if Path(nodeid.split("::", maxsplit=1)[0]).stem in ASIDE else "calls"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> CallsOneByOne:
    return CallsOneByOne(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and call.when != "teardown":
        report.sections += environment.state()
    return report


@pytest.fixture(scope="session", autouse=True)
def kubeconfig() -> None:
    if environment.is_local():
        os.environ["KUBECONFIG"] = str(cache_folder() / "cluster" / "kubeconfig")


@pytest.fixture
def endpoint(kubeconfig: None) -> environment.Endpoint:
    """The example VoiceGateway, ready, with two gateways and two workers."""
    environment.apply_examples()
    return environment.endpoint()
