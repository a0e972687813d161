"""``tacho simulate``: what is read, what is shown, and what is said of bad input."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tacho_cli.simulate.simulated_deployment import DeploymentOptions, _model, simulated_deployment
from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_simulate.measured_model import from_measurement
from tacho_simulate.performance_model import PerformanceModel
from tacho_simulate.policies.tacho import Tacho
from tests.unit.cli.commands import call, manifest

ENTRY: dict[str, Any] = {
    "fingerprint": "f",
    "state": "Complete",
    "confidence": "Clean",
    "workload": {"inputTokens": 400, "outputTokens": 100},
    "singleStream": {"prefillTokensPerSecond": "20000", "tpotMillisecondsP50": "10"},
    "capacity": {
        "concurrency": 16,
        "requestsPerSecond": "8",
        "outputTokensPerSecond": "800",
        "ciPercent": "2",
    },
    "curve": [{"concurrency": 64, "tpotMillisecondsP50": "25"}],
}


@pytest.fixture
def trace(tmp_path: Path) -> str:
    """Two requests a second for ten minutes, and ten for the five after them."""
    times = [second / 2 for second in range(1200)] + [600 + tenth / 10 for tenth in range(3000)]
    path = tmp_path / "steps.csv"
    path.write_text("time_s,input_tokens,output_tokens\n" + "".join(f"{time},400,100\n" for time in times))
    return str(path)


def written(folder: Path, entry: dict[str, Any] = ENTRY) -> str:
    path = folder / "entry.json"
    path.write_text(json.dumps(entry))
    return str(path)


def resource(folder: Path, **status: Any) -> str:
    """A manifest as a cluster has it."""
    path = Path(
        manifest(
            folder,
            slo={"ttftMilliseconds": 500, "tpotMilliseconds": 40},
            autoscaling={"minReplicas": 1, "maxReplicas": 5},
            cost={"pricePerGPUHour": "3"},
        )
    )
    document = yaml.safe_load(path.read_text())
    document["status"] = {"measurements": [ENTRY], "autoscaling": {"coldStartSeconds": 40}} | status
    path.write_text(yaml.safe_dump(document))
    return str(path)


def test_a_person_sees_a_row_a_policy(capsys: pytest.CaptureFixture[str], tmp_path: Path, trace: str) -> None:
    entry = written(tmp_path)
    told = call(
        capsys, "simulate", "--trace", trace, "--measurement", entry, "--slo", "ttft=500ms,tpot=40ms",
        "--policy", "tacho,static-3", "--policy", "hpa-queue",
    )  # fmt: skip
    assert told.code == 0
    first, heading, *rows = told.out.splitlines()
    assert first == (
        "steps: 4200 requests in 15 min; 1 to 16 replicas; cold start 60 s; "
        "TTFT ≤ 500 ms and TPOT ≤ 40 ms for 95 of 100 requests"
    )
    assert heading.split()[:4] == ["POLICY", "SLO", "%", "GPU-H"]
    assert [row.split()[0] for row in rows] == ["tacho", "static-3", "hpa-queue"]
    assert rows[1].split()[:3] == ["static-3", "100", "0.750"]
    assert "the cold start is assumed to take 60 s; set --cold-start" in told.err


def test_programs_read_the_whole_of_it_and_the_manifest_says_what_is_promised(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trace: str
) -> None:
    told = call(capsys, "simulate", "--trace", trace, "-f", resource(tmp_path), "-o", "json")
    document = json.loads(told.out)
    assert document["setting"] == {
        "minReplicas": 1,
        "maxReplicas": 5,
        "coldStartSeconds": 40.0,
        "startSeconds": [40.0],
        "ttftMilliseconds": 500,
        "tpotMilliseconds": 40,
        "percentile": 95,
        "gpusPerReplica": 1,
        "pricePerGpuHour": 3.0,
        "requestsPerSecondPerReplica": 8.0,
        "concurrencyPerReplica": 16,
        "quantizationMethod": None,
        "observedTime": None,
        "faults": [],
        "seed": 0,
    }
    own, best = document["runs"]
    assert (own["policy"], best["policy"]) == ("tacho", "greedy")
    assert own["cost"] == pytest.approx(3 * own["gpuHours"], abs=1e-4)
    assert own["replicas"][0] == {"timeSeconds": 0.0, "desired": 1, "ready": 1}
    assert own["requests"] == 4200
    assert own["failed"] == 0
    assert own["decisions"][0]["timeSeconds"] > 600
    assert "load of" in own["decisions"][0]["reason"]
    assert set(own["ttftSeconds"]) == {"p50", "p95", "p99"}


def test_options_come_before_the_manifest(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trace: str
) -> None:
    told = call(
        capsys, "simulate", "--trace", trace, "-f", resource(tmp_path), "--min-replicas", "1",
        "--max-replicas", "3", "--slo", "ttft=1s", "--cold-start", "5", "--price-per-gpu-hour", "1",
        "--policy", "static", "--seed", "4", "-o", "json",
    )  # fmt: skip
    document = json.loads(told.out)
    setting, (run,) = document["setting"], document["runs"]
    assert (setting["minReplicas"], setting["maxReplicas"], setting["coldStartSeconds"]) == (1, 3, 5)
    assert (setting["ttftMilliseconds"], setting["tpotMilliseconds"], setting["seed"]) == (1000, None, 4)
    assert run["cost"] == pytest.approx(run["gpuHours"], abs=1e-4)
    assert run["gpuHours"] == 0.249972


def test_the_behavior_of_the_manifest_binds_the_operators_decision(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trace: str
) -> None:
    path = Path(resource(tmp_path))
    document = yaml.safe_load(path.read_text())
    document["spec"]["autoscaling"] |= {
        "behavior": {"scaleUp": {"selectPolicy": "Disabled"}},
        "schedules": [{"schedule": "0 8 * * *", "minReplicas": 4}],
        "mode": "Recommend",
    }
    path.write_text(yaml.safe_dump(document))
    told = call(capsys, "simulate", "--trace", trace, "-f", str(path), "--policy", "tacho", "-o", "json")
    (run,) = json.loads(told.out)["runs"]
    assert run["decisions"] == []
    assert "schedules are ignored" in told.err
    assert "the simulation applies each decision" in told.err


def test_a_provisional_measurement_is_said_to_be_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trace: str
) -> None:
    entry = written(tmp_path, ENTRY | {"confidence": "Provisional", "flags": ["Contended"]})
    told = call(capsys, "simulate", "--trace", trace, "--measurement", entry, "--policy", "static")
    assert told.code == 0
    assert "the measurement is provisional (Contended)" in told.err


def test_quantizations_of_all_resources_of_a_file_are_compared(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trace: str
) -> None:
    items = []
    for name, status in (
        ("bf16", {"measurements": [ENTRY | {"quantizationMethod": "none"}]}),
        ("eight", {"measurements": [ENTRY], "plan": {"quantizationMethod": "fp8"}}),
        ("new", {"measurements": []}),
    ):
        document = yaml.safe_load(Path(resource(tmp_path, **status)).read_text())
        items.append(document | {"metadata": {"name": name}})
    every = tmp_path / "all.yaml"
    every.write_text(yaml.safe_dump({"kind": "List", "items": items}))
    asked = ("--trace", trace, "-f", str(every), "--what-if", "quantization=none,fp8", "-o", "json")
    told = call(capsys, "simulate", *asked)
    assert told.code == 0, told.err
    found = json.loads(told.out)["runs"]
    assert [item["variant"] for item in found] == [{"quantization": "none"}, {"quantization": "fp8"}]
    refused = call(capsys, "simulate", *asked[:4], "--what-if", "quantization=int4")
    assert refused.code == 2
    assert "one file with such a measurement is needed" in refused.err


def test_starts_are_drawn_from_those_that_were_said(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trace: str
) -> None:
    asked = ("--trace", trace, "--measurement", written(tmp_path), "--policy", "tacho")
    told = [
        call(capsys, "simulate", *asked, "--cold-start", "30,200,40", "--seed", seed, "-o", "json")
        for seed in ("0", "0", "4", "6")
    ]
    assert told[0].out == told[1].out
    begun = set()
    for each in told:
        document = json.loads(each.out)
        assert document["setting"]["startSeconds"] == [30, 40, 200]
        assert document["setting"]["coldStartSeconds"] == 200
        begun.add(tuple(item["timeSeconds"] for item in document["runs"][0]["replicas"]))
    assert len(begun) > 1
    shown = call(capsys, "simulate", *asked, "--cold-start", "30,200,40")
    assert "cold start 30 to 200 s" in shown.out


@pytest.mark.parametrize(
    ("status", "seconds", "known"),
    [
        ({"autoscaling": {"coldStartSeconds": 40}}, (40.0,), 40.0),
        ({"autoscaling": None, "startup": {"totalSeconds": 168, "probeSeconds": 19}}, (149.0,), 149.0),
        (
            {"autoscaling": {"coldStartSeconds": 120}, "startup": {"totalSeconds": 119, "probeSeconds": 19}},
            (101, 103, 105, 107, 109, 111, 113, 115, 117, 119),
            120.0,
        ),
    ],
)
def test_starts_lie_where_the_status_has_measured_them(
    tmp_path: Path, status: dict[str, Any], seconds: tuple[float, ...], known: float
) -> None:
    found = simulated_deployment(DeploymentOptions(file=resource(tmp_path, **status)))
    assert (found.starts_seconds, found.setting.cold_start_seconds) == (seconds, known)


@pytest.mark.parametrize("text", ["soon", "10,", "10,-1", "1e9", "nan"])
def test_a_start_that_is_no_time_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trace: str, text: str
) -> None:
    entry = written(tmp_path)
    told = call(capsys, "simulate", "--trace", trace, "--measurement", entry, "--cold-start", text)
    assert told.code == 2
    assert f"--cold-start {text}: give seconds from 0 to 86400" in told.err


def test_what_is_the_same_in_many_runs_is_found_once(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str | None, int | None]] = []

    def counted(entry: MeasurementEntry, *, max_num_seqs: int | None = None) -> PerformanceModel:
        asked.append((entry.quantization_method, max_num_seqs))
        return from_measurement(entry, max_num_seqs=max_num_seqs)

    monkeypatch.setattr("tacho_cli.simulate.simulated_deployment.from_measurement", counted)
    _model.cache_clear()
    fp8 = tmp_path / "fp8.json"
    fp8.write_text(json.dumps(ENTRY | {"quantizationMethod": "fp8"}))
    told = call(
        capsys, "simulate", "--trace", trace, "--measurement", written(tmp_path), "--measurement", str(fp8),
        "--policy", "static-1", "--what-if", "slo.ttft=1s,2s",
    )  # fmt: skip
    assert told.code == 0
    assert asked == [(None, None), ("fp8", None)]
    for slots in (4, 8):
        file = resource(tmp_path, plan={"concurrency": slots})
        assert simulated_deployment(DeploymentOptions(file=file)).setting.model.max_num_seqs == slots


@pytest.mark.parametrize("measured", [False, True])
def test_the_policy_has_the_percentile_of_the_slo(tmp_path: Path, *, measured: bool) -> None:
    """As the operator's: a share of 99 % needs more headroom than one of 95 %."""
    own = {"measurement": written(tmp_path)} if measured else {"file": resource(tmp_path)}
    about = simulated_deployment(DeploymentOptions(slo="ttft=500ms,p=99", **own))
    policy = about.tacho(about.setting)
    assert isinstance(policy, Tacho)
    assert policy._policy_at(0.0).percentile == 0.99


def test_a_manifest_from_a_pipe_can_be_varied(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(Path(resource(tmp_path)).read_text()))
    told = call(capsys, "simulate", "--trace", trace, "-f", "-", "--what-if", "minReplicas=1,2")
    assert told.code == 0, told.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--trace", "{trace}"), "a measurement is required"),
        (("--trace", "{folder}/no.csv", "--measurement", "{entry}"), "no.csv: No such file"),
        (("--trace", "{trace}", "--measurement", "{folder}/no.json"), "no.json: No such file"),
        (
            ("--trace", "{trace}", "--measurement", "{trace}"),
            "not an entry of status.measurements: the document",
        ),
        (("--trace", "{trace}", "--measurement", "{strange}"), "not an entry of status.measurements: curve"),
        (("--trace", "{trace}", "--measurement", "{empty}"), "lacks its workload or the speed of prompts"),
        (("--trace", "{trace}", "-f", "{stale}"), "no current measurement in its status"),
        (("--trace", "{trace}", "--measurement", "{entry}", "--policy", "tachi"), "policies: tacho, "),
        (
            ("--trace", "{trace}", "--measurement", "{entry}", "--policy", "hpa-queue:goal=3"),
            "--policy hpa-queue:goal=3: hpa-queue has no parameter 'goal'; it takes target",
        ),
        (
            ("--trace", "{trace}", "--measurement", "{entry}", "--tune", "{folder}/no.csv"),
            "no.csv: No such file",
        ),
        (("--trace", "{trace}", "--measurement", "{entry}", "--slo", "soon"), "--slo soon: ttft=500ms"),
        (
            ("--trace", "{trace}", "--measurement", "{entry}", "--min-replicas", "20", "--max-replicas", "2"),
            "maxReplicas 2 is below minReplicas 20",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_code_1(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trace: str, arguments: tuple[str, ...], said: str
) -> None:
    empty = tmp_path / "empty.json"
    empty.write_text('{"fingerprint": "f"}')
    strange = tmp_path / "strange.json"
    strange.write_text('{"fingerprint": "f", "curve": 3}')
    places = {
        "trace": trace,
        "strange": str(strange),
        "folder": str(tmp_path),
        "entry": written(tmp_path),
        "empty": str(empty),
        "stale": resource(tmp_path, measurements=[ENTRY | {"state": "Stale"}]),
    }
    told = call(capsys, "simulate", *(item.format(**places) for item in arguments))
    assert told.code == 2
    assert said in told.err
    assert told.out == ""


@pytest.mark.parametrize("option", ["--price-per-gpu-hour", "--cold-start"])
@pytest.mark.parametrize("value", ["inf", "nan", "-1"])
def test_a_number_that_json_cannot_hold_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trace: str, option: str, value: str
) -> None:
    asked = ("--trace", trace, "--measurement", written(tmp_path), option, value)
    told = call(capsys, "simulate", *asked, "-o", "json")
    assert told.code == 2
    assert option in told.err
    assert told.out == ""


def test_a_policy_is_tuned_on_another_trace(
    tmp_path: Path, trace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = (
        "--trace", trace, "--measurement", written(tmp_path), "--slo", "tpot=12ms", "-o", "json",
    )  # fmt: skip
    more = ("--policy", "hpa-concurrency,static-2", "--policy", "hpa-queue:target=3", "--tune", trace)
    result = call(capsys, "simulate", *asked, *more)
    names = [run["policy"] for run in json.loads(result.out)["runs"]]
    assert names[0].startswith("hpa-concurrency:target=")
    assert names[1:] == ["static-2", "hpa-queue:target=3"]
    assert f"hpa-concurrency: {names[0]} is the best of 12 on steps" in result.err
