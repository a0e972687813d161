"""What every tier shares: the clusters, the number of Hypothesis's examples, the environment."""

import os
import signal
import sys
from collections.abc import Generator
from typing import Any

import pytest

from tests.properties import register_profiles
from tools.whole_run import (
    pytest_sessionfinish as pytest_sessionfinish,
    pytest_unconfigure as pytest_unconfigure,
)

pytest_plugins = ["tests.cluster_fixtures"]

register_profiles()

for _name in ("COLUMNS", "LINES"):  # of the terminal of whoever runs the tests
    os.environ.pop(_name, None)
# Without compiled modules each process takes three times as long to collect.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

TIMEOUT_AGAIN_SECONDS = 5.0


@pytest.hookimpl(wrapper=True)
def pytest_timeout_set_timer() -> Generator[None, Any, Any]:
    """Lets a test's timeout ring until the test fails.

    Where its exception is raised within a background task, asyncio keeps it there, and the test would hang.
    A failure stops it: what a fixture still ends is not interrupted.
    """
    result = yield
    left, _ = signal.getitimer(signal.ITIMER_REAL)
    if left:
        signal.setitimer(signal.ITIMER_REAL, left, TIMEOUT_AGAIN_SECONDS)
    return result
