"""The version that upgrades begin from: chart and sources of an earlier commit."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.cluster_fixtures import unavailable
from tools.cluster.paths import REPOSITORY

BEFORE = "f086c9c3"


def checked_out(folder: Path) -> Path:
    """The whole tree of that commit, in ``folder``."""
    archive = ["git", "-C", str(REPOSITORY), "archive", BEFORE]
    done = subprocess.run(archive, capture_output=True, check=False)
    if done.returncode:
        unavailable(f"the history has no commit {BEFORE}")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=done.stdout, check=True)
    return folder
