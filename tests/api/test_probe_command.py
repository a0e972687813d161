"""``tacho probe NAME`` and ``tacho status NAME`` with the real operator at a real API server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tacho_cli.problems import ExitCode
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


def test_a_deployment_is_measured_again_on_request(
    api: Cluster, kubelet: Kubelet, namespace: str, tacho: Start
) -> None:
    bring_up(api, kubelet, namespace)
    server = kubelet.pods("server")[0]["metadata"]["uid"]
    first: Any = api.get("llmd", NAME, "-n", namespace)["status"]["measurements"][0]

    asking = tacho("probe", NAME, "-o", "json")
    eventually("which pod it is, on stderr", lambda: "-probe-" in asking.said() or None)
    kubelet.serve(role="probe", tokens_per_second=77)
    code, out, err = ended(asking)
    assert code == 0, err
    entry = json.loads(out)
    assert entry["fingerprint"] == first["fingerprint"], "the same configuration on the same hardware"
    assert entry["capacity"]["outputTokensPerSecond"] == "77"
    assert entry["observedTime"] > first["observedTime"]
    eventually("the throwaway pod is gone", lambda: not kubelet.pods("probe") or None)
    assert kubelet.pods("server")[0]["metadata"]["uid"] == server, "who serves is left alone"

    code, out, err = ended(tacho("status", NAME, "--plot"))
    assert code == 0, err
    assert "77.0 ± 0.3 tok/s" in out
    assert "Time per token, median" in out


def test_what_is_not_there_or_never_measured_is_no_answer(
    api: Cluster, kubelet: Kubelet, namespace: str, tacho: Start
) -> None:
    code, out, err = ended(tacho("probe", "nobody"))
    assert (code, out) == (ExitCode.BAD_INPUT, "")
    assert "NotFound" in err
    api.apply(
        {
            "apiVersion": "tacho.dev/v1alpha1",
            "kind": "LLMDeployment",
            "metadata": {"name": NAME, "namespace": namespace},
            "spec": {"model": {"uri": "pvc://models/demo"}, "probe": {"policy": "Disabled"}},
        }
    )
    code, out, err = ended(tacho("probe", NAME))
    assert (code, out) == (ExitCode.BAD_INPUT, "")
    assert "its spec.probe.policy is Disabled" in err


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
