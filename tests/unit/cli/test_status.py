"""``tacho status``: what kubectl brings, as people, programs and browsers read it."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from tacho_cli.output import _fits, grid
from tacho_cli.status.screen import remarks
from tests.unit.cli.commands import call
from tests.unit.cli.figures.measurements import entry
from tests.unit.contract.test_text import hidden

RESOURCE: dict[str, Any] = {
    "apiVersion": "tacho.dev/v1alpha1",
    "kind": "LLMDeployment",
    "metadata": {"name": "mistral", "namespace": "ml", "managedFields": [{"manager": "kubectl"}]},
    "spec": {"slo": {"ttftMilliseconds": 500, "tpotMilliseconds": 50}},
    "status": {
        "plan": {
            "engine": {"name": "vllm"},
            "quantizationMethod": "fp8",
            "gpu": {"product": "NVIDIA-L4"},
            "probeBudgetSeconds": 90,
            "probeBudgetMessage": "About 68 s are expected.",
        },
        "summary": {"outputTokensPerSecondShown": "~1800", "ttftMillisecondsShown": "260"},
        "conditions": [
            {"type": "Ready", "status": "True", "reason": "Serving", "message": "1 of 1 replicas serve."},
            {
                "type": "Planned",
                "status": "True",
                "reason": "PlanReady",
                "message": "vllm with fp8 on NVIDIA-L4.",
            },
            {"type": "Measured", "status": "False", "reason": "MeasurementFailed", "message": "[no] answer"},
        ],
        "measurements": [entry(), entry(state="Stale", probeSeconds=99)],
    },
}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kubectl that brings ``resource`` and notes what it was asked; without that file, it is not found."""
    script = tmp_path / "kubectl"
    script.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\ncat {tmp_path}/resource || '
        "{ echo 'Error from server (NotFound): llmdeployments.tacho.dev \"x\" not found' >&2; exit 1; }\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "resource").write_text(json.dumps(RESOURCE))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


@pytest.mark.parametrize("columns", ["20", "40", "49", "60"])
def test_a_narrow_terminal_loses_no_column(
    columns: str, capsys: pytest.CaptureFixture[str], cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The column of the messages was left out without a word, and reasons were cut."""
    monkeypatch.setenv("COLUMNS", columns)
    out = call(capsys, "status", "mistral").out
    for text in ("CONDITION", "MESSAGE", "MeasurementFailed", "[no] answer", "replicas serve."):
        assert "".join(text.split()) in "".join(out.split())


def test_a_table_is_not_stacked_for_headings_that_can_be_broken() -> None:
    table = grid(
        ["NAME", "TTFT P95", "E2E P50 S"], [["static-6", "0.310", "10.8"]], wrap=("TTFT P95", "E2E P50 S")
    )
    assert _fits(table, 8 + 2 + 5 + 2 + 4)
    assert not _fits(table, 8 + 2 + 5 + 2 + 3)


def test_a_person_sees_conditions_plan_and_figures(capsys: pytest.CaptureFixture[str], cluster: Path) -> None:
    told = call(capsys, "status", "mistral", "-n", "ml", "--context", "prod", "--kubeconfig", "/k")
    assert told.code == 0, told
    asked = (cluster / "asked").read_text()
    assert asked.startswith("--context=prod --kubeconfig=/k --namespace=ml --request-timeout=20s get ")
    assert "llmdeployments.tacho.dev mistral -o json" in asked
    lines = told.out.splitlines()
    assert lines[1].split() == ["mistral", "vllm", "fp8", "NVIDIA-L4", "True", "Serving", "~1800", "260"]
    assert any(line.split()[:3] == ["Measured", "False", "MeasurementFailed"] for line in lines)
    assert "[no] answer" in told.out, "what a cluster says is not markup"
    assert "vllm with fp8 on NVIDIA-L4." in told.out
    assert "Probe: 90 s. About 68 s are expected." in lines
    assert "carries 24 streams at the SLO; 30 miss it" in told.out
    assert "measured in 99 s" not in told.out, "what is stale stands behind what is not"
    assert "●" not in told.out


def test_the_curve_is_drawn_when_it_is_asked_for(capsys: pytest.CaptureFixture[str], cluster: Path) -> None:
    told = call(capsys, "status", "mistral", "--plot")
    assert "Time to first token, median, logarithmic; the level line is the SLO of 500 ms" in told.out
    assert all(mark in told.out for mark in "●○◆")
    assert "\x1b" not in told.out, "no colour where there is no terminal"


def test_a_page_has_the_curve_and_what_is_wrong(capsys: pytest.CaptureFixture[str], cluster: Path) -> None:
    told = call(capsys, "report", "mistral")
    assert told.out.count("<svg") == 1
    assert "<h1>ml/mistral</h1>" in told.out
    assert "Measured=False MeasurementFailed: [no] answer" in told.out


def test_what_a_condition_has_said_is_not_said_again(
    capsys: pytest.CaptureFixture[str], cluster: Path
) -> None:
    disturbed = {
        "type": "Measured",
        "status": "Unknown",
        "reason": "MeasurementProvisional",
        "message": "~39 output tokens per second. other programs used 41%; it was late.",
    }
    status = {
        "conditions": [disturbed],
        "measurements": [entry(message="other programs used 41%; it was late")],
    }
    (cluster / "resource").write_text(json.dumps({**RESOURCE, "status": status}))
    told = call(capsys, "status", "mistral")
    assert "MeasurementProvisional" in told.out
    assert told.out.count("it was late") == 1


def test_a_rejected_revision_is_a_remark_of_the_report() -> None:
    rejected = {"type": "RolloutAccepted", "status": "False", "reason": "Regression", "message": "-31 %"}
    assert remarks({"conditions": [rejected]}) == ["RolloutAccepted=False Regression: -31 %"]
    assert remarks({"conditions": [{**rejected, "status": "Unknown"}]}) == []


def test_a_message_of_several_conditions_is_shown_once(
    capsys: pytest.CaptureFixture[str], cluster: Path
) -> None:
    why = "Pod smol-1 downloads 1.2 of 4.4 GB."
    found = [
        {"type": kind, "status": "Unknown", "reason": "Downloading", "message": why}
        for kind in ("Ready", "Reconciling", "Measured")
    ]
    found += [{"type": kind, "status": "False", "reason": "Settled"} for kind in ("Stalled", "Planned")]
    (cluster / "resource").write_text(json.dumps({**RESOURCE, "status": {"conditions": found}}))
    told = call(capsys, "status", "mistral").out
    assert told.count(why) == 1
    rows = [line.split() for line in told.splitlines()]
    assert ["Reconciling", "Unknown", "Downloading", "See", "Ready."] in rows
    assert ["Measured", "Unknown", "Downloading", "See", "Ready."] in rows
    assert ["Planned", "False", "Settled"] in rows


def test_json_is_the_resource(capsys: pytest.CaptureFixture[str], cluster: Path) -> None:
    found = json.loads(call(capsys, "status", "mistral", "-o", "json").out)
    assert found["status"] == RESOURCE["status"]
    assert found["metadata"] == {"name": "mistral", "namespace": "ml"}


def test_stale_figures_are_better_than_none_and_say_so(
    capsys: pytest.CaptureFixture[str], cluster: Path
) -> None:
    stale = {**RESOURCE, "status": {"measurements": [entry(state="Stale")] * 2}}
    (cluster / "resource").write_text(json.dumps(stale))
    assert call(capsys, "status", "mistral").out.count("2026-11-20T12:00:00Z, stale") == 1


def test_a_resource_nobody_has_looked_at_yet_has_a_row(
    capsys: pytest.CaptureFixture[str], cluster: Path
) -> None:
    (cluster / "resource").write_text(json.dumps({**RESOURCE, "status": {}}))
    told = call(capsys, "status", "mistral", "--plot")
    assert told.code == 0
    assert "mistral" in told.out


def test_what_is_not_there_is_told(capsys: pytest.CaptureFixture[str], cluster: Path) -> None:
    (cluster / "resource").unlink()
    told = call(capsys, "status", "x")
    assert (told.code, told.out) == (2, "")
    assert "Error from server (NotFound)" in told.err


def test_a_person_sees_why_there_are_so_many_replicas(
    capsys: pytest.CaptureFixture[str], cluster: Path
) -> None:
    scaled = json.loads(json.dumps(RESOURCE))
    scaled["status"] |= {
        "readyReplicas": 2,
        "autoscaling": {
            "desiredReplicas": 3,
            "minReplicas": 1,
            "maxReplicas": 8,
            "demandReplicas": "2.21",
            "utilizationPercent": 110,
            "requestsPerSecondPerReplica": "3.9",
            "reason": "2 -> 3 replicas: load of 2.21 replicas, over 0.80 = 2.76.",
            "decisions": [
                {
                    "time": "2026-11-20T08:49:21Z",
                    "fromReplicas": 2,
                    "toReplicas": 3,
                    "reason": "2 -> 3 replicas: [work] of 2.21 replicas, over 0.80 = 2.76.",
                }
            ],
        },
    }
    (cluster / "resource").write_text(json.dumps(scaled))
    told = call(capsys, "status", "mistral", "-n", "ml").out
    for said in ("2 of 3", "1 to 8", "2.21", "110", "3.9", "over 0.80 = 2.76", "2026-11-20T08:49:21Z"):
        assert said in told
    assert "[work] of" in told
    assert "ecommended" not in told
    for part in (scaled["status"]["autoscaling"], scaled["status"]["autoscaling"]["decisions"][0]):
        part["mode"] = "Recommend"
    (cluster / "resource").write_text(json.dumps(scaled))
    told = call(capsys, "status", "mistral", "-n", "ml").out
    assert "2; 3 recommended" in told
    assert "Recommended: 2 -> 3 replicas" in told


def test_a_narrow_terminal_cuts_no_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, cluster: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    (row,) = call(capsys, "status", "-o", "wide").out.splitlines()[1:]
    assert row.split()[:5] == ["mistral", "vllm", "fp8", "NVIDIA-L4", "True"]
    assert "MeasurementFailed" in row, "the terminal breaks the line, as kubectl's"
    told = call(capsys, "status", "mistral").out
    assert "mistral" in told
    assert "1840 ± 30" in told
    assert max(map(len, told.split("CONDITION")[1].split("Probe:")[0].splitlines())) <= 40


def test_a_forged_status_forges_no_line(capsys: pytest.CaptureFixture[str], cluster: Path) -> None:
    resource = json.loads(json.dumps(RESOURCE))
    forged = "gone\nReady True Serving\r\x1b[2J\x9b31m\u202e[/bold]\u200b"
    for item in resource["status"]["conditions"]:
        item.update(status="False", reason=item["reason"] + forged, message=item["message"] + forged)
    resource["status"]["plan"]["engine"]["name"] = forged
    resource["status"]["autoscaling"] = {"reason": forged, "decisions": [{"reason": forged, "time": forged}]}
    resource["status"]["measurements"][0]["message"] = forged
    (cluster / "resource").write_text(json.dumps(resource))
    told = call(capsys, "status", "mistral")
    assert told.code == 0, told
    assert not hidden(told.out, "\n")
    assert not any(line.startswith("Ready True") for line in told.out.splitlines())
    (cluster / "resource").write_text(json.dumps({"kind": "List", "items": [resource]}))
    told = call(capsys, "status")
    assert told.code == 0, told
    assert len(told.out.splitlines()) == 2, "a heading and a row"


def test_an_error_of_kubectl_shows_every_character(capsys: pytest.CaptureFixture[str], cluster: Path) -> None:
    (cluster / "kubectl").write_text("#!/bin/sh\nprintf 'no \\033[2J\\302\\233' >&2\nexit 1\n")
    told = call(capsys, "status", "mistral")
    assert told.code == 2
    assert not hidden(told.err, "\n")


@pytest.mark.parametrize(
    ("attainment", "shown"),
    [
        ({"requests": 80, "ttftSource": "None", "tpotSource": "None"}, "unknown (TTFT, TPOT)"),
        ({"percent": 94, "ttftSource": "Histogram", "tpotSource": "Histogram"}, "94"),
        ({"requests": 9, "tpotSource": "None"}, "unknown (TPOT)"),
        ({"requests": 0, "tpotSource": "Histogram"}, "unknown"),
    ],
)
def test_the_attainment_is_shown_with_its_source(
    cluster: Path, capsys: pytest.CaptureFixture[str], attainment: dict[str, Any], shown: str
) -> None:
    scaled = {**RESOURCE["status"], "autoscaling": {"desiredReplicas": 2, "attainment": attainment}}
    (cluster / "resource").write_text(json.dumps({**RESOURCE, "status": scaled}))
    lines = call(capsys, "status", "mistral").out.splitlines()
    (at,) = (number for number, line in enumerate(lines) if "SLO MET %" in line)
    assert lines[at + 1][lines[at].index("SLO MET %") :].startswith(shown)
