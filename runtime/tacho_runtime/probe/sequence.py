"""The probe from the first request to the report."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timezone
from random import Random

from tacho_contract.launch import LiveConfig
from tacho_contract.measurement import Measurement
from tacho_runtime.probe import phases, search
from tacho_runtime.probe.asking.session import Session
from tacho_runtime.probe.asking.timed_client import Endpoint, RequestFailed
from tacho_runtime.probe.report import Findings, assemble, skipped
from tacho_runtime.probe.target import ProbeTarget

CLOSING_SHARE = 0.03
"""Of the budget, for reading the last streams and the engine's counters."""


def utc_now() -> datetime:
    """The wall clock; only ever used to date the result."""
    return datetime.now(timezone.utc)


async def run_probe(
    target: ProbeTarget,
    live: LiveConfig,
    *,
    plan_key: str,
    now: Callable[[], datetime] = utc_now,
    rng: Random | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Measurement:
    """Measures ``target`` within ``live.probe.budget_seconds``; never later than ``timeout_seconds``.

    Never raises but CancelledError (after which no request is left running): what goes wrong is the
    measurement's ``state`` (Partial with what was found, Failed with nothing) and ``message``.
    ``progress`` gets a few words at each phase.
    """
    if live.probe.policy == "Disabled":
        return skipped(live, plan_key=plan_key, ended=now(), message="probe.policy is Disabled")
    loop = asyncio.get_running_loop()
    began = loop.time()
    findings = Findings()
    budget_seconds = float(min(live.probe.budget_seconds, live.probe.timeout_seconds))

    clock = phases.Clock(
        now=loop.time,
        budget_ends=began + budget_seconds * (1 - CLOSING_SHARE),
        timeout_ends=began + live.probe.timeout_seconds,
    )
    try:
        session = Session(
            target=target,
            endpoint=Endpoint.of(target.base_url, target.api_key),
            rng=rng or Random(),  # noqa: S311 - prompts need to differ, not to be secret
        )
        await asyncio.wait_for(
            _phases(session, live, findings, clock, progress), timeout=live.probe.timeout_seconds
        )
    except asyncio.TimeoutError:
        findings.out_of_time = True
        findings.failure = (
            f"the probe was stopped after probe.timeoutSeconds ({live.probe.timeout_seconds} s); "
            "raise it if the engine is that slow, else see its log"
        )
    except RequestFailed as error:
        findings.failure = f"{error}; the engine serves unmeasured: see its log, then measure again"
        findings.out_of_time = findings.out_of_time or clock.left() <= 0
    except ValueError as error:
        findings.failure = f"{error}; set the probe's target to an http:// address"
    return assemble(
        findings,
        live,
        plan_key=plan_key,
        concurrency=target.concurrency,
        ended=now(),
        probe_seconds=loop.time() - began,
    )


async def _phases(
    session: Session,
    live: LiveConfig,
    findings: Findings,
    clock: phases.Clock,
    progress: Callable[[str], None],
) -> None:
    concurrency = max(1, session.target.concurrency)
    findings.seen = session.seen
    progress("asking the engine what it is")
    candidates = await session.discover()
    findings.before = await session.counters()
    progress("warming up")
    await phases.first_request(session, candidates, findings, clock.patience() / 2)
    shape = search.fitting_shape(live.workload, session.max_model_len)
    shape, ttft, tpot = await phases.warm_up(session, shape, clock)
    await phases.warm_batches(session, concurrency, ttft=ttft, tpot=tpot, clock=clock)
    shape = search.affordable_shape(shape, ttft_seconds=ttft, tpot_seconds=tpot, left_seconds=clock.left())
    findings.shape = shape
    progress("measuring one stream")
    await phases.one_stream(session, shape, findings, ttft=ttft, tpot=tpot, clock=clock)
    await phases.prompt_line(session, shape, findings, ttft=ttft, clock=clock)
    await _levels(session, shape, findings, concurrency, clock, progress)
    findings.received_tokens = session.received_tokens
    findings.after = await session.counters()


async def _levels(
    session: Session,
    shape: search.Shape,
    findings: Findings,
    concurrency: int,
    clock: phases.Clock,
    progress: Callable[[str], None],
) -> None:
    one = findings.results[0].point if findings.results else None
    plan = search.levels_for(
        concurrency,
        left_seconds=clock.left(),
        ttft_seconds=one.ttft_milliseconds_p50 / 1000 if one else 0.0,
        request_seconds=one.end_to_end_milliseconds_p50 / 1000 if one else 0.0,
    )
    if concurrency > 1 and concurrency not in plan.levels:
        findings.levels_missing = findings.out_of_time = True
        findings.notes.append(f"{plan.reason}; raise probe.budgetSeconds")
    for level in plan.levels:
        seconds = min(plan.seconds_each, clock.left())
        if seconds < 0.5:
            findings.levels_missing = findings.out_of_time = True
            findings.notes.append(f"no time was left for {level} streams; raise probe.budgetSeconds")
            break
        progress(f"measuring {level} streams")
        if not await phases.one_level(session, shape, findings, concurrency=level, seconds=seconds):
            findings.levels_missing = True
            findings.notes.append(f"{level} streams gave no figure")
