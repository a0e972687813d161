"""A world whose resource has a gate, and a candidate beside the active revision."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from tacho_contract import codec
from tacho_contract.launch import Again, LiveConfig
from tacho_contract.measurement import SingleStream
from tacho_operator.core import names
from tacho_operator.core.rollout.record import MIN_READY_SECONDS
from tacho_operator.core.types import ReconcileDecision
from tools.harness.figures import CAPACITY, point
from tools.harness.world import MOCK_SPEC, World, changed

SMALLER = {"maxModelLen": 1024, "concurrency": 2}
OTHER = {"maxModelLen": 512, "concurrency": 2}
TOLERANT = {"gate": {"tolerancePercent": {"throughput": 40, "tpot": 60}}}
RECORD = {"gate": {"onRegression": "Record"}}


def figures(share: float = 1.0, **fields: Any) -> dict[str, Any]:
    """Figures of an engine with ``share`` of the usual speed."""
    return {
        "capacity": dataclasses.replace(CAPACITY, output_tokens_per_second=204.8 * share, boundary="Edge"),
        "single_stream": SingleStream(
            decode_tokens_per_second=137.4 * share,
            decode_ci_percent=0.5,
            tpot_milliseconds_p50=7.28 / share,
            ttft_milliseconds_p50=101.0,
        ),
        "curve": (point(1, 120.0 * share), point(4, 204.8 * share)),
        **fields,
    }


class Gated(World):
    """A resource with a gate whose active revision serves and is measured."""

    def __init__(self, baseline: dict[str, Any] | None = None, **fields: Any) -> None:
        super().__init__(changed(MOCK_SPEC, **{"rollout": {"gate": {}}, **fields}))
        self.first_pods()
        for pod in self.pods("server"):
            self.serves(pod, **(figures() if baseline is None else baseline))
        self.settle(self.serve_all)
        self.active = self.record("active-revision")

    def reconcile(self, seconds: float = 0.0) -> ReconcileDecision:
        """A record that the Service gets brings one more reconcile, as the watch of its write does."""
        before = self._record()
        decision = super().reconcile(seconds)
        return decision if self._record() == before else super().reconcile()

    def _record(self) -> Any:
        service = self.objects.get(("Service", "smol"))
        return service and service["metadata"].get("annotations", {}).get(names.GATE_ANNOTATION)

    def candidate(self, **fields: Any) -> str:
        """A change of spec, and a pod of its revision."""
        self.change(**(fields or {"context": SMALLER}))
        self.reconcile(1)
        self.deployment_controller()
        (name,) = set(self.sizes()) - {self.active}
        return name

    def measures(self, revision: str, share: float = 1.0, *, again: bool = False, **fields: Any) -> None:
        """A pod of the candidate has measured itself, at first or because it was asked, and is available."""
        pod = self.pods("server", revision)[-1]
        if again:
            assert self.asked(pod), self.live().again
            self.reconcile(30)
            fields["request"] = self.live().again.request
            self.runs(pod, "Probing")
            self.reconcile(60)
        self.serves(pod, **figures(share, **fields))
        self.reconcile(1)
        self.reconcile(MIN_READY_SECONDS)

    def serve_all(self) -> None:
        for pod in self.pods("server"):
            if "status" not in pod:
                self.serves(pod, **figures())

    def asked(self, pod: dict[str, Any]) -> bool:
        again = self.live().again
        return bool(again.request) and again.hostname == pod["metadata"]["name"]

    def live(self) -> LiveConfig:
        return codec.loads(LiveConfig, self.objects["ConfigMap", "smol-live"]["data"]["live.json"])

    def record(self, name: str) -> str:
        found: str = self.service()["metadata"]["annotations"].get(f"{names.GROUP}/{name}", "")
        return found

    def verdict(self) -> str:
        text = self.record("gate")
        return str(json.loads(text)["verdict"]) if text else "none"

    def is_asking(self) -> bool:
        return self.live().again != Again()

    def message(self, kind: str = "RolloutAccepted") -> str:
        return str(self.condition(kind)["message"])

    def phases(self) -> dict[str, str]:
        return {item["name"]: item["phase"] for item in self.status["revisions"]}

    def goes_on(self) -> None:
        """Whatever starts serves, as fast as the first; nothing more changes."""
        self.settle(self.serve_all, turns=40)


def rejected(**fields: Any) -> tuple[Gated, str]:
    """A world in which two measurements of the candidate were a third slower."""
    world = Gated(**fields)
    name = world.candidate()
    world.measures(name, 0.7)
    world.measures(name, 0.7, again=True)
    world.deployment_controller()
    world.reconcile(1)
    return world, name
