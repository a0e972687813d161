"""Where the cluster keeps things outside the checkout: binaries in a cache, clusters in a state folder."""

import os
from pathlib import Path

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
DEFAULT_NAME = "tacho"


def cache_root() -> Path:
    """The folder of built binaries and of Go, shared by all clones."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "tacho" / "cluster"


def state_root() -> Path:
    """The folder that holds one folder per running cluster with a node."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "tacho" / "clusters"
