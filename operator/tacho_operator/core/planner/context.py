"""Which context length and concurrency a plan is made for, where the user left them open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tacho_operator.core.planner.sizing.shape import largest_that

STEP_TOKENS = 256
SHORTEST_TOKENS = 256
COMFORTABLE_TOKENS = 8192
"""Below this, a plan free in both gives up concurrency before it gives up more context."""
UNKNOWN_LONGEST_TOKENS = 4096
"""Taken where the checkpoint does not say how long a context it was made for."""

Fits = Callable[[int, int], bool]
"""``fits(max_model_len, concurrency)``; monotone: more of either never fits better."""


@dataclass(frozen=True, slots=True)
class Context:
    """What to plan for."""

    max_model_len: int
    concurrency: int


def longest_fitting(longest: int, concurrency: int, fits: Fits) -> int | None:
    """The longest context up to ``longest``, in steps of 256, that ``concurrency`` requests fit with."""
    if fits(longest, concurrency):
        return longest
    if longest <= SHORTEST_TOKENS:
        return None
    return largest_that(SHORTEST_TOKENS, longest, STEP_TOKENS, lambda tokens: fits(tokens, concurrency))


def choose_context(
    asked_length: int | None,
    asked_concurrency: int | None,
    *,
    longest: int,
    default_concurrency: int,
    useful: int = SHORTEST_TOKENS,
    fits: Fits,
) -> Context | None:
    """The context to plan for, or None when nothing the user allows fits.

    What the user set is kept. An absent length becomes the longest that fits, and none where that is below
    ``useful``: what one request of the workload takes (or the whole model, if that is shorter). An absent
    concurrency starts at ``default_concurrency`` and is halved while the asked length (or, where that is
    absent too, a comfortable one) does not fit.
    """
    length_wanted = asked_length or min(longest, COMFORTABLE_TOKENS)
    concurrency = asked_concurrency or default_concurrency
    while asked_concurrency is None and concurrency > 1 and not fits(length_wanted, concurrency):
        concurrency //= 2
    if asked_length is not None:
        return Context(asked_length, concurrency) if fits(asked_length, concurrency) else None
    length = longest_fitting(longest, concurrency, fits)
    return None if length is None or length < min(useful, longest) else Context(length, concurrency)
