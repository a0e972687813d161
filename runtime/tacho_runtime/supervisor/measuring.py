"""Whether to probe, and what there is when the probe brings nothing: the pod serves in any case."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from tacho_contract.launch import LiveConfig, RuntimeConfig
from tacho_contract.measurement import Baseline, Measurement
from tacho_runtime.probe.ports import MachineSample
from tacho_runtime.probe.target import ProbeTarget
from tacho_runtime.supervisor.choice import Pod, choose

log = logging.getLogger("tacho")

PROBE_GRACE_SECONDS = 10.0
"""The probe keeps its own time; this much after its timeout it is taken for lost."""


class Probe(Protocol):
    """``probe.sequence.run_probe``, as far as it is used here."""

    def __call__(
        self,
        target: ProbeTarget,
        live: LiveConfig,
        *,
        plan_key: str,
        progress: Callable[[str], None],
        machine: Callable[[bool], MachineSample],
        cpus: int,
        baseline: Baseline | None,
    ) -> Awaitable[Measurement]: ...


class Clock(Protocol):
    """The two clocks: one to measure with, one to date with."""

    def monotonic(self) -> float: ...

    def utc(self) -> str:
        """RFC 3339, to the second."""


def target_of(config: RuntimeConfig, base_url: str, api_key: str, *, slots: int) -> ProbeTarget:
    """``slots``: requests that the engine was told to take at a time, 0 for no limit."""
    return ProbeTarget(
        base_url=base_url,
        served_name=config.served_name,
        engine=config.engine,
        max_model_len=config.max_model_len,
        concurrency=config.concurrency,
        slots=slots,
        scores=config.engine != "custom",
        api_key=api_key,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Measuring:
    """One question: this plan, this workload, that engine."""

    config: RuntimeConfig
    pod: Pod
    live: LiveConfig
    target: ProbeTarget
    probe: Probe
    clock: Clock
    say: Callable[[str], None]
    machine: Callable[[bool], MachineSample]
    """Whether to run the calibration → the machine now."""
    cpus: int
    """Those of this container: the engine's and the probe's."""

    async def measurement(self, known: Measurement | None) -> Measurement:
        """In any case one: fresh, ``known`` already, or one that says why there are no figures."""
        choice = choose(self.live, known, self.pod)
        log.info("probe: %s, because %s", "yes" if choice.probes else "no", choice.reason)
        if choice.probes:
            self.say(f"measuring: {choice.reason}")
            # What failed before is asked for no more than it must be.
            scores = self.target.scores and (known is None or known.state != "Failed")
            target = dataclasses.replace(self.target, scores=scores)
            return dataclasses.replace(await self._probed(target, choice.baseline), request=choice.request)
        keys = (self.config.plan_key, self.live.measure_key)
        if known is not None and (known.plan_key, known.measure_key) == keys:
            return known
        return self.without_figures("Skipped", choice.reason)

    async def _probed(self, target: ProbeTarget, baseline: Baseline | None) -> Measurement:
        """Never fails and never hangs."""
        began, limit_seconds = self.clock.monotonic(), self.live.probe.timeout_seconds + PROBE_GRACE_SECONDS
        flags: tuple[str, ...] = ()
        try:
            return await asyncio.wait_for(
                self.probe(
                    target,
                    self.live,
                    plan_key=self.config.plan_key,
                    progress=self.say,
                    machine=self.machine,
                    cpus=self.cpus,
                    baseline=baseline,
                ),
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
