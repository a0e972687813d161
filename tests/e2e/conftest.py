"""tacho installed on the tier's cluster, as the demo installs it."""

from __future__ import annotations

import fcntl
import json
import os
import time
import uuid
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import pytest

from tests.e2e.resource import Llmd
from tools import cache, lab
from tools.cluster.handle import Cluster

INSECURE_HUB = {"hub": {"allowInsecure": True}, "scalingPeriodSeconds": 2}
"""The Hub-compatible server of the tests speaks plain HTTP; and a test has no time for a look every 10 s."""

_failed = pytest.StashKey[bool]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that run alone come last, when the other processes have nothing left to do."""
    items.sort(key=lambda item: item.get_closest_marker("alone") is not None)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """The processes of tests share a cluster. While a test that is `alone` runs, the others run none.
    The time of a test begins when it may run."""
    alone = item.get_closest_marker("alone") is not None
    with (cache.folder("locks") / "e2e-tests").open("w") as place:
        time.sleep(0.2)  # who waits to be alone goes first
        fcntl.flock(place, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.stash[_failed] = report.failed or item.stash.get(_failed, False)
    return report


@dataclass(frozen=True)
class Installed:
    """The cluster with tacho on it."""

    cluster: Cluster
    images: dict[str, str]
    """Image name to content reference."""


@pytest.fixture(scope="session")
def tacho(node_cluster: Cluster) -> Installed:
    """Installed by the first process that asks; the others of the same run find what it noted."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or uuid.uuid4().hex
    note = node_cluster.directory / f"installed-{run}.json"
    with cache.locked("e2e-install"):
        if not note.exists():
            references = lab.images_for(node_cluster)
            lab.install_chart(node_cluster, references, INSECURE_HUB)
            note.write_text(json.dumps(references))
    return Installed(node_cluster, json.loads(note.read_text()))


@pytest.fixture
def models(tacho: Installed, namespace: str) -> str:
    """A namespace with the example's claim, filled; returns the namespace."""
    lab.fill_claim(tacho.cluster, namespace, tacho.images)
    return namespace


@pytest.fixture
def llmd(request: pytest.FixtureRequest, tacho: Installed, namespace: str) -> Iterator[Llmd]:
    """A resource of the test's own; on failure, everything a person would look at is printed."""
    resource = Llmd(tacho.cluster, namespace)
    yield resource
    if request.node.stash.get(_failed, False):  # looking takes seconds
        print(resource.describe())
    resource.delete()
