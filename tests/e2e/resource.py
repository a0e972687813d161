"""One LLMDeployment on a real cluster: apply it, wait for what it should become, talk to it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from tacho_operator.core import names
from tests.figures import IDLE_SHARE, Idleness, moved_by, there
from tools import lab
from tools.cluster.handle import Cluster

T = TypeVar("T")
PATIENCE_SECONDS = 300.0
"""Far more than any step takes: a busy machine is slow, and that is no failure."""
TRIES = 3
"""Measurements until a clean one, where something disturbed them."""
EXAMPLE = lab.ROOT / "examples" / "smollm2.yaml"


def eventually(what: str, look: Callable[[], T | None], seconds: float = PATIENCE_SECONDS) -> T:
    """The first answer of ``look`` that is not None, or a failure that says what was awaited."""
    deadline = time.monotonic() + seconds
    while (found := look()) is None:
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds:.0f} s there is still not: {what}")
        time.sleep(0.4)
    return found


def example(path: Path = EXAMPLE, **spec: Any) -> dict[str, Any]:
    """The example's manifest with parts of its spec replaced, and a probe short enough for a test, with
    requests that a busy machine answers too. The engine requests so little CPU that the pods of several
    tests, rollouts and probes fit on two CPUs."""
    document: dict[str, Any] = yaml.safe_load(path.read_text())
    document["spec"]["engine"]["resources"]["requests"]["cpu"] = "100m"
    short = {"inputTokens": 64, "outputTokens": 16}
    probe = {"budgetSeconds": 12, "timeoutSeconds": 120}
    document["spec"] |= {"workload": short, "probe": probe, **spec}
    return document


class Llmd:
    """The resource ``name`` in ``namespace``."""

    def __init__(self, cluster: Cluster, namespace: str, name: str = "smollm2") -> None:
        self.cluster, self.namespace, self.name = cluster, namespace, name

    def apply(self, manifest: dict[str, Any]) -> None:
        metadata = {**manifest["metadata"], "name": self.name, "namespace": self.namespace}
        self.cluster.apply({**manifest, "metadata": metadata})

    def get(self) -> dict[str, Any]:
        found: dict[str, Any] = self.cluster.get("llmd", self.name, "-n", self.namespace)
        return found

    def status(self) -> dict[str, Any]:
        return dict(self.get().get("status") or {})

    def condition(self, kind: str) -> dict[str, Any]:
        conditions = self.status().get("conditions") or ()
        return next((item for item in conditions if item["type"] == kind), {})

    def await_condition(
        self, kind: str, status: str, reason: str = "", seconds: float = PATIENCE_SECONDS
    ) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            found = self.condition(kind)
            return found if found.get("status") == status and reason in ("", found.get("reason")) else None

        return eventually(f"{self.name} with {kind}={status} {reason}", look, seconds)

    def await_figures(self, seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """Until there are figures: clean ones, or, where the machine has other work too, provisional ones
        that say by what they were moved."""

        def look() -> dict[str, Any] | None:
            found = self.condition("Measured")
            return found if there(found) else None

        found = eventually(f"{self.name} with figures", look, seconds)
        moved_by(found)
        return found

    def await_clean_figures(self) -> None:
        """Until nothing but the engine moved the figures; measured TRIES times at most. Otherwise the test
        is skipped, with the flags. It fails where the machine was idle each time: the flags are wrong."""
        idle = []
        for _ in range(TRIES):
            idleness = Idleness()
            if idle:
                self.measure_again()
            flags = moved_by(self.await_figures())
            if not flags:
                return
            idle.append(idleness.share())
            print(f"{', '.join(sorted(flags))}; the machine was idle for {idle[-1]:.0%}")
        here = self.cluster.audit_log is not None
        assert not here or min(idle) < IDLE_SHARE, f"{flags} on an idle machine"
        pytest.skip(f"inconclusive: {', '.join(sorted(flags))}")

    def runs(self) -> set[tuple[str, str]]:
        """(pod, time) of every measurement that is kept."""
        found = self.status().get("measurements") or ()
        return {(run["pod"], run["time"]) for item in found for run in item["history"]["runs"]}

    def measure_again(self) -> None:
        """Until a probe pod has measured once more, and is gone."""
        before = self.runs()
        asked = f"{names.MEASURE_AGAIN_ANNOTATION}=after-{len(before)}-{time.monotonic_ns()}"
        self.cluster.kubectl("annotate", "llmd", self.name, "-n", self.namespace, asked, "--overwrite")
        eventually("it is measured again", lambda: self.runs() - before or None)
        eventually("the probe pod is gone", lambda: not self.pods("probe") or None)

    def pods(self, role: str = "server") -> list[dict[str, Any]]:
        selector = f"tacho.dev/deployment={self.name},tacho.dev/role={role}"
        found = self.cluster.get("pods", "-n", self.namespace, "-l", selector)["items"]
        return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]

    def chat(self, text: str = "Name three colours.", max_tokens: int = 16) -> str:
        body = {
            "model": self.name,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": max_tokens,
        }
        answer = lab.post(self.cluster, self.namespace, self.name, "/v1/chat/completions", body)
        return str(answer["choices"][0]["message"]["content"])

    def streamed_chat(self, text: str = "Name three colours.", max_tokens: int = 16) -> list[dict[str, Any]]:
        """The same question, streamed: the events in their order, without the one that ends them."""
        body = {"model": self.name, "messages": [{"role": "user", "content": text}], "max_tokens": max_tokens}
        told = lab.post_text(
            self.cluster, self.namespace, self.name, "/v1/chat/completions", {**body, "stream": True}
        )
        events = [line.removeprefix("data: ") for line in told.splitlines() if line.startswith("data: ")]
        assert events[-1] == "[DONE]"
        return [json.loads(event) for event in events[:-1]]

    def endpoints(self) -> set[str]:
        """Addresses that the Service sends traffic to now."""
        found = self.cluster.get(
            "endpointslices", "-n", self.namespace, "-l", f"kubernetes.io/service-name={self.name}"
        )
        return {
            address
            for item in found["items"]
            for endpoint in item.get("endpoints") or ()
            if (endpoint.get("conditions") or {}).get("ready")
            for address in endpoint["addresses"]
        }

    def children(self) -> list[str]:
        """Everything in the namespace that carries the resource's label."""
        kinds = (
            "deployments,replicasets,pods,controllerrevisions,services,networkpolicies,"
            "poddisruptionbudgets,configmaps"
        )
        items = self.cluster.get(kinds, "-n", self.namespace, "-l", f"tacho.dev/deployment={self.name}")[
            "items"
        ]
        return [f"{item['kind']}/{item['metadata']['name']}" for item in items]

    def delete(self) -> None:
        self.cluster.kubectl(
            "delete", "llmd", self.name, "-n", self.namespace, "--ignore-not-found", "--timeout=180s",
            timeout_seconds=190,
        )  # fmt: skip

    def describe(self) -> str:
        """For the report of a failed test."""
        parts = []
        for arguments in (
            ("describe", "llmd", self.name, "-n", self.namespace),
            ("get", "pods", "-n", self.namespace, "-o", "wide"),
            (
                "logs",
                "-n",
                self.namespace,
                "-l",
                f"tacho.dev/deployment={self.name}",
                "--tail=40",
                "--all-containers",
            ),
        ):
            try:
                parts.append(self.cluster.kubectl(*arguments))
            except subprocess.CalledProcessError as error:
                parts.append(str(error.stderr))
        return "\n".join([*parts, lab.operator_log(self.cluster)])
