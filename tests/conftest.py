"""What every tier shares: the clusters."""

pytest_plugins = ["tests.cluster.fixtures"]
