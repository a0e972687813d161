"""What every tier shares: the clusters, and that how long an example takes proves nothing."""

from hypothesis import settings

pytest_plugins = ["tests.cluster.fixtures"]

settings.register_profile("tacho", deadline=None)
settings.load_profile("tacho")
