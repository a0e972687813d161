"""The cost of a request of the present traffic, in seconds of one replica, from its prompt and output tokens.

A measurement gives the time between two tokens at the measured request lengths: gap = alpha + beta x streams.
Part of beta are the prompts of other streams. With another ratio of prompt to answer, beta differs, and the
measured gap is reached with another number of streams.

An engine that runs few requests at a time lets the others wait, and beta is next to nothing. So no more
requests count than were seen to run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tacho_operator.core.autoscaling.algorithm import tuning
from tacho_operator.core.autoscaling.algorithm.types import Mix, ReplicaCapacity


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestCost:
    """Cost of a request in seconds of one replica, at the traffic's present token lengths."""

    per_prompt_token: float
    per_output_token: float
    request_tokens: float
    """Prompt and output tokens of a mean request."""
    request_seconds: float
    """Cost of a mean request in seconds of one replica."""
    prompt_seconds: float
    """Seconds to compute the prompt of a mean request while nothing else runs. 0: unknown."""
    concurrency: float
    """Concurrent requests at which the measured time between tokens is reached. Infinity: unknown."""
    gap_seconds: float
    gap_seconds_per_request: float
    has_law: bool = True
    """Whether the time between tokens was also measured for other numbers of requests."""

    def expected_tokens(self, running: float, seconds: float) -> float:
        """Output tokens that ``running`` concurrent requests should get in ``seconds``, by the
        measurement."""
        gap = self.gap_seconds + self.gap_seconds_per_request * (running - self.concurrency)
        return seconds * running / gap if gap > 0 else 0.0

    def of(self, prompt_tokens: float, output_tokens: float) -> float:
        return prompt_tokens * self.per_prompt_token + output_tokens * self.per_output_token


def cost_of(capacity: ReplicaCapacity, mix: Mix) -> RequestCost | None:
    """The cost of requests of the lengths in ``mix``; None without a clean measurement.

    Scaled so that the measured rate, at the measured lengths, is exactly one replica.
    """
    rate, speed = capacity.requests_per_second, capacity.output_tokens_per_second
    if not rate or not speed or capacity.unverified:
        return None
    streams = capacity.concurrency
    gap = capacity.gap_seconds or (streams or 1.0) / speed
    beta = capacity.gap_seconds_per_request or gap / (streams or 1.0)
    prompt_seconds = 1 / capacity.prefill_tokens_per_second if capacity.prefill_tokens_per_second else 0.0
    prompt, output = mix.prompt_tokens / mix.requests, max(1.0, mix.output_tokens / mix.requests)
    ratio, measured_ratio = prompt / output, capacity.input_tokens / capacity.output_tokens
    least = max(tuning.MIN_CORRECTION, 1 / max(1.0, capacity.most_running or math.inf))
    crowding = max(least, 1 + (ratio - measured_ratio) * prompt_seconds / beta)
    unit = rate * (capacity.input_tokens * prompt_seconds + capacity.output_tokens * gap) / crowding
    per_prompt, per_output = prompt_seconds / unit, gap / unit
    return RequestCost(
        per_prompt_token=per_prompt,
        per_output_token=per_output,
        request_tokens=prompt + output,
        request_seconds=prompt * per_prompt + output * per_output,
        prompt_seconds=prompt * prompt_seconds,
        concurrency=streams / crowding if streams else math.inf,
        gap_seconds=gap,
        gap_seconds_per_request=beta * crowding,
        has_law=bool(capacity.gap_seconds_per_request),
    )


def measured_mix(capacity: ReplicaCapacity, requests: float) -> Mix:
    """The token counts of ``requests`` requests of the measured lengths."""
    return Mix(requests, requests * capacity.input_tokens, requests * capacity.output_tokens)
