"""The runtime's documents, made of its state: pure."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from tacho_contract import __version__, codec
from tacho_contract.launch import RuntimeConfig
from tacho_contract.measurement import Environment
from tacho_contract.report import REPORT_LIMIT_BYTES, Load, Report
from tacho_engines.base import LoadFigures
from tacho_runtime.supervisor import lifecycle


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What does not change from phase to phase."""

    config: RuntimeConfig
    environment: Environment = field(default_factory=Environment)
    engine_version: str = ""
    engine_restarts: int = 0
    fallbacks: tuple[str, ...] = ()


def make_report(facts: Facts, state: lifecycle.State, *, now: float, observed_time: str) -> Report:
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
    """The report as JSON of at most ``limit_bytes``: the curve is given up before the figures are."""
    text = codec.dumps(report)
    if len(text.encode()) <= limit_bytes or report.measurement is None:
        return text
    measurement = dataclasses.replace(report.measurement, curve=(), message=report.measurement.message[:500])
    return codec.dumps(dataclasses.replace(report, measurement=measurement))


def make_load(figures: LoadFigures | None, *, observed_time: str) -> Load:
    """GET /load. ``figures`` is None when the engine could not be asked."""
    known = figures or LoadFigures()
    return Load(
        running=known.running,
        waiting=known.waiting,
        generation_tokens_total=known.generation_tokens_total,
        prompt_tokens_total=known.prompt_tokens_total,
        kv_cache_usage=known.kv_cache_usage,
        observed_time=observed_time,
    )
