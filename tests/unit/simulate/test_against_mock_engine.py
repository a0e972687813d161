"""One replica's latencies are those of the mock engine's scheduler, whose law is known to the digit."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from benchmarks.autoscaling.concurrent_prefill import ConcurrentPrefill, ReservingPrefill
from tacho_contract.measurement import Workload
from tacho_contract.report import LATENCY_EDGES_SECONDS
from tacho_simulate.loops import Streams, closed_loop
from tacho_simulate.performance_model import PerformanceModel
from tools.mock.engine_law import Law
from tools.mock.engine_simulated import quantile, simulated

PLAIN = Law(
    ttft_base_ms=20.0,
    ttft_per_token_ms=0.05,
    itl_base_ms=10.0,
    itl_per_seq_ms=0.5,
    max_num_seqs=64,
    prefix_caching=False,
)
LAWS = {
    "plain": PLAIN,
    "knee": dataclasses.replace(PLAIN, itl_knee=16, itl_per_seq_above_ms=1.0),
    "busy front end": dataclasses.replace(PLAIN, ttft_per_running_ms=2.0),
    "reserves": dataclasses.replace(PLAIN, kv_tokens=6_000),
    "preempts": dataclasses.replace(PLAIN, kv_tokens=6_000, kv_policy="preempt"),
    "few slots": dataclasses.replace(PLAIN, max_num_seqs=8),
}
LEVELS = (1, 4, 16, 64, 80)


def performance_model(law: Law) -> PerformanceModel:
    """The mock engine's law in the simulator's words."""
    batches = [1, law.itl_knee, law.max_num_seqs] if law.itl_knee else [1, law.max_num_seqs]
    return PerformanceModel(
        steps=tuple((batch, law.itl_seconds(batch)) for batch in batches),
        prefill_tokens_per_second=1000 / law.ttft_per_token_ms,
        max_num_seqs=law.max_num_seqs,
        kv_cache_tokens=law.kv_tokens,
        ttft_fixed_seconds=law.ttft_base_ms / 1000,
        ttft_late=((law.max_num_seqs, law.ttft_per_running_ms * law.max_num_seqs / 1000),),
        replica=ReservingPrefill if law.kv_policy == "reserve" else ConcurrentPrefill,
    )


@pytest.mark.parametrize(("name", "level"), [*itertools.product(LAWS, LEVELS)])
def test_latency_curve_within_five_percent(name: str, level: int) -> None:
    law, workload = LAWS[name], Workload(input_tokens=300, output_tokens=80)
    truth = simulated(law, workload, level)
    found = closed_loop(performance_model(law), input_tokens=300, output_tokens=80, concurrency=level)
    assert found.output_tokens_per_second == pytest.approx(truth.output_tokens_per_second, rel=0.05)
    assert 1000 * found.tpot_seconds.p50 == pytest.approx(quantile(truth.tpot_milliseconds, 0.5), rel=0.05)
    assert 1000 * found.ttft_seconds.p50 == pytest.approx(quantile(truth.ttft_milliseconds, 0.5), rel=0.05)
    assert 1000 * found.tpot_seconds.p95 == pytest.approx(quantile(truth.tpot_milliseconds, 0.95), rel=0.05)
    assert bool(found.preemptions) == bool(truth.preemptions)


def test_a_replica_counts_latencies_as_a_pod_does() -> None:
    """Of the requests that have ended by then; ten times the first bucket is between two edges."""
    streams = Streams(performance_model(PLAIN), 300, 80, 4, 0, 0.0)
    streams.until(50)
    ledger, found = streams.ledger, streams.replica.metrics(streams.replica.now)
    ttft = [first - at for first, at in zip(ledger.first, ledger.arrived, strict=True) if first >= 0]
    tpot = [
        (last - first) / (tokens - 1)
        for first, last, tokens in zip(ledger.first, ledger.last, ledger.output_tokens, strict=True)
        if last >= 0 and tokens > 1
    ]
    for histogram, latencies in ((found.ttft, ttft), (found.tpot, tpot)):
        assert histogram is not None
        assert histogram.total == len(latencies) > 40
        for edge, count in zip(histogram.edges_seconds, histogram.counts, strict=True):
            assert count == sum(one <= edge for one in latencies)
        assert set(histogram.edges_seconds) <= set(LATENCY_EDGES_SECONDS)
