"""Whether to probe, and what there is when the probe brings nothing: the pod serves in any case."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from tacho_contract.launch import LiveConfig, RuntimeConfig
from tacho_contract.measurement import Measurement
from tacho_runtime.probe.target import ProbeTarget
from tacho_runtime.supervisor import lifecycle

log = logging.getLogger("tacho")

PROBE_GRACE_SECONDS = 10.0
"""The probe keeps its own time; this much after its timeout it is taken for lost."""


class Probe(Protocol):
    """``probe.sequence.run_probe``, as far as it is used here."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Measuring:
    """One question: this plan, this workload, that engine."""

    config: RuntimeConfig
    live: LiveConfig
    target: ProbeTarget
    probe: Probe
    clock: Clock
    say: Callable[[str], None]

    async def measurement(self, known: Measurement | None) -> Measurement:
        """In any case one: fresh, ``known`` already, or one that says why there are no figures."""
        decision = lifecycle.probe_decision(self.live, known, plan_key=self.config.plan_key)
        log.info("probe: %s, because %s", "yes" if decision.ok else "no", decision.reason)
        if decision.ok:
            self.say(f"measuring: {decision.reason}")
            return await self._probed()
        keys = (self.config.plan_key, self.live.measure_key)
        if known is not None and (known.plan_key, known.measure_key) == keys:
            return known
        return self.without_figures("Skipped", decision.reason)

    async def _probed(self) -> Measurement:
        """Never fails and never hangs."""
        began, limit_seconds = self.clock.monotonic(), self.live.probe.timeout_seconds + PROBE_GRACE_SECONDS
        flags: tuple[str, ...] = ()
        try:
            return await asyncio.wait_for(
                self.probe(self.target, self.live, plan_key=self.config.plan_key, progress=self.say),
                limit_seconds,
            )
        except (asyncio.TimeoutError, TimeoutError):
            message, flags = f"the probe did not end within {limit_seconds:.0f} s", ("BudgetExhausted",)
        except Exception as error:
            # Whatever is wrong with the probe: a pod without figures serves as well as one with them.
            log.exception("the probe failed")
            message = f"the probe failed: {type(error).__name__}: {error}"
        return self.without_figures("Failed", message, seconds=self.clock.monotonic() - began, flags=flags)

    def without_figures(
        self, state: str, message: str, *, seconds: float = 0.0, flags: tuple[str, ...] = ()
    ) -> Measurement:
        """Skipped or Failed, and why."""
        return Measurement(
            plan_key=self.config.plan_key,
            measure_key=self.live.measure_key,
            observed_time=self.clock.utc(),
            state=state,
            message=message,
            probe_seconds=round(seconds, 3),
            workload=self.live.workload,
            flags=flags,
        )
