"""What every tier shares: the clusters, and that how long an example takes proves nothing."""

import os

from hypothesis import settings

pytest_plugins = ["tests.cluster.fixtures"]

settings.register_profile("tacho", deadline=None)
settings.load_profile("tacho")

for _name in (
    "COLUMNS",
    "LINES",
):  # of the terminal of whoever runs the tests: what is printed is as wide as it is
    os.environ.pop(_name, None)
