"""pytest's hooks at the end of a run: one notes whether a run with failures ran all of its tests, which
tools/tiers.py reads; one ends a process that does not end by itself."""

from __future__ import annotations

import faulthandler
import os

import pytest

NOTE = "tacho/whole"
"""In pytest's cache: the run ended with failed tests, and by nothing else."""
ENDING_SECONDS = 120.0
"""After which a process whose tests have ended says where its threads are, and ends with 1."""

MUTANT = "MUTANT_UNDER_TEST"
"""mutmut's variable, which its runs of pytest have."""


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """An interrupted run, one that stopped at a failure, and one whose plugins failed are not whole."""
    cache = getattr(session.config, "cache", None)
    if cache is None or hasattr(session.config, "workerinput"):
        return
    ended_early = session.shouldstop or session.shouldfail
    cache.set(NOTE, exitstatus == pytest.ExitCode.TESTS_FAILED and not ended_early)


@pytest.hookimpl(trylast=True)  # the run's own cluster is taken down first, which has its time
def pytest_unconfigure(config: pytest.Config) -> None:
    """A thread that is left behind is waited for without end, and without a word. Workers wait for others.

    mutmut runs pytest within its own process, which goes on (tools/mutation.py).
    """
    if not hasattr(config, "workerinput") and MUTANT not in os.environ:
        faulthandler.dump_traceback_later(ENDING_SECONDS, exit=True)
