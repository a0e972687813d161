"""Ten minutes of drawn events on a cluster with 8 real and 92 played resources; TACHO_SOAK_SECONDS for more.

TACHO_SOAK_SEED repeats the events of a run; TACHO_SOAK_PLANT names an invariant that is made to fail.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys

import pytest

from tests.cluster_fixtures import unavailable
from tests.e2e import hub as hubs
from tests.e2e.conftest import Installed
from tests.e2e.mocks import fill_model
from tests.nightly.soak import resources
from tests.nightly.soak.invariants import PLANTS, violations
from tests.nightly.soak.observer import Observer
from tests.nightly.soak.soak import Soak, summary
from tests.nightly.soak.world import World
from tools import lab
from tools.cluster.handle import Cluster
from tools.harness.definition import install_definition
from tools.harness.operator_process import install_rights
from tools.tiers import SOAK_SECONDS

SECONDS = float(os.environ.get("TACHO_SOAK_SECONDS") or SOAK_SECONDS)
SEED = int(os.environ.get("TACHO_SOAK_SEED") or random.SystemRandom().randrange(10**6))
PLANT = os.environ.get("TACHO_SOAK_PLANT", "")


@pytest.fixture
def world(node_cluster: Cluster) -> World:
    # Not a temporary folder, which three later runs of tests remove: a finding is understood from the logs.
    folder = lab.ROOT / "build" / "soak" / str(SEED)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if node_cluster.audit_log is None:
        unavailable("the API server of a cluster that was not started here cannot be restarted")
    install_definition(node_cluster)
    install_rights(node_cluster)
    for namespace in (resources.REAL_NAMESPACE, *resources.PLAYED_NAMESPACES):
        node_cluster.create_namespace(namespace)
    return World(node_cluster, lab.load_images(node_cluster), folder)


@pytest.mark.timeout(SECONDS + 900)
# API servers that it starts run on in the cluster; what the proxies hold goes with the process.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_nothing_that_happens_breaks_an_invariant(world: World) -> None:
    print(f"\nTACHO_SOAK_SEED={SEED} TACHO_SOAK_SECONDS={SECONDS:.0f}, logs in {world.folder}")
    cluster, tacho = world.cluster, Installed(world.cluster, world.images)
    fill_model(tacho, resources.REAL_NAMESPACE)
    hub = hubs.start(tacho, resources.REAL_NAMESPACE)
    folder = resources.small_cache(tacho, world.inside)
    for namespace in resources.PLAYED_NAMESPACES:
        cluster.apply(resources.claim(namespace, "models"))
    soak = Soak(world, [*resources.real(tacho, hub), *resources.played()], folder, SEED)
    observer = Observer(cluster)
    observer.start()
    command = [sys.executable, "-m", "tests.nightly.soak.player", str(cluster.kubeconfig)]
    with (world.folder / "player.log").open("wb") as log, subprocess.Popen(command, stderr=log) as player:
        try:
            soak.bring_up(observer)
            recording = soak.run(SECONDS, observer)
        finally:
            player.terminate()
            for replica in world.replicas:
                replica.operator.kill()
            shutil.copytree(cluster.directory / "logs", world.folder / "cluster")
            for log in cluster.directory.glob("audit*"):
                shutil.copy(log, world.folder)
    print(summary(world, recording, soak.counts))
    found = violations(PLANTS[PLANT](recording) if PLANT else recording)
    print(json.dumps(found, indent=2))
    assert not found
