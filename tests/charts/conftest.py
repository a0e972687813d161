"""helm for every chart test."""

from __future__ import annotations

import pytest

from tools.cluster import binaries
from tools.harness.helm import Helm


@pytest.fixture(scope="session")
def helm() -> Helm:
    return Helm(binaries.helm(print))
