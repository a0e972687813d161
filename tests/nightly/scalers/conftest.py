"""tacho, Prometheus and KEDA on one cluster, for all tests of the tier."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster_fixtures import state_of
from tests.e2e.conftest import Installed
from tests.nightly.scalers import keda, prometheus
from tests.nightly.scalers.prometheus import Prometheus
from tools import lab
from tools.cluster import packages
from tools.cluster.handle import Cluster


@dataclass(frozen=True)
class Scalers:
    """What a test of this tier works with."""

    tacho: Installed
    prometheus: Prometheus

    @property
    def cluster(self) -> Cluster:
        return self.tacho.cluster


@pytest.fixture(scope="session")
def scalers(
    node_cluster: Cluster,
    keda_programs: Path,
    pytestconfig: pytest.Config,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Scalers]:
    terminal = pytestconfig.pluginmanager.get_plugin("terminalreporter")
    say = terminal.write_line if terminal else functools.partial(print, flush=True)
    state_of(node_cluster)
    packages.ensure(packages.PROMETHEUS_TOOLS, say)
    references = lab.load_images(node_cluster)
    lab.install_chart(node_cluster, references)
    with prometheus.running(node_cluster, tmp_path_factory.mktemp("prometheus")) as server:
        keda.install(node_cluster, keda_programs, say)
        yield Scalers(Installed(node_cluster, references), server)
