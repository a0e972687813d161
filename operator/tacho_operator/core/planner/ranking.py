"""Which of several ways that fit is taken, and why the others are not."""

from __future__ import annotations

from tacho_contract.failure import FailureClass
from tacho_engines.shared.checkpoints import is_quantized
from tacho_operator.core.planner.attempt import Attempt
from tacho_operator.core.planner.types import Alternative
from tacho_operator.core.planner.words import short_message

LOWER_QUALITY = "LowerQuality"
SLOWER = "Slower"
NOT_ASKED = "NotAskedFor"
LESS_PREFERRED = "LessPreferred"


def expected_quality(attempt: Attempt) -> float:
    """A checkpoint that is already quantized has the quality it has, whatever runs it."""
    return 100.0 if is_quantized(attempt.placement.facts) else attempt.method.quality


def by_plugin(attempt: Attempt) -> bool:
    """Whether the engine loads the checkpoint's format by a plugin only: another engine was made for it."""
    return attempt.placement.facts.format in attempt.engine.plugins


def rank(attempt: Attempt) -> tuple[float, ...]:
    """Best first: what carries load, quality, what loads the format by itself, speed on this device, whether
    it can be started today."""
    return (
        0.0 if attempt.engine.carries_load else 1.0,
        -expected_quality(attempt),
        1.0 if by_plugin(attempt) else 0.0,
        -attempt.ranked_tokens_per_second,
        0.0 if attempt.engine.built else 1.0,
    )


def closeness(attempt: Attempt) -> tuple[object, ...]:
    """Where nothing fits, first what lacks only memory, with the longest context that may be had."""
    tokens = attempt.nearest.max_model_len if attempt.nearest else 0
    return (not tokens, rank(attempt)[:2], -tokens)


def alternative(other: Attempt, chosen: Attempt | None, *, asked_for: bool) -> Alternative:
    """``other`` as a line of what was considered; ``asked_for``: the user's engine and method allow it."""
    reason, message = str(other.reason), short_message(other)
    if other.fits:
        reason, message = _passed_over(other, chosen if asked_for else None)
    return Alternative(
        engine=other.engine.name,
        method=other.method.method,
        product=other.product,
        fits=other.fits,
        reason=reason,
        message=message[:1024],
        decode_tokens_per_second=other.speed.decode_tokens_per_second if other.speed else None,
        expected_decode_tokens_per_second=other.expected.tokens_per_second if other.expected else None,
    )


def _passed_over(other: Attempt, chosen: Attempt | None) -> tuple[str, str]:
    if chosen is None:
        return NOT_ASKED, "Would fit, but engine or method were set to something else."
    if chosen.engine.carries_load > other.engine.carries_load:
        why = (
            "a step costs it far more than the device needs"
            if other.engine.batching
            else "the engine does not admit requests into a running batch"
        )
        return SLOWER, f"Would fit, but {why}."
    mine, best = expected_quality(other), expected_quality(chosen)
    if mine < best:
        return LOWER_QUALITY, f"Expected quality {mine:.1f} against {best:.1f} of 100."
    if by_plugin(other) and not by_plugin(chosen):
        loads = other.placement.facts.format
        return LESS_PREFERRED, f"Would fit; {other.engine.name} loads {loads} by a plugin only."
    if other.speed is None:
        return LESS_PREFERRED, "Would fit; how fast it would be is not known."
    return SLOWER, _speed_sentence(other)


def _speed_sentence(other: Attempt) -> str:
    """By which figure it was ranked."""
    if found := other.expected:
        return f"Expected to reach {found.tokens_per_second:.0f} tok/s a stream, {found.ran}."
    return (
        f"Ranked by {100 * other.engine.efficiency:.0f} % of what the bandwidth allows a stream: how near it "
        "comes was not measured on such a GPU."
    )


def not_worth_a_line(other: Attempt) -> bool:
    """The engine does not load this format or has no such device, or the method is not the checkpoint's."""
    facts, device = other.placement.facts, other.placement.device
    if facts.format not in other.engine.formats or (device.on_host and "cpu" not in other.engine.devices):
        return True
    return is_quantized(facts) and other.reason == FailureClass.UNSUPPORTED_QUANTIZATION
