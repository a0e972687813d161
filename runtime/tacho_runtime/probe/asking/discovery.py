"""What an engine says of itself: its model and its counters."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from tacho_engines import run_parts
from tacho_engines.shared.openai import METRICS, MODELS, model_entry
from tacho_runtime.probe.asking import counters
from tacho_runtime.probe.asking.again import Tries
from tacho_runtime.probe.asking.timed_client import Endpoint, RequestFailed, exchange
from tacho_runtime.probe.asking.wording import Wording, dialect_of, wordings
from tacho_runtime.probe.ports import Reading
from tacho_runtime.probe.target import ProbeTarget

CONTROL_SECONDS = 10.0
"""For /v1/models and /metrics: an engine on few cores answers late, and that is no failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovered:
    max_model_len: int
    """The lower of what the target and the engine say. 0: neither says."""
    wordings: tuple[Wording, ...]
    """Worth trying, in this order."""


async def discover(target: ProbeTarget, endpoint: Endpoint, tries: Tries) -> Discovered:
    """Raises RequestFailed."""
    answer, _ = await tries.answered(
        lambda: exchange(endpoint, "GET", MODELS, timeout_seconds=CONTROL_SECONDS)
    )
    try:
        models = json.loads(answer.response().body)
    except ValueError:
        models = {}
    dialect = dialect_of(target.engine, models, run_parts.dialects())
    stated = dialect.limits(model_entry(models))
    known = [length for length in (target.max_model_len, stated.max_model_len) if length > 0]
    return Discovered(
        max_model_len=min(known, default=0),
        wordings=wordings(
            dialect,
            token_prompts=target.token_prompts,
            vocabulary=target.vocabulary or stated.vocabulary,
        ),
    )


async def scrape(endpoint: Endpoint, *, timeout_seconds: float = CONTROL_SECONDS) -> Reading:
    """The engine's counters; empty when it has no metrics, or does not give them in time."""
    try:
        answer = await exchange(endpoint, "GET", METRICS, timeout_seconds=timeout_seconds)
        after_ns = answer.reads[0][0]
        text = answer.response().body.decode(errors="replace")
    except RequestFailed:
        return Reading(stamp_ns=time.monotonic_ns(), counters=counters.Counters())
    # Those that the engine wrote down lie between the request and the first of the answer.
    middle_ns = (answer.sent_ns + after_ns) // 2
    return Reading(stamp_ns=middle_ns, counters=counters.parse(text, run_parts.metric_names()))
