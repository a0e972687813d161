"""The runtime's documents, made of its state: pure."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from tacho_contract import __version__, codec
from tacho_contract.launch import RuntimeConfig
from tacho_contract.measurement import Environment
from tacho_contract.report import REPORT_LIMIT_BYTES, Load, Report
from tacho_runtime.probe.load.counters import EngineCounters
from tacho_runtime.supervisor import lifecycle


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFacts:
    """Fields of the report that are the same in every phase."""

    config: RuntimeConfig
    environment: Environment = field(default_factory=Environment)
    engine_version: str = ""
    engine_restarts: int = 0
    fallbacks: tuple[str, ...] = ()


def make_report(
    facts: ReportFacts, state: lifecycle.RuntimeState, *, now: float, observed_time: str
) -> Report:
    """``now`` is monotonic; ``observed_time`` the same instant as RFC 3339 in UTC."""
    return Report(
        runtime_version=__version__,
        revision=facts.config.revision,
        plan_key=facts.config.plan_key,
        phase=state.phase,
        message=state.message,
        ready=lifecycle.readiness(state, now=now).ok,
        engine=facts.config.engine,
        engine_version=facts.engine_version,
        engine_restarts=facts.engine_restarts,
        fetch=state.fetch,
        startup=state.startup,
        environment=facts.environment,
        fallbacks=facts.fallbacks,
        measurement=state.measurement,
        failure=state.failure,
        observed_time=observed_time,
    )


def encode(report: Report, limit_bytes: int = REPORT_LIMIT_BYTES) -> str:
    """The report as JSON of at most ``limit_bytes``: the curve is dropped first."""
    text = codec.dumps(report)
    if len(text.encode()) <= limit_bytes or report.measurement is None:
        return text
    measurement = dataclasses.replace(report.measurement, curve=(), message=report.measurement.message[:500])
    return codec.dumps(dataclasses.replace(report, measurement=measurement))


def make_load(counted: EngineCounters, *, observed_time: str) -> Load:
    """GET /load. Nothing is counted where the engine could not be asked."""
    return Load(
        running=_whole(counted.running),
        waiting=_whole(counted.waiting),
        generation_tokens_total=counted.generated_tokens,
        prompt_tokens_total=counted.computed_prompt_tokens,
        kv_cache_usage=counted.kv_cache_usage,
        preemptions_total=counted.preemptions,
        first_token_seconds_total=counted.ttft_seconds_sum,
        first_tokens_total=counted.ttft_seconds_count,
        observed_time=observed_time,
    )


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
