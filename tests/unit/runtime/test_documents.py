"""Report, load and metrics: what is made of a state, and what is unknown."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tacho_contract import codec
from tacho_contract.failure import FailedError
from tacho_contract.fetch import COMPLETE_FILE, FetchProgress
from tacho_contract.launch import local_url
from tacho_contract.measurement import Capacity, CurvePoint, Measurement, SingleStream, Workload
from tacho_contract.report import (
    LOAD_LIMIT_BYTES,
    MAX_EDGES,
    REPORT_LIMIT_BYTES,
    LatencyHistogram,
    Load,
    Report,
    StartupSeconds,
)
from tacho_runtime.http.metrics import ReportCollector, render
from tacho_runtime.probe.load.engine_counters import EngineCounters
from tacho_runtime.supervisor import lifecycle, state_files
from tacho_runtime.supervisor.endpoints import encode, encode_load, make_load, make_report, run_of
from tests.launching import runtime_config

COUNTERS = {"tacho_runtime_engine_restarts_total"}
PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "metrics.md"
CONFIG = runtime_config(
    revision="demo-1",
    plan_key="plan",
    engine="custom",
    model_path="/m",
    served_name="s",
    max_model_len=1,
    concurrency=1,
)
POINT = CurvePoint(
    concurrency=4,
    window_seconds=5.0,
    requests=20,
    requests_per_second=4.0,
    output_tokens_per_second=100.0,
    ttft_milliseconds_p50=1.0,
    ttft_milliseconds_p95=2.0,
    tpot_milliseconds_p50=3.0,
    tpot_milliseconds_p95=4.0,
    end_to_end_milliseconds_p50=5.0,
)
MEASUREMENT = Measurement(
    plan_key="plan",
    measure_key="m",
    observed_time="2026-01-01T00:00:00Z",
    state="Complete",
    probe_seconds=40.0,
    workload=Workload(),
    single_stream=SingleStream(
        decode_tokens_per_second=50.0,
        tpot_milliseconds_p50=20.0,
        tpot_milliseconds_p95=25.0,
        ttft_milliseconds_p50=150.0,
    ),
    capacity=Capacity(
        concurrency=4, requests_per_second=4.0, output_tokens_per_second=100.0, total_tokens_per_second=300.0
    ),
    curve=(POINT,),
)
STATE = lifecycle.RuntimeState(
    phase=lifecycle.SERVING,
    started_seconds=0.0,
    entered_seconds=0.0,
    healthy_seconds=0.0,
    measurement=MEASUREMENT,
    fetch=FetchProgress(state="Complete", bytes_done=10, bytes_total=10),
    startup=StartupSeconds(load=1.5, total=42.0),
)


def report(state: lifecycle.RuntimeState = STATE) -> Report:
    run = dataclasses.replace(run_of(CONFIG), engine_version='7"7', engine_restarts=2)
    return make_report(run, state, now=1.0)


def samples(shown: Report) -> dict[str, float]:
    text = render(shown, lifecycle.PHASES).decode()
    return {
        f"{sample.name}{sample.labels or ''}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_report_says_what_the_state_says_and_can_be_read_back() -> None:
    made = report()
    assert made.ready
    assert (made.phase, made.engine_restarts, made.measurement) == ("Serving", 2, MEASUREMENT)
    assert run_of(CONFIG, "uid").pod_uid == "uid"
    assert codec.loads(Report, encode(made)) == made


def test_a_report_that_is_too_long_gives_up_its_curve() -> None:
    measurement = dataclasses.replace(MEASUREMENT, curve=(POINT,) * 500, message="x" * 70_000)
    made = report(dataclasses.replace(STATE, measurement=measurement))
    text = encode(made)
    assert len(text.encode()) <= REPORT_LIMIT_BYTES
    read = codec.loads(Report, text)
    assert read.measurement is not None
    assert read.measurement.capacity == MEASUREMENT.capacity


def test_the_page_names_each_metric_with_its_labels_and_no_other() -> None:
    shown = {
        sample.name: set(sample.labels)
        for family in ReportCollector(report(), lifecycle.PHASES).collect()
        for sample in family.samples
    }
    page = re.findall(r"^\| `(tacho_runtime_\w+)(?:\{([^}]*)\})?`", PAGE.read_text(), re.MULTILINE)
    assert {name: {*filter(None, labels.split(","))} for name, labels in page} == shown


def test_metrics_show_the_report() -> None:
    shown = samples(report())
    assert shown["tacho_runtime_ready"] == 1.0
    assert shown["tacho_runtime_phase{'phase': 'Serving'}"] == 1.0
    assert sum(value for name, value in shown.items() if name.startswith("tacho_runtime_phase{")) == 1.0
    assert shown["tacho_runtime_engine_restarts_total"] == 2.0
    assert shown["tacho_runtime_download_bytes"] == 10.0
    assert shown["tacho_runtime_startup_seconds{'phase': 'total'}"] == 42.0
    assert shown["tacho_runtime_measurement_state{'state': 'Complete'}"] == 1.0


def test_what_is_unknown_has_no_sample() -> None:
    shown = samples(report(lifecycle.initial_state(0.0)))
    for stem in ("download", "startup", "measurement", "capacity", "single_stream"):
        assert not [name for name in shown if name.startswith(f"tacho_runtime_{stem}")]
    assert shown["tacho_runtime_ready"] == 0.0


def test_metric_names_follow_prometheus_conventions() -> None:
    for name in samples(report()):
        base = name.partition("{")[0]
        assert re.fullmatch(r"tacho_runtime_[a-z_]+", base)
        assert base.endswith("_total") == (base in COUNTERS), "counters end so, and nothing else does"
        assert "milli" not in base, "base units"


def test_load_keeps_unknown_apart_from_zero() -> None:
    unknown = make_load(EngineCounters(), observed_time="t")
    assert unknown == Load(observed_time="t")
    assert make_load(EngineCounters(running=0.0), observed_time="t").running == 0


def test_a_load_keeps_its_limit_without_its_histograms() -> None:
    small = LatencyHistogram(edges_seconds=(1.0,), counts=(1,), total=1)
    edges = tuple(1 + at / 7 for at in range(MAX_EDGES))
    large = LatencyHistogram(edges_seconds=edges, counts=(10**14,) * MAX_EDGES, total=10**14)
    fits, exceeds = (Load(running=1, ttft=one, tpot=one, observed_time="t") for one in (small, large))
    assert codec.loads(Load, encode_load(fits)) == fits
    assert len(encode_load(exceeds)) < LOAD_LIMIT_BYTES
    assert codec.loads(Load, encode_load(exceeds)) == Load(running=1, observed_time="t")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("10.0.0.7", "http://10.0.0.7:8000"),
        ("::", "http://[::1]:8000"),
        ("", "http://127.0.0.1:8000"),
        ("fd00::7", "http://[fd00::7]:8000"),
    ],
)
def test_where_the_engine_is_reached(host: str, url: str) -> None:
    assert local_url(host, 8000) == url


def test_files_are_replaced_whole(tmp_path: Path) -> None:
    written = report()
    state_files.write_report(str(tmp_path), written)
    assert state_files.read_report(str(tmp_path)) == written
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_a_report_nobody_can_read_or_keep_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("{cut")
    assert state_files.read_report(str(tmp_path)) is None
    state_files.write_report("/nowhere", report())


@pytest.mark.parametrize("planted", ["pipe", "link", "large"])
def test_a_report_that_the_engine_put_there_is_not_waited_for(tmp_path: Path, planted: str) -> None:
    """The engine's user is the runtime's own."""
    kept, place = tmp_path / "state", tmp_path / "state/report.json"
    kept.mkdir()
    state_files.write_report(str(kept), report())
    if planted == "large":
        os.truncate(place, state_files.DOCUMENT_LIMIT_BYTES + 1)
    else:
        place.rename(tmp_path / "report.json")
        os.mkfifo(place) if planted == "pipe" else place.symlink_to(tmp_path / "report.json")
    assert state_files.read_report(str(kept)) is None


def test_live_settings_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "live.json").write_text("{}")
    with pytest.raises(FailedError, match="measure_key"):
        state_files.read_live(str(tmp_path / "live.json"))


@pytest.mark.parametrize("planted", ["pipe", "link", "deep", "large", "folder"])
def test_what_an_engine_put_in_the_place_of_fetchs_marker_names_no_folder(
    planted: str, tmp_path: Path
) -> None:
    """A runtime that waited for it would answer no check, and after its restart neither."""
    assert state_files.fetched_path(str(tmp_path)) is None
    place = tmp_path / COMPLETE_FILE
    if planted in ("pipe", "folder"):
        {"pipe": os.mkfifo, "folder": os.mkdir}[planted](place)
    elif planted == "link":
        place.symlink_to("/dev/zero")
    else:
        place.write_text("[" * 10_000 if planted == "deep" else '{"path": "/model"' + " " * 20_000 + "}")
    assert state_files.fetched_path(str(tmp_path)) == ""
