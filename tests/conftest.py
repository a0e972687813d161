"""What every tier shares: the clusters, the number of Hypothesis's examples, the environment."""

import os
import sys

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
