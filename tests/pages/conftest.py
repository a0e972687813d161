"""Chromium, before the first test: installing it takes longer than a test may."""

from __future__ import annotations

import functools

import pytest

from tools.cluster import packages
from tools.steps import StepError


def pytest_collection_finish(session: pytest.Session) -> None:
    if session.config.option.collectonly:
        return
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    say = functools.partial(terminal.write_line) if terminal else print
    try:
        packages.ensure(packages.BROWSER_TOOLS, say)
    except StepError as error:
        pytest.exit(str(error), returncode=1)
