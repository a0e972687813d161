"""The mock engine's counters and gauges as Prometheus text: vLLM's, or those of llama.cpp's server.

Figures are a row of numbers, so that processes that share a port can show each other's through shared
memory: they are then ranks of one engine, as with data parallelism.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass

from tools.mock.engine_law import Law
from tools.mock.engine_scheduler import BLOCK_TOKENS, TPOT_BUCKETS, TTFT_BUCKETS, Scheduler

_FIXED = 15
_TTFT = _FIXED + len(TTFT_BUCKETS) + 1
WIDTH = _TTFT + len(TPOT_BUCKETS) + 1
_ROW = struct.Struct(f"{WIDTH}d")


@dataclass(frozen=True, slots=True)
class Figures:
    running: float
    waiting: float
    kv_used_tokens: float
    prompt_tokens: float
    cached_tokens: float
    generated_tokens: float
    answered_tokens: float
    preemptions: float
    stopped: float
    lengthened: float
    aborted: float
    ttft_seconds: float
    gaps: float
    gaps_seconds: float
    tpot_seconds: float
    ttft_below: tuple[float, ...]
    tpot_below: tuple[float, ...]

    @classmethod
    def of(cls, scheduler: Scheduler) -> Figures:
        totals = scheduler.totals
        return cls(
            running=len(scheduler.running),
            waiting=len(scheduler.waiting),
            kv_used_tokens=scheduler.kv_used_tokens,
            prompt_tokens=totals.prompt_tokens,
            cached_tokens=totals.cached_tokens,
            generated_tokens=totals.generated_tokens,
            answered_tokens=totals.answered_tokens,
            preemptions=totals.preemptions,
            stopped=totals.finished["stop"],
            lengthened=totals.finished["length"],
            aborted=totals.finished["abort"],
            ttft_seconds=totals.ttft_seconds,
            gaps=totals.gaps,
            gaps_seconds=totals.gaps_seconds,
            tpot_seconds=totals.tpot_seconds,
            ttft_below=tuple(totals.ttft_below),
            tpot_below=tuple(totals.tpot_below),
        )


class Board:
    """Shared memory in which ``ranks`` processes show each other their metrics. Created before the processes
    fork."""

    def __init__(self, ranks: int) -> None:
        self.ranks = ranks
        self._memory = mmap.mmap(-1, ranks * _ROW.size)

    def show(self, rank: int, figures: Figures) -> None:
        *fixed, ttft, tpot = astuple(figures)
        _ROW.pack_into(self._memory, rank * _ROW.size, *fixed, *ttft, *tpot)

    def all(self) -> list[Figures]:
        rows = (_ROW.unpack_from(self._memory, rank * _ROW.size) for rank in range(self.ranks))
        return [Figures(*row[:_FIXED], ttft_below=row[_FIXED:_TTFT], tpot_below=row[_TTFT:]) for row in rows]


class _Text:
    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.lines: list[str] = []

    def family(self, metric: str, kind: str, *samples: tuple[str, Mapping[str, object], float]) -> None:
        self.lines.append(f"# TYPE {self.prefix}:{metric} {kind}")
        for suffix, labels, value in samples:
            text = ",".join(f'{key}="{labels[key]}"' for key in sorted(labels))
            text = f"{{{text}}}" if text else ""
            self.lines.append(f"{self.prefix}:{metric}{suffix}{text} {float(value)}")

    def __str__(self) -> str:
        return "\n".join(self.lines) + "\n"


def by_step(ranks: Sequence[Figures], law: Law, name: str) -> str:
    """The names an autoscaler or a probe reads, with vLLM's labels."""
    text = _Text("vllm")
    labels = [{"engine": str(rank), "model_name": name} for rank in range(len(ranks))]
    both = list(zip(labels, ranks, strict=True))

    def one(metric: str, kind: str, values: Sequence[float]) -> None:
        text.family(metric, kind, *(("", own, value) for own, value in zip(labels, values, strict=True)))

    one("num_requests_running", "gauge", [rank.running for rank in ranks])
    one("num_requests_waiting", "gauge", [rank.waiting for rank in ranks])
    one("kv_cache_usage_perc", "gauge", [min(1.0, rank.kv_used_tokens / law.kv_tokens) for rank in ranks])
    one("prefix_cache_queries_total", "counter", [rank.prompt_tokens for rank in ranks])
    one("prefix_cache_hits_total", "counter", [rank.cached_tokens for rank in ranks])
    one("num_preemptions_total", "counter", [rank.preemptions for rank in ranks])
    one("prompt_tokens_total", "counter", [rank.prompt_tokens for rank in ranks])
    text.family(
        "prompt_tokens_by_source_total", "counter",
        *(("", own | {"source": source}, value) for own, rank in both for source, value in (
            ("local_compute", rank.prompt_tokens - rank.cached_tokens),
            ("local_cache_hit", rank.cached_tokens),
            ("external_kv_transfer", 0.0),
        )),
    )  # fmt: skip
    one("generation_tokens_total", "counter", [rank.generated_tokens for rank in ranks])
    text.family(
        "request_success_total", "counter",
        *(("", own | {"finished_reason": reason}, count) for own, rank in both for reason, count in (
            ("stop", rank.stopped), ("length", rank.lengthened), ("abort", rank.aborted),
        )),
    )  # fmt: skip

    def histogram(
        metric: str, bounds: Sequence[float], values: Sequence[tuple[Sequence[float], float]]
    ) -> None:
        text.family(
            metric, "histogram",
            *(sample for own, (below, seconds) in zip(labels, values, strict=True) for sample in (
                *(("_bucket", own | {"le": le}, sum(below[: at + 1]))
                  for at, le in enumerate((*map(str, bounds), "+Inf"))),
                ("_count", own, sum(below)), ("_sum", own, seconds),
            )),
        )  # fmt: skip

    histogram(
        "time_to_first_token_seconds", TTFT_BUCKETS, [(rank.ttft_below, rank.ttft_seconds) for rank in ranks]
    )
    histogram(
        "request_time_per_output_token_seconds",
        TPOT_BUCKETS,
        [(rank.tpot_below, rank.tpot_seconds) for rank in ranks],
    )
    text.family(
        "inter_token_latency_seconds", "histogram",
        *(sample for own, rank in both
          for sample in (("_count", own, rank.gaps), ("_sum", own, rank.gaps_seconds))),
    )  # fmt: skip
    info = {
        "block_size": BLOCK_TOKENS,
        "cache_dtype": "auto",
        "enable_prefix_caching": str(law.prefix_caching),
        "gpu_memory_utilization": 0.92,
        "kv_cache_size_tokens": law.kv_tokens,
        "num_gpu_blocks": law.kv_tokens // BLOCK_TOKENS,
    }
    ranked = [("", info | {"engine": own["engine"]}, 1.0) for own in labels]
    text.family("cache_config_info", "gauge", *ranked)
    return str(text)


def by_request(ranks: Sequence[Figures]) -> str:
    """llama.cpp's server: generated tokens count once a request was answered to its end."""
    text = _Text("llamacpp")
    for metric, kind, value in (
        ("prompt_tokens_total", "counter", sum(rank.prompt_tokens - rank.cached_tokens for rank in ranks)),
        ("prompt_tokens_cached_total", "counter", sum(rank.cached_tokens for rank in ranks)),
        ("tokens_predicted_total", "counter", sum(rank.answered_tokens for rank in ranks)),
        ("requests_processing", "gauge", sum(rank.running for rank in ranks)),
        ("requests_deferred", "gauge", sum(rank.waiting for rank in ranks)),
    ):
        text.family(metric, kind, ("", {}, value))
    return str(text)
