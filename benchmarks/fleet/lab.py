"""What the fleet is measured on: a control plane that can be restarted, and processes whose cost is read."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.cluster.controlplane import ControlPlane
from tools.harness.operator_process import Operator

TICKS = os.sysconf("SC_CLK_TCK")
SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
QUICK = (
    "--kube-api-qps=1000",
    "--kube-api-burst=2000",
    "--concurrent-deployment-syncs=20",
    "--concurrent-replicaset-syncs=20",
)
WRITES = {"create", "patch", "update", "delete"}


class QuickControlPlane(ControlPlane):
    """Whose controllers keep up: by default they make 20 requests a second, which would be measured."""

    def _run(self, program: str, arguments: list[str]) -> None:
        quick = program == "kube-controller-manager" and QUICK[0] not in arguments
        super()._run(program, [*arguments, *QUICK] if quick else arguments)


@dataclass(frozen=True)
class Reading:
    """What the operator has cost so far."""

    at: float
    cpu_seconds: float
    requests: dict[str, float]
    """To the API server, by verb and kind."""
    metrics: dict[str, float]

    def since(self, before: Reading) -> dict[str, Any]:
        """Cost between two readings of one process."""
        seconds = self.at - before.at
        requests = {
            what: int(count - before.requests.get(what, 0.0))
            for what, count in sorted(self.requests.items())
            if count > before.requests.get(what, 0.0)
        }
        return {
            "seconds": round(seconds, 1),
            "cpuCores": round((self.cpu_seconds - before.cpu_seconds) / seconds, 4),
            "requests": requests,
            "requestsPerMinute": round(60 * sum(requests.values()) / seconds, 1),
            "writes": sum(count for what, count in requests.items() if what.split()[0] in WRITES),
        }


def pid_of(operator: Operator) -> int:
    assert operator._process is not None
    return operator._process.pid


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def machine_seconds() -> tuple[float, float]:
    """What all cores together have worked, and idled, since the machine began."""
    fields = [int(word) / TICKS for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    idle = fields[3] + fields[4]
    return sum(fields) - idle, idle


def memory_mib(pid: int) -> tuple[int, int]:
    """Resident now, and at its peak."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = {
        name: int(value) // 1024 for name, value in re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", text, re.M)
    }
    return found["VmRSS"], found["VmHWM"]


def read(operator: Operator) -> Reading:
    text = operator.read("tacho_operator_api_requests_total")
    requests: dict[str, float] = {}
    metrics: dict[str, float] = {}
    for name, labels, value in SAMPLE.findall(text):
        if not name.endswith("_created"):
            told = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            what = f"{told['verb']} {told['kind']}"
            requests[what] = requests.get(what, 0.0) + float(value)
            metrics[f"{name}{{{labels}}}"] = float(value)
    return Reading(time.monotonic(), cpu_seconds(pid_of(operator)), requests, metrics)


def scrape(operator: Operator) -> int:
    """All that it tells, as Prometheus asks; bytes."""
    with urllib.request.urlopen(operator.metrics_url, timeout=60) as answer:
        return len(answer.read())


@contextmanager
def played(kubeconfig: Path, mode: str) -> Iterator[int]:
    """The nodes, played by another process; its process id."""
    command = [sys.executable, "-m", "benchmarks.fleet.played", str(kubeconfig), mode]
    with subprocess.Popen(command) as process:
        try:
            yield process.pid
        finally:
            process.terminate()
