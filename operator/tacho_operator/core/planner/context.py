"""Which context length and concurrency a plan is made for, where the user left them open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tacho_engines.base import Context
from tacho_engines.memory.shape import largest_that

STEP_TOKENS = 256
SHORTEST_TOKENS = 256
COMFORTABLE_TOKENS = 8192
"""Below this, a plan free in both gives up concurrency before it gives up more context."""
UNKNOWN_LONGEST_TOKENS = 4096
"""Taken where the checkpoint does not say how long a context it was made for."""

Fits = Callable[[int, int], bool]
"""``fits(max_model_len, concurrency)``; monotone: more of either never fits better."""


def longest_fitting(longest: int, concurrency: int, fits: Fits) -> int | None:
    """The longest context up to ``longest``, in steps of 256, that ``concurrency`` requests fit with."""
    if fits(longest, concurrency):
        return longest
    if longest <= SHORTEST_TOKENS:
        return None
    return largest_that(SHORTEST_TOKENS, longest, STEP_TOKENS, lambda tokens: fits(tokens, concurrency))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the user said of the context (None: nothing), and what the model and the device make of it."""

    max_model_len: int | None
    concurrency: int | None
    trained: int
    """Tokens the model was made for: up to here an asked length may go."""
    longest: int
    """Tokens, up to which a length is chosen."""
    useful: int
    """Tokens of one request of the workload (or of the whole model, if that is shorter): a chosen length
    below is no plan."""
    default_concurrency: int

    def choose(self, fits: Fits) -> Context | None:
        """The context to plan for, or None when nothing the user allows fits.

        What the user set is kept. An absent length becomes the longest that fits. An absent concurrency
        starts at its default and is halved while the asked length (or, where that is absent too, a
        comfortable one, and at least a useful one) does not fit.
        """
        length_wanted = self.max_model_len or max(self.useful, min(self.longest, COMFORTABLE_TOKENS))
        concurrency = self.concurrency or self.default_concurrency
        while self.concurrency is None and concurrency > 1 and not fits(length_wanted, concurrency):
            concurrency //= 2
        if self.max_model_len is not None:
            asked = Context(self.max_model_len, concurrency)
            return asked if fits(self.max_model_len, concurrency) else None
        length = longest_fitting(self.longest, concurrency, fits)
        return None if length is None or length < self.useful else Context(length, concurrency)

    @property
    def least(self) -> Context:
        """The least that would be a plan: what to explain where nothing fits."""
        return Context(self.max_model_len or self.useful, self.concurrency or 1)

    def nearest(self, fits: Fits) -> Context | None:
        """What fits where ``least`` does not: the longest with the same concurrency, else of one request."""
        top = min(self.trained, self.max_model_len) if self.max_model_len else self.longest
        for concurrency in (self.least.concurrency, 1):
            if length := longest_fitting(top, concurrency, fits):
                return Context(length, concurrency)
        return None
