"""Whether a model fits a device, and the context length and concurrency to plan for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tacho_engines.base import Context
from tacho_engines.memory.account import Account
from tacho_engines.memory.rounding import largest_that

OVERHEAD_MARGIN = 0.25
"""Memory that a plan leaves free, as a share of the predicted overhead (activations, CUDA graphs, buffers,
the process itself).

The overhead is an estimate; weights and KV cache follow from the file headers. In
benchmarks/planner/data/engine_logs.json engines took up to 1.24 times the predicted overhead (Llama-3.1-8B on
an RTX 3090, vLLM 0.6.4), and at most 1.10 times since vLLM 0.8. Where starts of this version on such a GPU
were measured, a requested context may use the margin down to what those starts took (``tight``).
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
    if not account.holds(concurrency):
        return False
    needed = account.needed_bytes(concurrency) + margin_bytes(account, excess, tight=tight)
    return account.budget_bytes is None or needed <= account.budget_bytes


STEP_TOKENS = 256
SHORTEST_TOKENS = 256
COMFORTABLE_TOKENS = 8192
"""Context in tokens below which a plan lowers the concurrency first, where the user set neither."""
UNKNOWN_LONGEST_TOKENS = 4096
"""Context length in tokens that is assumed where the model's files state none."""

Fits = Callable[[int, int], bool]
"""``fits(max_model_len, concurrency)``: whether both fit. Monotone: below a fitting value all fit."""


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
    """Context length and concurrency that the user set (or None), and the limits of model and device."""

    max_model_len: int | None
    concurrency: int | None
    trained: int
    """Longest context of the model in tokens: the limit for a length that the user sets."""
    longest: int
    """Longest context in tokens that the planner may choose by itself."""
    useful: int
    """Shortest context in tokens that the planner may choose: one request of the workload, or the model's
    longest context if that is shorter.
    """
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
        """The longest context that fits where ``smallest`` does not, with the same concurrency, or else with
        one request.

        None where no context fits.
        """
        top = min(self.trained, self.max_model_len) if self.max_model_len else self.longest
        for concurrency in (self.smallest.concurrency, 1):
            if length := longest_fitting(top, concurrency, fits):
                return Context(length, concurrency)
        return None
