"""The budget of the warm-up probe: 45, 90 or 120 seconds, by the speed that the plan expects.

A probe ends when its search has ended and a cohort of arrivals has ended. With ``r`` the seconds of a request
alone, ``R`` of one among the ``C`` streams of the expected capacity, ``p`` of a prompt, and ``n`` requests
that tell the service level's percentile, that takes

    prompts      min(42 p, 6) + (8 + C) p
    one stream   max(7, 2 r) + 1.6 r
    levels       C p + 1.7 r + 6 (3 + 0.5 R) + n R / C
    arrivals     2 R + 1.25 n R / (0.85 C)

Without a service level no verdict ends a level early: six levels take up to 4.5 s and 0.6 R each, where that
is more. The cohort at the capacity is followed to its end in both.

Source: one stream and arrivals are the probe's own time plan (tacho_runtime.probe). Recorded searches on
H200s tell the constants of levels: those that ended took 8 to 36 s for 4 to 9 levels, at R from 0.9 to 6 s.
Requests vary, so the two or three levels nearest to the limit are followed to their end. A probe that is done
ends; before it does, time to spare makes the capacity's rate more certain.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from tacho_contract.launch import ProbeSettings, ServiceLevel
from tacho_contract.measurement import Workload, samples_for
from tacho_operator.api.defaults import probe_settings, service_level, workload
from tacho_operator.api.types import LLMDeploymentSpec
from tacho_operator.core.planner.types import ModelPlan, Prediction

BUDGETS_SECONDS = (45, 90, 120)
USABLE_SHARE = 0.97
"""Share of the budget for requests; the rest is for the last streams to end and for reading counters."""
TIMEOUTS = 2
"""The default timeout of a probe, as a multiple of its budget."""
LENGTHS, LENGTHS_SECONDS = 42, 6.0
"""Prompts of various lengths, in units of the workload's prompt, and seconds after which no more are sent."""
FIRST_PROMPTS = 8
"""Number of prompts before the first level: warm-up, and several at the same time."""
SINGLE_SECONDS, SINGLE_REQUESTS = 7.0, 2
CLOSING_REQUESTS = 1.6
FEW_STREAMS_REQUESTS = 1.7
LEVELS = 6
LEVEL_SECONDS, LEVEL_REQUESTS = 3.0, 0.5
KNEE_LEVEL_SECONDS, KNEE_LEVEL_REQUESTS = 4.5, 0.6
ARRIVALS_REQUESTS, ARRIVALS_MARGIN, ARRIVALS_LOAD = 2.0, 1.25, 0.85


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestTimes:
    """Expected seconds of one request (alone, at the capacity, its prompt), from which a probe's duration
    follows."""

    prompt_seconds: float
    alone_seconds: float
    """Seconds of a request while no other is running."""
    loaded_seconds: float
    """Seconds of a request while ``streams`` requests are running."""
    streams: int
    """Streams at the expected capacity; 0: one stream already misses the SLO."""
    cohort: int
    """Requests that are needed for the percentile of the SLO."""
    limited: bool = True
    """Whether an SLO limits the capacity; without one it is the knee of the throughput."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeBudget:
    """The budget of a probe in seconds, and the reason for it as whole sentences (``message``)."""

    seconds: int
    message: str


def probe_time(times: RequestTimes) -> tuple[float, float, float]:
    """Seconds for one stream, the levels, and requests at a fixed rate, by the module's formula."""
    alone, loaded, streams = times.alone_seconds, times.loaded_seconds, times.streams
    prompts = min(LENGTHS * times.prompt_seconds, LENGTHS_SECONDS) + FIRST_PROMPTS * times.prompt_seconds
    single = prompts + max(SINGLE_SECONDS, SINGLE_REQUESTS * alone) + CLOSING_REQUESTS * alone
    if not streams:
        return single, 0.0, 0.0
    sent = times.cohort * loaded / streams
    levels = FEW_STREAMS_REQUESTS * alone + LEVELS * (LEVEL_SECONDS + LEVEL_REQUESTS * loaded) + sent
    if not times.limited:
        levels = max(levels, LEVELS * (KNEE_LEVEL_SECONDS + KNEE_LEVEL_REQUESTS * loaded))
    levels += streams * times.prompt_seconds
    return single, levels, ARRIVALS_REQUESTS * loaded + ARRIVALS_MARGIN * sent / ARRIVALS_LOAD


def request_times(found: Prediction, shape: Workload, level: ServiceLevel) -> RequestTimes | None:
    """Expected times of a request of this workload under this SLO; None where the plan expects no speed.

    The rates are those that the plan was made with.
    """
    decode, streams = found.expected_decode_tokens_per_second, found.expected_capacity_concurrency
    if not decode or streams is None:
        return None
    prefill, carried = found.prefill_tokens_per_second, found.expected_capacity_tokens_per_second
    prompt = shape.input_tokens / prefill if prefill else 0.0
    alone = prompt + shape.output_tokens / decode
    loaded = max(alone, shape.output_tokens * streams / carried) if carried else alone
    return RequestTimes(
        prompt_seconds=prompt,
        alone_seconds=alone,
        loaded_seconds=loaded,
        streams=streams,
        cohort=samples_for(level.percentile),
        limited=level.has_target,
    )


def budget_of(times: RequestTimes | None) -> ProbeBudget:
    """The smallest sufficient budget, else the largest. Without an expected speed: the smallest."""
    least, most = BUDGETS_SECONDS[0], BUDGETS_SECONDS[-1]
    if times is None:
        unknown = f"The plan expects no speed on this hardware; {least} s is the smallest budget."
        return ProbeBudget(seconds=least, message=f"{unknown} Set probe.budgetSeconds if the time runs out.")
    one_stream, levels, arrivals = probe_time(times)
    needed = one_stream + levels + arrivals
    found = next((budget for budget in BUDGETS_SECONDS if needed <= USABLE_SHARE * budget), None)
    parts = f"{one_stream:.0f} s for one stream"
    if times.streams:
        parts += (
            f", {levels:.0f} s for levels up to about {times.streams} streams, "
            f"{arrivals:.0f} s until {times.cohort} requests have arrived and ended"
        )
    message = f"About {needed:.0f} s are expected: {parts}."
    if found is None:
        message += f" {most} s is the largest default; set probe.budgetSeconds for more."
    return ProbeBudget(seconds=found or most, message=message)


def probe_budget(spec: LLMDeploymentSpec, plan: ModelPlan | None) -> ProbeBudget | None:
    """The budget of a full measurement of ``plan``: the user's, else by the formula, within the user's
    timeout.

    None where the probe is disabled.
    """
    written = spec.probe
    if written is not None and written.policy == "Disabled":
        return None
    if written is not None and written.budget_seconds is not None:
        return ProbeBudget(seconds=written.budget_seconds, message="probe.budgetSeconds sets it.")
    found = budget_of(request_times(plan.predicted, workload(spec), service_level(spec)) if plan else None)
    timeout = written.timeout_seconds if written else None
    if timeout is None or timeout >= found.seconds:
        return found
    limit = f"probe.timeoutSeconds ends the probe after {timeout} s instead of {found.seconds}"
    return ProbeBudget(seconds=timeout, message=f"{found.message} {limit}: raise it for more.")


def planned_probe(spec: LLMDeploymentSpec, plan: ModelPlan | None) -> ProbeSettings:
    """The probe's settings with the budget for ``plan``, and a timeout that is long enough for it."""
    settings, budget = probe_settings(spec), probe_budget(spec, plan)
    if budget is None:
        return settings
    least = max(settings.timeout_seconds, TIMEOUTS * budget.seconds)
    timeout = (spec.probe.timeout_seconds if spec.probe else None) or least
    return dataclasses.replace(settings, budget_seconds=budget.seconds, timeout_seconds=timeout)
