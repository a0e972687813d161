"""Whether a model fits a device, and the context length and concurrency to plan for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tacho_engines.base import Context
from tacho_engines.memory.account import Account
from tacho_engines.memory.rounding import largest_that

OVERHEAD_MARGIN = 0.25
"""Part of activations, CUDA graphs, buffers and the process' own memory that is left free besides.

These are estimated; weights and cache follow from headers. In the calibration half of the starts in
benchmarks/planner/data/engine_logs.json the engine took up to 1.24 times what is predicted of them
(Llama-3.1-8B on an RTX 3090, vLLM 0.6.4), and 1.10 times at most since vLLM 0.8. A start that fails costs
more than the cache of a few requests. Where starts of the engine's version were measured on such a GPU, what
was requested is refused only where less is free than those took beyond their prediction (``tight``).
"""


def margin_bytes(account: Account, excess: float = 0.0, *, tight: bool = False) -> int:
    """Memory in bytes that a plan leaves free: a share of the predicted overhead.

    The share is OVERHEAD_MARGIN, or ``excess`` (what earlier measurements took beyond the prediction) where
    that is more. ``tight``: the smallest margin with which the engine is known to start.
    """
    margin = int(max(OVERHEAD_MARGIN, excess) * account.overhead_bytes)
    known = account.known_within_bytes
    return margin if known is None or not tight else min(margin, known)


def fits(account: Account, concurrency: int, excess: float = 0.0, *, tight: bool = False) -> bool:
    """Whether ``concurrency`` requests of the account's context length fit into the memory budget, with its
    margin.

    True where the budget is unknown.
    """
    if not account.holds(concurrency * account.request_bytes):
        return False
    needed = account.needed_bytes(concurrency) + margin_bytes(account, excess, tight=tight)
    return account.budget_bytes is None or needed <= account.budget_bytes


STEP_TOKENS = 256
SHORTEST_TOKENS = 256
COMFORTABLE_TOKENS = 8192
"""Below this, a plan free in both gives up concurrency before it gives up more context."""
UNKNOWN_LONGEST_TOKENS = 4096
"""Taken where the checkpoint does not say how long a context it was made for."""

Fits = Callable[[int, int], bool]
"""``fits(max_model_len, concurrency)``; monotone: more of either never fits better."""


def longest_fitting(longest: int, concurrency: int, fits: Fits) -> int | None:
    """The longest context up to ``longest`` tokens, in steps of 256, at which ``concurrency`` requests fit;
    None: none does."""
    if fits(longest, concurrency):
        return longest
    if longest <= SHORTEST_TOKENS:
        return None
    return largest_that(SHORTEST_TOKENS, longest, STEP_TOKENS, lambda tokens: fits(tokens, concurrency))


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextRequest:
    """The user's context length and concurrency (None: not set), and the limits of model and device."""

    max_model_len: int | None
    concurrency: int | None
    trained: int
    """Context length of the model in tokens: the maximum for a requested length."""
    longest: int
    """Maximum for a length that the planner chooses, in tokens."""
    useful: int
    """Tokens of one request of the workload (or of the whole model, if that is shorter): a chosen length
    below is no plan."""
    default_concurrency: int

    def choose(self, fits: Fits) -> Context | None:
        """The context to plan for; None where nothing that the user allows fits.

        Values that the user set stay. An absent length becomes the longest that fits. An absent concurrency
        starts at its default and is halved until the requested length fits. Where both are absent,
        COMFORTABLE_TOKENS must fit, or one request of the workload.
        """
        first_length = self.max_model_len or max(self.useful, min(self.longest, COMFORTABLE_TOKENS))
        concurrency = self.concurrency or self.default_concurrency
        while self.concurrency is None and concurrency > 1 and not fits(first_length, concurrency):
            concurrency //= 2
        if self.max_model_len is not None:
            requested = Context(self.max_model_len, concurrency)
            return requested if fits(self.max_model_len, concurrency) else None
        length = longest_fitting(self.longest, concurrency, fits)
        return None if length is None or length < self.useful else Context(length, concurrency)

    @property
    def smallest(self) -> Context:
        """The smallest context that the user accepts; where even that does not fit, the failure message is
        about it."""
        return Context(self.max_model_len or self.useful, self.concurrency or 1)

    def nearest(self, fits: Fits) -> Context | None:
        """Where ``smallest`` does not fit: the longest context that does, with the same concurrency, else
        with one request.

        None where not even that fits.
        """
        top = min(self.trained, self.max_model_len) if self.max_model_len else self.longest
        for concurrency in (self.smallest.concurrency, 1):
            if length := longest_fitting(top, concurrency, fits):
                return Context(length, concurrency)
        return None
