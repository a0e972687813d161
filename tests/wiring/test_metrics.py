"""The operator's metrics say what their names say."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import cast

import pytest
from prometheus_client import CollectorRegistry

from tacho_contract.measurement import Capacity, Quality, SingleStream
from tacho_operator.api.status.measurement import Latency, MeasurementEntry, Roofline
from tacho_operator.api.status.status import Condition, LLMDeploymentStatus, Startup, Summary
from tacho_operator.core.measurement.cost import GpuHolding, Price, Use
from tacho_operator.shell.fleet import Sizes, reflectors
from tacho_operator.shell.gpu_time import KINDS_LIMIT, GpuTime
from tacho_operator.shell.kube import Kube
from tacho_operator.shell.metrics import Metrics
from tacho_operator.shell.resource_metrics import ScalingMetrics
from tacho_operator.shell.series import RESTARTS
from tacho_operator.shell.store.store import Store
from tacho_operator.shell.workqueue import Key, WorkQueue

KEY = Key("ml", "demo")


def replicas(metrics: Metrics, state: str) -> float | None:
    labels = {"namespace": "ml", "name": "demo", "state": state}
    return metrics.registry.get_sample_value("tacho_llmdeployment_replicas", labels)


def test_a_skipped_object_is_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.skipped("ConfigMap", "deep", "it is nested too deep")
    counted = metrics.registry.get_sample_value(
        "tacho_operator_unreadable_objects_total", {"kind": "ConfigMap"}
    )
    assert counted == 1
    assert [record.getMessage() for record in caplog.records] == [
        "ConfigMap deep is skipped: it is nested too deep"
    ]


def test_replicas_that_are_wanted_and_not_there_are_seen() -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.observe(KEY, LLMDeploymentStatus(replicas=2, ready_replicas=1), desired_replicas=3)
    assert [replicas(metrics, state) for state in ("desired", "current", "ready")] == [3, 2, 1]
    metrics.forget(KEY)
    assert [replicas(metrics, state) for state in ("desired", "current", "ready")] == [None] * 3


def samples(metrics: Metrics, name: str) -> dict[str, float]:
    """Values by the values of the labels."""
    every = (item for family in metrics.registry.collect() for item in family.samples)
    return {",".join(item.labels.values()): item.value for item in every if item.name == name}


def test_a_condition_is_one_series_while_it_is_there() -> None:
    metrics = Metrics(CollectorRegistry())
    now = {"reason": "Downloading", "message": "m", "last_transition_time": "2026-01-01T00:00:00Z"}
    ready = Condition(type="Ready", status="False", **now)
    silent = Condition(type="Measured", status="Unknown", **{**now, "reason": "ReportUnreachable"})
    metrics.observe(KEY, LLMDeploymentStatus(conditions=[ready, silent]), desired_replicas=1)
    name = "tacho_llmdeployment_condition"
    of_ready = {"ml,demo,Ready,False,Downloading": 1}
    assert samples(metrics, name) == {**of_ready, "ml,demo,Measured,Unknown,ReportUnreachable": 1}
    metrics.observe(KEY, LLMDeploymentStatus(conditions=[ready]), desired_replicas=1)
    assert samples(metrics, name) == of_ready
    made_up = ready.model_copy(update={"reason": "MadeUpByAPod17"})
    metrics.observe(KEY, LLMDeploymentStatus(conditions=[made_up]), desired_replicas=1)
    assert samples(metrics, name) == {"ml,demo,Ready,False,Other": 1}
    metrics.forget(KEY)
    assert samples(metrics, name) == {}


def test_gpu_faults_have_a_series_while_there_are_some() -> None:
    metrics = Metrics(CollectorRegistry())
    for nodes, shown in ((2, {"ml,demo": 2}), (0, {})):
        metrics.observe(KEY, LLMDeploymentStatus(), desired_replicas=1, gpu_fault_nodes=nodes)
        assert samples(metrics, "tacho_llmdeployment_gpu_fault_nodes") == shown


def measured(*, flags: tuple[str, ...] = (), state: str = "Complete", **summary: str) -> LLMDeploymentStatus:
    entry = MeasurementEntry(
        fingerprint="f",
        state=state,
        confidence="Provisional" if flags else "Clean",
        flags=list(flags),
        capacity=Capacity(concurrency=8, output_tokens_per_second=412.5, requests_per_second=2, ci_percent=4),
        latency=Latency(ttft_milliseconds_p50=143, tpot_milliseconds_p50=20),
        single_stream=SingleStream(decode_tokens_per_second=60, prefill_tokens_per_second=9000),
        roofline=Roofline(decode_efficiency_percent=64),
        quality=Quality(text="t", tokens=677, perplexity=46.393),
    )
    return LLMDeploymentStatus(measurements=[entry], summary=Summary(**summary))


EUROS = {"cost_per_million_output_tokens": "0.41", "cost_currency": "EUR", "cost_basis": "SLO"}


def series(metrics: Metrics) -> dict[str, float]:
    """Those of what was measured, by name and what other labels they have."""
    found = {}
    for family in metrics.registry.collect():
        for item in family.samples:
            if "_measured_" in item.name or "_cost_" in item.name:
                assert (item.labels["namespace"], item.labels["name"]) == KEY
                rest = ",".join(
                    value for name, value in item.labels.items() if name not in ("namespace", "name")
                )
                short = item.name.removeprefix("tacho_llmdeployment_").removeprefix("measured_")
                found[f"{short}{{{rest}}}" if rest else short] = round(item.value, 6)
    return found


def test_what_was_measured_has_a_series_a_figure_in_base_units() -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.observe(KEY, measured(**EUROS), desired_replicas=1)
    assert series(metrics) == {
        "output_tokens_per_second": 412.5,
        "ci_ratio": 0.04,
        "requests_per_second": 2,
        "concurrency": 8,
        "ttft_seconds": 0.143,
        "tpot_seconds": 0.02,
        "decode_tokens_per_second": 60,
        "prefill_tokens_per_second": 9000,
        "decode_efficiency_ratio": 0.64,
        "perplexity": 46.393,
        "provisional": 0,
        "cost_per_million_output_tokens{EUR,SLO}": 0.41,
    }
    metrics.forget(KEY)
    assert series(metrics) == {}


def test_figures_that_something_moved_or_that_are_stale_have_no_series() -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.observe(KEY, measured(**EUROS), desired_replicas=1)
    metrics.observe(KEY, measured(flags=("Contended",), **EUROS), desired_replicas=1)
    assert series(metrics) == {"provisional": 1}
    metrics.observe(KEY, measured(state="Stale"), desired_replicas=1)
    assert series(metrics) == {}


def test_a_price_in_another_currency_takes_the_place_of_the_former() -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.observe(KEY, measured(**EUROS), desired_replicas=1)
    metrics.observe(
        KEY, measured(**{**EUROS, "cost_currency": "USD", "cost_basis": "Saturation"}), desired_replicas=1
    )
    costs = [name for name in series(metrics) if name.startswith("cost")]
    assert costs == ["cost_per_million_output_tokens{USD,Saturation}"]


def every_metric() -> CollectorRegistry:
    """All that the operator exports, without a series yet."""

    async def process(key: Key) -> None:
        return

    metrics = Metrics(CollectorRegistry())
    ScalingMetrics(metrics.registry)
    store = Store(lambda change: None)
    queue = WorkQueue(process, workers=1)
    metrics.registry.register(Sizes(store, queue, reflectors(cast(Kube, None), store, (), metrics.reconnect)))
    return metrics.registry


def metric_labels() -> dict[str, set[str]]:
    """Names of the labels of each metric, by the metric's name as the page has it."""
    found = {}
    for collector in every_metric()._collector_to_names:
        for family in collector.collect():
            name = family.name + ("_total" if family.type == "counter" else "")
            found[name] = {*getattr(family, "_labelnames", ()), *getattr(collector, "_labelnames", ())}
    return found


PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "metrics.md"


def page_labels() -> dict[str, set[str]]:
    """The same by the page, which does not repeat whose series they are."""
    found = {}
    for name, labels in re.findall(
        r"^\| `(tacho_(?!runtime_)\w+)(?:\{([^}]*)\})?`", PAGE.read_text(), re.MULTILINE
    ):
        whose = {"llmdeployment": {"namespace", "name"}, "namespace": {"namespace"}}
        found[name] = {*filter(None, labels.split(",")), *whose.get(name.split("_")[1], ())}
    return found


def test_the_page_names_each_metric_with_its_labels_and_no_other() -> None:
    assert page_labels() == metric_labels()


def test_streams_are_stale_until_they_have_listed() -> None:
    registry, store = every_metric(), Store(lambda change: None)
    streams = len(reflectors(cast(Kube, None), store, (), lambda *_: None))
    assert registry.get_sample_value("tacho_operator_store_stale_streams") == streams


def test_a_counter_that_restarts_says_so() -> None:
    for family in every_metric().collect():
        if family.type == "counter" and not family.name.startswith("tacho_operator_"):
            assert RESTARTS in family.documentation, family.name


def test_phases_have_a_series_while_status_has_them() -> None:
    metrics = Metrics(CollectorRegistry())
    status = LLMDeploymentStatus(startup=Startup(download_seconds=12, total_seconds=40))
    metrics.observe(KEY, status, desired_replicas=1)
    name = "tacho_llmdeployment_startup_seconds"
    assert samples(metrics, name) == {"ml,demo,download": 12, "ml,demo,total": 40}
    metrics.forget(KEY)
    assert samples(metrics, name) == {}


def test_gpu_time_is_counted_by_use_and_ends_with_the_last_resource_of_a_namespace() -> None:
    registry, now = CollectorRegistry(), 100.0
    gpu_time = GpuTime(registry, clock=lambda: now)

    def sample(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"tacho_namespace_{name}_total", {"namespace": "ml", **labels})

    pods: tuple[tuple[str, Use], ...] = (("a", "serving"), ("b", "serving"), ("c", "probing"))
    holding = GpuHolding(2, "NVIDIA-H200", Price(per_gpu_hour=3.6, currency="EUR"), pods)
    gpu_time.observe(KEY, (holding,))
    gpu_time.observe(Key("ml", "other"), ())
    gpu_time.add(lambda _: {"b": True})
    for _ in range(3):
        now += 10
        gpu_time.add(lambda _: {"b": True})
    for use in ("serving", "idle", "probing"):
        assert sample("gpu_seconds", gpu="NVIDIA-H200", use=use) == 60
        assert sample("gpu_cost", currency="EUR", use=use) == pytest.approx(0.06)
    gpu_time.forget(KEY)
    assert sample("gpu_seconds", gpu="NVIDIA-H200", use="idle") == 60
    gpu_time.forget(Key("ml", "other"))
    assert [item for family in registry.collect() for item in family.samples] == []


def test_users_who_change_currencies_and_products_make_few_series() -> None:
    now = 0.0
    gpu_time = GpuTime(registry := CollectorRegistry(), clock=lambda: now)
    for index in range(100):
        now += 1
        price = Price(per_gpu_hour=1, currency=f"C{index:02}")
        gpu_time.observe(KEY, (GpuHolding(1, f"gpu-{index}", price, (("a", "serving"),)),))
        gpu_time.add(lambda _: {})
    found = [item for family in registry.collect() for item in family.samples]
    costs = {item.labels["currency"] for item in found if "cost" in item.name}
    assert costs == {f"C{index:02}" for index in range(KINDS_LIMIT)}, "currencies are never mixed"
    assert len(found) == 2 * KINDS_LIMIT + 1
    seconds = [item.value for item in found if item.name == "tacho_namespace_gpu_seconds_total"]
    assert sum(seconds) == 99


async def test_gpu_time_that_was_not_counted_once_is_counted_again() -> None:
    gpu_time, asked = GpuTime(CollectorRegistry()), asyncio.Queue[Key]()
    gpu_time.observe(Key("ml", "a"), (GpuHolding(1, "L4", pods=(("u", "serving"),)),))

    def idle(key: Key) -> dict[str, bool]:
        asked.put_nowait(key)
        raise RuntimeError("once")

    task = asyncio.create_task(gpu_time.run(idle, 0.001))
    async with asyncio.timeout(5):
        assert [await asked.get(), await asked.get()] == [Key("ml", "a")] * 2
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
