"""The gate of a rollout on a real node: a slower engine is measured twice and rejected; users notice nothing.

Its times are those of the mock engine's law, so the machine's speed does not matter. They are long beside the
delays of a busy machine: above half a token's time the client's own lateness makes a figure provisional.
"""

from __future__ import annotations

from typing import Any

import pytest

from tacho_operator.core import names
from tests.e2e.conftest import Installed
from tests.e2e.load import Load, service_url
from tests.e2e.mocks import fill_model, mock
from tests.e2e.resource import Llmd, eventually
from tests.figures import IDLE_SHARE, Idleness

pytestmark = [pytest.mark.timeout(900), pytest.mark.alone, pytest.mark.usefixtures("model")]

SHORT = {"budgetSeconds": 24, "timeoutSeconds": 90}
USUAL, SLOW = 60.0, 87.0
"""Milliseconds per token of a stream alone."""
TOLERANT = {"tolerancePercent": {"throughput": 60, "ttft": 100, "tpot": 100}}


@pytest.fixture
def model(tacho: Installed, namespace: str) -> str:
    return fill_model(tacho, namespace)


def law(itl_milliseconds: float, ttft_milliseconds: float = 60.0) -> tuple[str, ...]:
    return (f"--ttft-base-ms={ttft_milliseconds}", f"--itl-base-ms={itl_milliseconds}")


def gated(tacho: Installed, *arguments: str, **gate: Any) -> dict[str, Any]:
    return mock(tacho, *arguments, probe=SHORT, rollout={"gate": gate})


def active(llmd: Llmd) -> str:
    return note(llmd, names.ACTIVE_ANNOTATION)


def note(llmd: Llmd, name: str) -> str:
    metadata = llmd.cluster.get("service", llmd.name, "-n", llmd.namespace)["metadata"]
    return str((metadata.get("annotations") or {}).get(name, ""))


def verdict(llmd: Llmd) -> dict[str, Any]:
    """The condition RolloutAccepted once the candidate is admitted or rejected. On a busy machine it may not
    be judged: then the test is skipped."""
    idleness = Idleness()

    def look() -> dict[str, Any] | None:
        found = llmd.condition("RolloutAccepted")
        admitted = note(llmd, names.ADMITTED_ANNOTATION)
        return found if admitted or found.get("reason") in ("Regression", "NotJudged") else None

    found = eventually("a verdict", look)
    print(found["reason"], found["message"], note(llmd, names.GATE_ANNOTATION))
    if '"verdict":"Unjudged"' in note(llmd, names.GATE_ANNOTATION):
        here = llmd.cluster.audit_log is not None
        assert not here or idleness.share() < IDLE_SHARE, "not judged on an idle machine"
        pytest.skip(f"inconclusive: {found['message']}")
    return found


def test_a_slower_engine_is_rejected_until_it_is_tolerated(llmd: Llmd, tacho: Installed) -> None:
    llmd.apply(gated(tacho, *law(USUAL)))
    llmd.await_clean_figures()
    llmd.await_condition("Ready", "True", "Serving")
    first = active(llmd)
    body = {"model": "mine", "prompt": "Once upon a time", "max_tokens": 4}
    load = Load(service_url(llmd, "/v1/completions"), body, pause_seconds=1.0)
    with load.running():
        llmd.apply(gated(tacho, *law(SLOW)))
        found = verdict(llmd)
        assert (found["status"], found["reason"]) == ("False", "Regression")
        assert "found in 2 of" in found["message"]
        assert f"compared with revision {first}" in found["message"]
        llmd.await_condition("Stalled", "True", "Regression")
        eventually("its pod goes", lambda: len(llmd.pods()) == 1 or None)
        assert active(llmd) == first
        assert llmd.condition("Ready")["status"] == "True"
        phases = {item["name"]: item["phase"] for item in llmd.status()["revisions"]}
        assert sorted(phases.values()) == ["Active", "Rejected"]

        llmd.apply(gated(tacho, *law(SLOW), **TOLERANT))
        llmd.await_condition("RolloutAccepted", "Unknown")  # it starts again
        verdict(llmd)
        assert note(llmd, names.ADMITTED_ANNOTATION) in phases.keys() - {first}
        eventually("both serve", lambda: len(llmd.endpoints()) == 2 or None)
    print(f"{load.answered} answered, {len(load.lost)} lost")
    assert load.answered
    assert load.lost == []


def test_an_equal_engine_is_admitted_with_the_comparison(llmd: Llmd, tacho: Installed) -> None:
    llmd.apply(gated(tacho, *law(USUAL)))
    llmd.await_clean_figures()
    llmd.await_condition("Ready", "True", "Serving")
    first = active(llmd)
    llmd.apply(gated(tacho, *law(USUAL, 61.0)))
    verdict(llmd)
    found = llmd.await_condition("RolloutAccepted", "True", "Accepted")
    assert "tolerance 10 %" in found["message"]
    assert active(llmd) != first
