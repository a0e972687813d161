"""pytest's hook that notes whether a run with failures ran all of its tests (tools/tiers.py reads it)."""

from __future__ import annotations

import pytest

NOTE = "tacho/whole"
"""In pytest's cache: the run ended with failed tests, and by nothing else."""


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """An interrupted run, one that stopped at a failure, and one whose plugins failed are not whole."""
    cache = getattr(session.config, "cache", None)
    if cache is None or hasattr(session.config, "workerinput"):
        return
    ended_early = session.shouldstop or session.shouldfail
    cache.set(NOTE, exitstatus == pytest.ExitCode.TESTS_FAILED and not ended_early)
