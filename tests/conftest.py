"""Every test gets its category from the folder it stands in; a test outside a tier folder is an error."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from litevoice_dev.rocketmq_jars import version

settings.register_profile("litevoice", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("litevoice")  # a test's time says nothing on a machine that is shared

TIERS = {"unit": "unit", "architecture": "unit", "integration": "integration"}


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
        tier = TIERS.get(item.path.relative_to(root).parts[0])
        if tier is None:
            raise pytest.UsageError(f"{item.nodeid}: tests stand in one of tests/{{{','.join(TIERS)}}}")
        item.add_marker(tier)
