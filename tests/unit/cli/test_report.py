"""The pages of ``tacho report`` as text: sections, figures, and texts of others that stay text."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tacho_cli.report.page import cold_start, deployment_page, fleet_page
from tacho_cli.status.rows import row
from tests.unit.cli.commands import call
from tests.unit.cli.figures.measurements import entry
from tests.unit.cli.test_status import RESOURCE, cluster  # noqa: F401 - a fixture

HOSTILE = '</p><script>alert(1)</script><img src="http://x">'
GIB = 1024**3
STATUS: dict[str, Any] = {
    **RESOURCE["status"],
    "replicas": 2,
    "readyReplicas": 2,
    "plan": {
        **RESOURCE["status"]["plan"],
        "gpu": {"product": "NVIDIA-L4", "count": 2, "memoryBytes": 24 * GIB},
        "predicted": {
            "weightsBytes": 9 * GIB, "kvCacheBytes": 10 * GIB, "activationBytes": GIB // 4,
            "graphBytes": GIB, "totalBytes": 20 * GIB + GIB // 4,
        },
        "message": HOSTILE,
    },
    "summary": {"outputTokensPerSecondShown": "1840", "costShown": "0.42 USD", "costBasis": "SLO"},
    "startup": {
        "scheduleSeconds": 2, "imageSeconds": 40, "downloadSeconds": 100, "overlapSeconds": 45,
        "preflightSeconds": 5, "loadSeconds": 20, "compileSeconds": 30, "graphSeconds": 8,
        "probeSeconds": 45, "totalSeconds": 205,
    },
    "measurements": [
        entry(
            memory={"actualWeightsBytes": 9 * GIB + 1, "actualBytes": 21 * GIB},
            history={
                "cleanRuns": 2,
                "runs": [
                    {
                        "time": f"2026-11-2{day}T12:00:00Z", "pod": f"p{day}{HOSTILE}", "kind": "Full",
                        "confidence": "Clean" if day else "Provisional", "concurrency": 24,
                        "outputTokensPerSecond": str(1800 + day), "ciPercent": "1.8",
                    }
                    for day in (2, 1, 0)
                ],
            },
        )
    ],
    "revisions": [{"name": "mistral-1", "phase": "Active", "reason": "Serving", "message": "It serves."}],
    "autoscaling": {
        "utilizationPercent": 71,
        "reason": "2 replicas: load of 1.4 replicas.",
        "decisions": [
            {"time": "2026-11-20T08:50:21Z", "fromReplicas": 3, "toReplicas": 2, "cause": "LowDemand"},
            {"time": "2026-11-20T08:49:21Z", "fromReplicas": 1, "toReplicas": 3, "reason": HOSTILE},
        ],
    },
}  # fmt: skip


def deployment(name: str = "mistral-7b<b>", **changes: Any) -> dict[str, Any]:
    spec = {**RESOURCE["spec"], "cost": {"pricePerGPUHour": "0.80", "currency": "EUR"}}
    whole = {"metadata": {"name": name, "namespace": "ml"}, "spec": spec, "status": copy.deepcopy(STATUS)}
    return {**whole, **changes}


def assert_alone(page: str) -> None:
    """The page asks the network for nothing, runs nothing, and shows texts of others as text."""
    assert not re.search(r"<script|<link|<img|@import|url\(|<b>", page)
    assert HOSTILE not in page


def test_the_page_of_one_has_all_of_it() -> None:
    page = deployment_page(deployment())
    assert_alone(page)
    for title in ("Now", "Memory", "Cold start", "History", "Scaling decisions", "Cost", "Measured"):
        assert f"<h2>{title}</h2>" in page
    for shown in ("9.00 GiB", "3 min 25 s", "0.42 USD, at the highest load", "3.20 EUR"):
        assert shown in page


def test_a_resource_without_a_status_has_a_page() -> None:
    page = deployment_page(deployment(status={}))
    assert "<h2>Now</h2>" in page
    assert "<h2>Memory</h2>" not in page
    assert "<svg" not in page


def test_the_page_of_a_fleet_adds_up() -> None:
    stale = deployment("old", status={"conditions": [
        {"type": "Measured", "status": "False", "reason": "MeasurementStale", "message": HOSTILE},
    ]})  # fmt: skip
    page = fleet_page([deployment("a"), deployment("b"), stale], "ml")
    assert_alone(page)
    assert "2 of 3 models ready." in page
    assert "6.40 EUR an hour" in page
    assert re.search(r">NVIDIA-L4</text>.*?>8</text>", page, re.S), "2 x 2 replicas of 2 GPUs"
    assert "MeasurementStale" in page
    assert fleet_page([], "ml").count("<svg") == 0


def test_during_a_rollout_no_price_is_applied_to_the_gpus_of_two_revisions() -> None:
    candidate = {"name": "mistral-2", "phase": "Candidate", "reason": "Starting", "message": "It starts."}
    status = {**STATUS, "revisions": [candidate, *STATUS["revisions"]]}
    settled, moving = deployment(), deployment(status=status)
    assert "GPUs for an hour" in deployment_page(settled)
    assert "GPUs for an hour" not in deployment_page(moving)
    page = fleet_page([settled, moving], "ml")
    assert "3.20 EUR an hour" in page
    assert "Without 1 model in a rollout" in page


def test_a_lower_bound_is_no_exact_figure() -> None:
    bound = entry()
    bound["capacity"] = {**bound["capacity"], "boundary": "Floor"}
    status = {**STATUS, "measurements": [entry(state="Stale"), bound]}
    found = deployment("bound", status=status)
    for page in (deployment_page(found), fleet_page([found], "ml")):
        assert "≥1840" in page
        assert "≤0.42 USD" in page
    assert row(found)["TOK/S"] == "≥1840"
    assert row(deployment())["TOK/S"] == "1840"
    provisional = {**status, "summary": {"outputTokensPerSecondShown": "~1800"}}
    assert row(deployment(status=provisional))["TOK/S"] == "~1800"
    assert row(deployment(status={**status, "summary": {}}))["TOK/S"] == ""


def test_the_page_of_a_fleet_says_why_one_never_started() -> None:
    refused = {"type": "Ready", "status": "False", "reason": "DoesNotFit", "message": "418 MiB are needed."}
    page = fleet_page([deployment("never", status={"conditions": [refused]})], "ml")
    assert re.search(r"ml/never.*DoesNotFit.*418 MiB are needed\.", page, re.S)


@given(
    st.dictionaries(
        st.sampled_from(
            [
                f"{name}Seconds"
                for name in ("schedule", "image", "download", "overlap", "load", "probe", "total")
            ]
        ),
        st.integers(0, 10**6),
    )
)
def test_any_start_is_drawn_within_its_axis(startup: dict[str, int]) -> None:
    chart = cold_start(startup)["chart"]
    places = [float(x) for x in re.findall(r'class="bar" x="([-\d.]+)"', chart)]
    assert all(150 <= x <= 631 for x in places)
    assert len(places) == sum(1 for key, value in startup.items() if value and key != "overlapSeconds")


@pytest.mark.parametrize(("arguments", "title"), [(("mistral",), "ml/mistral"), (("-A",), "all namespaces")])
def test_the_command_writes_the_page(
    capsys: pytest.CaptureFixture[str],
    cluster: Path,  # noqa: F811
    arguments: tuple[str, ...],
    title: str,
) -> None:
    if arguments == ("-A",):
        (cluster / "resource").write_text(json.dumps({"kind": "List", "items": [RESOURCE]}))
    told = call(capsys, "report", *arguments)
    assert told.code == 0
    assert told.out.startswith("<!doctype html>")
    assert title in told.out.split("</h1>")[0]
