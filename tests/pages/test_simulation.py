"""The page of ``tacho simulate``, in a browser."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tacho_cli.simulate.report import SimulationReport
from tacho_cli.simulate.show import page
from tacho_simulate.result import Quantiles
from tests.pages.browser import Page, open_page
from tests.pages.laws import assert_painted, assert_sound
from tests.unit.cli.simulate.results import report, run

EXAMPLES = Path(__file__).parents[2] / "examples" / "simulate"
MARK, SLO_LINE, DESIRED = "31 111 235", "180 35 24", "154 75 0"
POLICIES = {
    "tacho": (1.5, 0.995, 0.4),
    "static": (1.0, 0.5, 300.0),
    "hpa-queue": (1.9, 0.93, 20.0),
    "hpa-kv-cache": (1.91, 0.931, 21.0),
    "production-stack-operator": (8.0, 1.0, 0.3),
    "with a name of its own, minReplicas=2, slo.ttft=500ms, quantization=awq-marlin": (1.4, 0.9, 3.0),
}


def opened(folder: Path, found: SimulationReport) -> Page:
    file = folder / "page.html"
    file.write_text(page(found))
    return open_page(file, folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Page:
    runs = [
        run(name, gpu_hours=hours, slo_attainment=kept, ttft_seconds=Quantiles(0.08, late / 2, late))
        for name, (hours, kept, late) in POLICIES.items()
    ]
    return opened(tmp_path_factory.mktemp("whole"), report(*runs))


def test_it_is_sound(whole: Page) -> None:
    assert_sound(whole)
    assert_painted(whole, MARK, SLO_LINE, DESIRED)


def test_every_run_has_its_curves_and_its_point(whole: Page) -> None:
    pictures = {item["title"]: item["drawn"] for item in whole.frame(1200)["pictures"]}
    assert set(pictures) == {
        "SLO attainment over GPU-hours",
        "Arrivals over time",
        "Desired and ready replicas over time",
        "Time to first token",
    }
    tradeoff = pictures["SLO attainment over GPU-hours"]
    assert (tradeoff["point"], tradeoff["point hollow"]) == (4, 2)
    assert tradeoff["line soft front"] == 3, "between the four that nothing beats"
    replicas = pictures["Desired and ready replicas over time"]
    assert replicas["edge"] == replicas["desired"] == len(POLICIES) + 1, "with the key's"
    assert pictures["Arrivals over time"]["edge"] == 1
    first = pictures["Time to first token"]
    assert (first["point"], first["slo"]) == (len(POLICIES), 1)


def test_every_run_has_its_row_and_its_decisions(whole: Page) -> None:
    summary, *decisions = whole.frame(1200)["tables"]
    assert summary == 1 + len(POLICIES)
    assert decisions == [1 + 2] * len(POLICIES)


def test_sentences_and_settings_are_there_as_text(whole: Page) -> None:
    text = whole.frame(1200)["text"]
    assert "1 -> 3 replicas: work of 2.4 <over> 0.80 = 3.00." in text
    assert "coldStartSeconds" in text
    assert "Cheapest run that meets the SLO: tacho" in text


def test_the_command_writes_such_a_page(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    told = subprocess.run(
        [
            *(sys.executable, "-m", "tacho_cli.main", "simulate", "-o", "html"),
            *(
                "--trace",
                EXAMPLES / "trace.csv",
                "--slo",
                "ttft=500ms,tpot=10ms",
                "--what-if",
                "quantization=all",
                "--what-if",
                "minReplicas=1,2",
            ),
            *("--measurement", EXAMPLES / "vllm-bf16.json", "--measurement", EXAMPLES / "vllm-fp8.json"),
            *("--price-per-gpu-hour", "3"),
        ],
        capture_output=True,
        check=True,
    )
    file.write_bytes(told.stdout)
    found = open_page(file, tmp_path)
    assert_sound(found)
    pictures = {item["title"]: item["drawn"] for item in found.frame(1200)["pictures"]}
    assert pictures["Desired and ready replicas over time"]["edge"] == 4 + 1, "with the key's"
    text = found.frame(1200)["text"]
    assert "quantization=fp8, minReplicas=2: " in text
    assert "varied: quantization" in text
    assert "none, fp8" in text


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(report(run(decisions=(), trajectory=())), id="nothing-changed"),
        pytest.param(
            report(run(ttft_seconds=None, e2e_seconds=None, tpot_seconds=None, slo_attainment=0.0)),
            id="nothing-answered",
        ),
        pytest.param(report(*(run(f"policy-{n}") for n in range(20))), id="twenty-alike"),
    ],
)
def test_odd_reports_are_sound_too(found: SimulationReport, tmp_path: Path) -> None:
    assert_sound(opened(tmp_path, found))
