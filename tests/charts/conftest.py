"""helm for every chart test, and promtool before the first: installing it takes longer than a test may."""

from __future__ import annotations

import pytest

from tools.cluster import binaries, packages
from tools.harness.helm import Helm
from tools.steps import StepError


def pytest_collection_finish(session: pytest.Session) -> None:
    files = {item.path.name for item in session.items}
    if session.config.option.collectonly or "test_alerts.py" not in files:
        return
    try:
        packages.ensure(packages.PROMETHEUS_TOOLS, print)
    except StepError as error:
        pytest.exit(str(error), returncode=1)


@pytest.fixture(scope="session")
def helm() -> Helm:
    return Helm(binaries.helm(print))
