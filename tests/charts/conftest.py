"""helm for every chart test."""

from __future__ import annotations

import pytest

from tests.charts.render import Helm
from tests.cluster import binaries


@pytest.fixture(scope="session")
def helm() -> Helm:
    return Helm(binaries.helm(print))
