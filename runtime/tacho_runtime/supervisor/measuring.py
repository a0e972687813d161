"""Whether to probe, and what there is when the probe brings nothing: the pod serves in any case."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from tacho_contract.launch import LiveConfig, RuntimeConfig
from tacho_contract.measurement import Measurement
from tacho_runtime.probe.target import ProbeTarget
from tacho_runtime.supervisor import lifecycle
from tacho_runtime.supervisor.report import not_measured

log = logging.getLogger("tacho")

PROBE_GRACE_SECONDS = 10.0
"""The probe keeps its own time; this much after its timeout it is taken for lost."""


class Probe(Protocol):
    """``probe.run.run_probe``, as far as it is used here."""

    def __call__(
        self, target: ProbeTarget, live: LiveConfig, *, plan_key: str, progress: Callable[[str], None]
    ) -> Awaitable[Measurement]: ...


class Clock(Protocol):
    """The two clocks: one to measure with, one to date with."""

    def monotonic(self) -> float: ...

    def utc(self) -> str:
        """RFC 3339, to the second."""


def target_of(config: RuntimeConfig, base_url: str, api_key: str) -> ProbeTarget:
    return ProbeTarget(
        base_url=base_url,
        served_name=config.served_name,
        engine=config.engine,
        max_model_len=config.max_model_len,
        concurrency=config.concurrency,
        api_key=api_key,
    )


async def measure(
    config: RuntimeConfig,
    live: LiveConfig,
    known: Measurement | None,
    *,
    target: ProbeTarget,
    probe: Probe,
    clock: Clock,
    say: Callable[[str], None],
) -> Measurement:
    """A measurement in any case: fresh, known already, or one that says why there are no figures."""
    decision = lifecycle.probe_decision(live, known, plan_key=config.plan_key)
    log.info("probe: %s, because %s", "yes" if decision.ok else "no", decision.reason)
    if decision.ok:
        say(f"measuring: {decision.reason}")
        return await _probe(config, live, target=target, probe=probe, clock=clock, say=say)
    if known is not None and (known.plan_key, known.measure_key) == (config.plan_key, live.measure_key):
        return known
    return not_measured(
        config, live, state="Skipped", message=decision.reason, observed_time=clock.utc(), seconds=0.0
    )


async def _probe(
    config: RuntimeConfig,
    live: LiveConfig,
    *,
    target: ProbeTarget,
    probe: Probe,
    clock: Clock,
    say: Callable[[str], None],
) -> Measurement:
    """Never fails and never hangs."""
    began, limit_seconds = clock.monotonic(), live.probe.timeout_seconds + PROBE_GRACE_SECONDS
    flags: tuple[str, ...] = ()
    try:
        return await asyncio.wait_for(
            probe(target, live, plan_key=config.plan_key, progress=say), limit_seconds
        )
    except (asyncio.TimeoutError, TimeoutError):
        message, flags = f"the probe did not end within {limit_seconds:.0f} s", ("BudgetExhausted",)
    except Exception as error:
        # Whatever is wrong with the probe: a pod without figures serves as well as one with them.
        log.exception("the probe failed")
        message = f"the probe failed: {type(error).__name__}: {error}"
    return not_measured(
        config,
        live,
        state="Failed",
        message=message,
        observed_time=clock.utc(),
        seconds=clock.monotonic() - began,
        flags=flags,
    )
