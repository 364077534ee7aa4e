"""Rendered once for all tests of the chart."""

from __future__ import annotations

import subprocess

import pytest

from tests.unit.chart.charts import DEV, ROOT, Chart, Manifest


@pytest.fixture(scope="session")
def helm() -> str:
    """The helm that our scripts use; built once where it is missing."""
    found = subprocess.run([ROOT / "scripts" / "install-helm"], stdout=subprocess.PIPE, text=True, check=True)
    return found.stdout.strip()


@pytest.fixture(scope="session")
def chart(helm: str) -> Chart:
    return Chart(helm)


@pytest.fixture(scope="session")
def defaults(chart: Chart) -> dict[tuple[str, str], Manifest]:
    return chart.render()


@pytest.fixture(scope="session")
def with_rocketmq(chart: Chart) -> dict[tuple[str, str], Manifest]:
    return chart.render(*DEV)
