"""Decides whether a pod is measured in full, only checked, or not at all; and runs the measurement."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from tacho_contract.failure import FailedError, Failure, FailureClass, log_tail
from tacho_contract.launch import ENV_FULL_PROBE, LiveConfig, RuntimeConfig
from tacho_contract.measurement import Baseline, Environment, Measurement, same_machine
from tacho_runtime.probe.load.first_answer import NeverAnswered
from tacho_runtime.probe.target import ProbeTarget
from tacho_runtime.supervisor.endpoints import now_text

USABLE = ("Complete", "Partial")
CHECK = "Check"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurementDecision:
    """Whether to measure the pod, and the reason as a message."""

    probes: bool
    reason: str
    baseline: Baseline | None = None
    """Baseline that a check is compared with; None: a measurement in full."""
    request: str = ""
    """Name of the re-measure request that this measurement answers; "": none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredPod:
    """The properties of a pod that decide whether it is measured, apart from the settings."""

    plan_key: str
    environment: Environment = Environment()
    hostname: str = ""
    probe_pod: bool = False
    """Whether this is a probe pod, which is always measured in full."""


def this_pod(config: RuntimeConfig, environment: Environment) -> MeasuredPod:
    """The properties of the pod in which this runtime runs."""
    return MeasuredPod(
        plan_key=config.plan_key,
        environment=environment,
        hostname=os.uname().nodename,
        probe_pod=ENV_FULL_PROBE in os.environ,
    )


def pending_request(live: LiveConfig, known: Measurement | None, hostname: str) -> str:
    """Name of the request to measure again that this pod has not answered yet; "": none."""
    again = live.again
    if not again.request or again.hostname != hostname or live.probe.policy == "Disabled":
        return ""
    return "" if known is not None and known.request == again.request else again.request


def decide_measurement(live: LiveConfig, known: Measurement | None, pod: MeasuredPod) -> MeasurementDecision:
    """Whether to measure this pod, in full or as a check, and why. ``known``: the measurement of an earlier
    run of this container."""
    policy = live.probe.policy
    if policy == "Disabled":
        return MeasurementDecision(probes=False, reason="spec.probe.policy is Disabled")
    if request := pending_request(live, known, pod.hostname):
        return MeasurementDecision(
            probes=True, reason="a measurement of this pod was requested", request=request
        )
    if policy == "Always":
        return MeasurementDecision(probes=True, reason="spec.probe.policy is Always")
    baseline = None if pod.probe_pod else _baseline(live, pod)
    if known is None:
        return _measure(baseline, "this plan and workload were not measured yet")
    if (known.plan_key, known.measure_key) != (pod.plan_key, live.measure_key):
        return _measure(baseline, "plan or workload changed since the last measurement")
    if known.state not in USABLE:
        return _measure(baseline, f"the last measurement is {known.state}")
    if known.kind == CHECK and baseline is None:
        return _measure(None, "it was only checked, against a measurement that no longer exists")
    return MeasurementDecision(
        probes=False, reason=f"measured at {known.observed_time} with the same plan and workload"
    )


def _measure(baseline: Baseline | None, reason: str) -> MeasurementDecision:
    if baseline is None:
        return MeasurementDecision(probes=True, reason=reason)
    limited = f"{reason}, but an identical machine was measured at {baseline.observed_time}: only checked"
    return MeasurementDecision(probes=True, reason=limited, baseline=baseline)


def _baseline(live: LiveConfig, pod: MeasuredPod) -> Baseline | None:
    """The newest baseline for this plan, workload and machine; None: none."""
    found = [
        item
        for item in live.baselines
        if (item.plan_key, item.measure_key) == (pod.plan_key, live.measure_key)
        and same_machine(item.environment, pod.environment)
        and item.concurrency > 0
    ]
    return max(found, key=lambda item: item.observed_time, default=None)


log = logging.getLogger("tacho")

PROBE_GRACE_SECONDS = 10.0
"""Seconds after the probe's own timeout at which it is cancelled."""


Probe = Callable[[ProbeTarget, "Baseline | None"], Awaitable[Measurement]]
"""Function that measures an engine: in full, or as a check against a baseline."""


def target_of(
    config: RuntimeConfig, base_url: str, api_key: str, *, slots: int, cpus: int = 1
) -> ProbeTarget:
    """The engine that the probe measures, with its limits.

    ``slots``: the engine's limit of concurrent requests, 0 for none. ``cpus``: the container's number of
    CPUs.
    """
    return ProbeTarget(
        base_url=base_url,
        served_name=config.served_name,
        engine=config.engine,
        max_model_len=config.max_model_len,
        concurrency=config.concurrency,
        slots=slots,
        scores=config.engine != "custom",
        api_key=api_key,
        cpus=cpus,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurementRun:
    """The measurement of one engine under one plan and workload."""

    pod: MeasuredPod
    live: LiveConfig
    target: ProbeTarget
    probe: Probe
    say: Callable[[str], None]
    starts: bool = False
    """Whether the engine has just started: one that answers no request has not. A probe pod, which is in no
    Service, reports that as its measurement.
    """
    output: Callable[[], tuple[str, ...]] = tuple
    """The last lines of the engine's output."""

    async def measurement(self, known: Measurement | None) -> Measurement:
        """The pod's measurement: a new one, ``known`` unchanged, or one without values whose message has the
        reason. Raises FailedError where the engine has started and answers no request.
        """
        choice = decide_measurement(self.live, known, self.pod)
        log.info("probe: %s, because %s", "yes" if choice.probes else "no", choice.reason)
        try:
            return await (self._new(known, choice) if choice.probes else self._former(known, choice))
        except NeverAnswered as error:
            raise FailedError(unanswered_failure(error, self.output())) from None

    async def _new(self, known: Measurement | None, choice: MeasurementDecision) -> Measurement:
        self.say(f"measuring: {choice.reason}")
        # After a failed measurement the next one leaves out the optional score.
        scores = self.target.scores and (known is None or known.state != "Failed")
        target = dataclasses.replace(self.target, scores=scores, must_answer=self._must_answer)
        found = await self._probed(target, choice.baseline)
        return dataclasses.replace(found, request=choice.request)

    async def _former(self, known: Measurement | None, choice: MeasurementDecision) -> Measurement:
        """``known``, of an engine that answered then, and still answers where it has just started."""
        from tacho_runtime.probe.sequence import check_answers

        keys = (self.pod.plan_key, self.live.measure_key)
        if known is None or (known.plan_key, known.measure_key) != keys:
            return self.without_figures("Skipped", choice.reason)
        if self._must_answer and self.live.probe.policy != "Disabled":
            self.say("seeing whether the engine answers")
            try:
                await check_answers(dataclasses.replace(self.target, must_answer=True), self.live, self.say)
            except NeverAnswered:
                raise
            except Exception:  # a defect of the question is no engine's fault
                log.exception("the engine could not be asked")
        return known

    @property
    def _must_answer(self) -> bool:
        return self.starts and not self.pod.probe_pod

    async def _probed(self, target: ProbeTarget, baseline: Baseline | None) -> Measurement:
        """Runs the probe. Raises NeverAnswered alone, and ends PROBE_GRACE_SECONDS after the probe's time at
        the latest.
        """
        began, seconds = time.monotonic(), self.live.probe.timeout_seconds
        limit_seconds = (2 if target.must_answer else 1) * seconds + PROBE_GRACE_SECONDS
        flags: tuple[str, ...] = ()
        try:
            return await asyncio.wait_for(self.probe(target, baseline), limit_seconds)
        except (asyncio.TimeoutError, TimeoutError):
            message, flags = f"the probe did not end within {limit_seconds:.0f} s", ("BudgetExhausted",)
        except NeverAnswered:
            raise
        except Exception as error:
            # Whatever is wrong with the probe: a pod without measured values still serves.
            log.exception("the probe failed")
            message = f"the probe failed: {type(error).__name__}: {error}"
        return self.without_figures("Failed", message, seconds=time.monotonic() - began, flags=flags)

    def without_figures(
        self, state: str, message: str, *, seconds: float = 0.0, flags: tuple[str, ...] = ()
    ) -> Measurement:
        """A measurement without figures: ``state`` is Skipped or Failed, ``message`` says why."""
        return Measurement(
            plan_key=self.pod.plan_key,
            measure_key=self.live.measure_key,
            observed_time=now_text(),
            state=state,
            message=message,
            probe_seconds=round(seconds, 3),
            workload=self.live.workload,
            flags=flags,
        )


QUOTED_LINES = 2
"""Lines of the engine's output beside its answer: a condition quotes three."""


def unanswered_failure(error: NeverAnswered, lines: Sequence[str]) -> Failure:
    """The failure of an engine that is healthy, and answered no request since its start. ``lines``: its
    output."""
    tail = log_tail((*log_tail(lines, QUOTED_LINES), str(error)))
    if error.refused:
        return Failure(
            failure_class=FailureClass.INVALID_CONFIG,
            message=f"the engine refused every request for {error.seconds:.0f} s",
            next_step="remove what changes model name or API from engine.extraArgs or env, or set"
            " probe.policy: Disabled",
            log_tail=tail,
        )
    return Failure(
        failure_class=FailureClass.ENGINE_CRASHED,
        message=f"the engine answered no request in {error.seconds:.0f} s",
        next_step="read its log (kubectl logs --previous); if it is only slow, raise probe.timeoutSeconds",
        log_tail=tail,
    )
