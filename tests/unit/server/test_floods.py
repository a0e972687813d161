"""What many clients at once take of the event loop, and of the process's files."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from tacho_server import launch, metrics
from tacho_server.metrics import ServerMetrics
from tests.unit.server.scripted import Scripted


def test_clients_that_ask_at_once_share_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[object] = []

    def generate(registry: object) -> bytes:
        rendered.append(registry)
        return b"%d" % len(rendered)

    monkeypatch.setattr(metrics, "generate_latest", generate)
    figures = ServerMetrics(Scripted("abc"))
    pages = [figures.page(at) for at in (5.0, 5.001, 5.02, 5.021, 4.0)]
    assert pages == [b"1", b"1", b"1", b"2", b"3"], "one that a clock put ahead is no newer"


@pytest.mark.parametrize(("soft", "hard", "then"), [(100, 200, 200), (100, 70_000, 65_536), (300, 300, 300)])
def test_a_server_may_open_as_many_files_as_connections_and_places_take(
    soft: int, hard: int, then: int
) -> None:
    if hard > resource.getrlimit(resource.RLIMIT_NOFILE)[1] >= 0:
        hard = then = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    code = (
        "import resource; from tacho_server.launch import allow_files; "
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard})); allow_files(); "
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == min(then, launch.FILES)
