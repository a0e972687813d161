"""The runtime's HTTP answers: report, load, metrics and health checks.

All but /load come from memory, so that a busy engine does not delay them.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timezone

from tacho_contract import __version__, codec
from tacho_contract.launch import RuntimeConfig
from tacho_contract.report import LOAD_LIMIT_BYTES, REPORT_LIMIT_BYTES, Load, Report
from tacho_contract.units import format_time
from tacho_runtime.http.server import JSON, HttpAnswer, Route
from tacho_runtime.probe.load.engine_counters import EngineCounters
from tacho_runtime.supervisor import lifecycle


def now_text() -> str:
    """The present time as text, in the format of documents (RFC 3339)."""
    return format_time(datetime.now(timezone.utc))


def run_of(config: RuntimeConfig, pod_uid: str = "") -> Report:
    """The report's fields that are the same in every phase; ``make_report`` adds the others."""
    return Report(
        runtime_version=__version__,
        revision=config.revision,
        pod_uid=pod_uid,
        plan_key=config.plan_key,
        engine=config.engine,
        phase=lifecycle.PREFLIGHT,
        observed_time="",
    )


def make_report(run: Report, state: lifecycle.RuntimeState, *, now: float) -> Report:
    """The report of this run in its present ``state``, at the monotonic time ``now``."""
    readiness = lifecycle.readiness(state, now=now)
    is_unready = state.phase == lifecycle.SERVING and not readiness.ok
    return dataclasses.replace(
        run,
        phase=state.phase,
        message=readiness.reason if is_unready else state.message,
        ready=readiness.ok,
        fetch=state.fetch,
        startup=state.startup,
        measurement=state.measurement,
        failure=state.failure,
        observed_time=now_text(),
    )


def encode(report: Report, limit_bytes: int = REPORT_LIMIT_BYTES) -> str:
    """The report as JSON of at most ``limit_bytes``: the curve is dropped first."""
    text = codec.dumps(report)
    if len(text.encode()) <= limit_bytes or report.measurement is None:
        return text
    measurement = dataclasses.replace(report.measurement, curve=(), message=report.measurement.message[:500])
    return codec.dumps(dataclasses.replace(report, measurement=measurement))


def encode_load(load: Load) -> str:
    """The load as JSON of at most LOAD_LIMIT_BYTES; a custom engine's histograms that are too large are left
    out."""
    text = codec.dumps(load)
    return (
        text
        if len(text) <= LOAD_LIMIT_BYTES
        else codec.dumps(dataclasses.replace(load, ttft=None, tpot=None))
    )


def make_load(counted: EngineCounters, *, observed_time: str, pod_uid: str = "") -> Load:
    """The answer of GET /load. All values are None where the engine did not answer."""
    return Load(
        running=_whole_number(counted.running),
        waiting=_whole_number(counted.waiting),
        generation_tokens_total=counted.generated_tokens,
        prompt_tokens_total=counted.computed_prompt_tokens,
        kv_cache_usage=counted.kv_cache_usage,
        first_token_seconds_total=counted.ttft_seconds_sum,
        first_tokens_total=counted.ttft_seconds_count,
        ttft=counted.ttft,
        tpot=counted.tpot,
        pod_uid=pod_uid,
        observed_time=observed_time,
    )


def _whole_number(value: float | None) -> int | None:
    return None if value is None else int(value)


def make_routes(
    state: Callable[[], lifecycle.RuntimeState],
    report: Callable[[], Report],
    load: Callable[[], Awaitable[Load]],
) -> dict[str, Route]:
    """The runtime's HTTP routes: path to handler."""

    def checked(verdict: lifecycle.Verdict) -> HttpAnswer:
        return HttpAnswer(status=200 if verdict.ok else 503, body=f"{verdict.reason}\n".encode())

    async def livez() -> HttpAnswer:
        return checked(lifecycle.liveness(state(), now=time.monotonic()))

    async def readyz() -> HttpAnswer:
        return checked(lifecycle.readiness(state(), now=time.monotonic()))

    async def answer_report() -> HttpAnswer:
        return HttpAnswer(body=encode(report()).encode(), content_type=JSON)

    async def answer_load() -> HttpAnswer:
        return HttpAnswer(body=encode_load(await load()).encode(), content_type=JSON)

    async def metrics() -> HttpAnswer:
        from tacho_runtime.http.metrics import CONTENT_TYPE_LATEST, render

        return HttpAnswer(body=render(report(), lifecycle.PHASES), content_type=CONTENT_TYPE_LATEST)

    documents = {"/report": answer_report, "/load": answer_load, "/metrics": metrics}
    return {"/livez": livez, "/readyz": readyz, **documents}
