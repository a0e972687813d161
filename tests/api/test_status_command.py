"""``tacho status NAME`` with the real operator at a real API server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tools.cluster.handle import Cluster
from tools.harness.operating import FACTS, NAME, bring_up, resource
from tools.harness.operator_process import PATIENCE_SECONDS, Kubelet, eventually

pytestmark = pytest.mark.usefixtures("operator", "claim")

Start = Callable[..., "Started"]


@dataclass
class Started:
    """The command, and the file that it tells its progress to."""

    process: subprocess.Popen[str]
    progress: Path

    def said(self) -> str:
        return self.progress.read_text()


@pytest.fixture
def tacho(api: Cluster, namespace: str, tmp_path: Path) -> Start:
    """Starts the command as a person would, with kubectl on their PATH."""
    folder = Path(api.binaries.path("kubectl")).parent
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}

    def start(*arguments: str) -> Started:
        where = ("-n", namespace, "--kubeconfig", str(api.kubeconfig))
        progress = tmp_path / "progress"
        with progress.open("w") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "tacho_cli.main", *arguments, *where],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        return Started(process, progress)

    return start


def ended(started: Started) -> tuple[int, str, str]:
    out, _ = started.process.communicate(timeout=PATIENCE_SECONDS)
    return started.process.returncode, out, started.said()


def test_the_figures_are_drawn(api: Cluster, kubelet: Kubelet, namespace: str, tacho: Start) -> None:
    bring_up(api, kubelet, namespace)
    code, out, err = ended(tacho("status", NAME, "--plot"))
    assert code == 0, err
    assert "tok/s" in out
    assert "Time per token, median" in out


def test_a_start_is_followed_to_ready(api: Cluster, kubelet: Kubelet, namespace: str, tacho: Start) -> None:
    api.apply(resource(namespace))
    watching = tacho("status", NAME, "--watch")
    eventually("the present step, on stderr", lambda: watching.said() or None)
    kubelet.finish_inspection(FACTS)
    kubelet.serve()
    code, out, err = ended(watching)
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0].startswith("plan      llamacpp 2026.10 with gguf on the CPU")
    assert lines[-1].startswith("Ready     1 of 1 replicas")
    assert len({line.split()[0] for line in lines}) == len(lines), "a line for each step"
