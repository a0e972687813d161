"""What is known of a measured deployment is used and renewed: later pods are checked, and who asks has it
measured again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tacho_operator.core import names
from tests.e2e.conftest import Installed
from tests.e2e.mocks import fill_model, mock
from tests.e2e.resource import Llmd, eventually

pytestmark = pytest.mark.timeout(900)

LAW = ("--ttft-base-ms=40", "--ttft-per-token-ms=0.2", "--itl-base-ms=10", "--itl-per-seq-ms=2")
SHORT = {"budgetSeconds": 12, "timeoutSeconds": 90}


@pytest.fixture
def model(tacho: Installed, namespace: str) -> str:
    return fill_model(tacho, namespace)


def entry(llmd: Llmd) -> dict[str, Any]:
    """The one measurement there is: all of these pods are of one plan on one kind of machine."""
    (found,) = llmd.status()["measurements"]
    return dict(found)


def runs(llmd: Llmd) -> set[tuple[str, str, str]]:
    """(kind, pod, time) of every run that is kept."""
    return {(run["kind"], run["pod"], run["time"]) for run in entry(llmd)["history"]["runs"]}


def live(llmd: Llmd) -> dict[str, Any]:
    found: dict[str, Any] = llmd.cluster.get("configmap", f"{llmd.name}-live", "-n", llmd.namespace)
    return found


def deviates(history: dict[str, Any]) -> bool:
    """Whether two clean runs disagree, for which the operator measures once more."""
    return bool(history.get("agreeingRuns", 0) < history.get("cleanRuns", 0))


class Runs:
    """The runs of one deployment since a time. Where a run was disturbed, which its confidence shows, or
    disagrees with an earlier one, the operator measures again in a probe pod: such runs come in between."""

    def __init__(self, llmd: Llmd) -> None:
        self._llmd, self._before = llmd, set[tuple[str, str, str]]()
        self._explained = False

    def begin(self) -> None:
        """From now on."""
        self._before = runs(self._llmd)

    def found(self) -> set[tuple[str, str]]:
        """(kind, pod) of each."""
        return {run[:2] for run in runs(self._llmd) - self._before}

    def must_be(self, *expected: tuple[str, str]) -> None:
        """These and no others, but for what the operator repeats."""
        history = entry(self._llmd)["history"]
        disturbed = any(run["confidence"] != "Clean" for run in history["runs"])
        self._explained = self._explained or disturbed or deviates(history)
        repeated = {run for run in self.found() - set(expected) if self.in_probe_pod(run)}
        if repeated and self._explained:
            print(f"measured again by the operator itself: {repeated}")
        assert self.found() - (repeated if self._explained else set()) == set(expected)

    def in_probe_pod(self, run: tuple[str, str]) -> bool:
        return run[0] == "Full" and f"{self._llmd.name}-probe-" in run[1]


class Asking:
    """A person's request to measure again, and the endpoints that the Service has until it is answered."""

    def __init__(self, llmd: Llmd, request: str) -> None:
        self._llmd, self._request = llmd, request
        self.endpoints: set[frozenset[str]] = set()
        """That the Service had meanwhile."""
        asked = f"{names.MEASURE_AGAIN_ANNOTATION}={request}"
        llmd.cluster.kubectl("annotate", "llmd", llmd.name, "-n", llmd.namespace, asked, "--overwrite")

    def _answered(self) -> bool | None:
        self.endpoints.add(frozenset(self._llmd.endpoints()))
        notes = live(self._llmd)["metadata"].get("annotations") or {}
        outcome = json.loads(notes.get(names.OUTCOME_ANNOTATION) or "{}")
        answered = notes.get(names.ANSWERED_ANNOTATION) == self._request
        return answered or outcome.get("request") == self._request or None

    def until_answered(self) -> None:
        """Until it is measured; the old figures stand where a neighbour has moved the new ones."""
        eventually("the answer", self._answered, 300)


@pytest.mark.nightly
@pytest.mark.alone
@pytest.mark.usefixtures("model")
def test_later_pods_are_checked_and_a_person_has_it_measured_again(llmd: Llmd, tacho: Installed) -> None:
    manifest = mock(tacho, *LAW, probe=SHORT)
    llmd.apply(manifest)
    llmd.await_clean_figures()
    eventually("a baseline", lambda: json.loads(live(llmd)["data"]["live.json"]).get("baselines") or None)
    llmd.await_condition("Ready", "True", "Serving")
    (first,) = llmd.pods()
    since = Runs(llmd)
    measured = {run[:2] for run in runs(llmd)}

    manifest["spec"]["replicas"] = 2
    llmd.apply(manifest)
    eventually("two serve", lambda: len(llmd.endpoints()) == 2 or None)
    serving = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in llmd.pods()}
    (second,) = serving.keys() - {first["metadata"]["name"]}
    eventually("the check is kept", lambda: ("Check", second) in since.found() or None)
    history = entry(llmd)["history"]
    print(history)
    since.must_be(*measured, ("Check", second))
    assert history["cleanRuns"] >= 1
    assert float(history["spreadPercent"]) >= 0, "between pods"

    since.begin()
    asking = Asking(llmd, "by-hand")
    throwaway = eventually("a throwaway pod", lambda: llmd.pods("probe") or None)[0]["metadata"]["name"]
    asking.until_answered()
    eventually("the run is kept", lambda: ("Full", throwaway) in since.found() or None)
    since.must_be(("Full", throwaway))
    assert {len(found) for found in asking.endpoints} == {2}, "who serves is left alone"
    eventually("the throwaway pod is gone", lambda: not llmd.pods("probe") or None)
    assert {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in llmd.pods()} == serving
