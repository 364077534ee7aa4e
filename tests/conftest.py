"""Every test gets its category from the folder it stands in; a test outside a tier folder is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from litevoice_dev.rocketmq_jars import version
from tests.integration.shared_rocketmq import OneForAllJobs

# A test's time says nothing on a machine that is shared.
settings.register_profile("random", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", settings.get_profile("random"), derandomize=True)
settings.load_profile("same")  # who changes something sees his own faults; `make properties` looks for all others

pytest.register_assert_rewrite("tests.conformance")

TIERS = ("unit", "integration")

_rocketmq = pytest.StashKey[OneForAllJobs]()


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("numprocesses", None) and config.option.markexpr == "integration":
        config.stash[_rocketmq] = OneForAllJobs()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    if shared := node.config.stash.get(_rocketmq, None):
        node.workerinput["rocketmq"] = shared.folder


def pytest_unconfigure(config: pytest.Config) -> None:
    if shared := config.stash.get(_rocketmq, None):
        shared.end()


def pytest_report_header() -> str:
    try:
        return f"RocketMQ: {version()}"
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    root = Path(__file__).parent
    for item in items:
        if root not in item.path.parents:
            continue
        tier = item.path.relative_to(root).parts[0]
        if tier not in TIERS:
            raise pytest.UsageError(f"{item.nodeid}: tests stand in one of tests/{{{','.join(TIERS)}}}")
        item.add_marker(tier)
