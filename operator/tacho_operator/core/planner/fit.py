"""Does it fit: the one rule, for every engine and every device."""

from __future__ import annotations

from tacho_engines.memory.account import Account
from tacho_operator.core.planner.learning import Correction

OVERHEAD_MARGIN = 0.25
"""Part of activations, CUDA graphs, buffers and the process' own memory that is left free besides.

These are estimated; weights and cache follow from headers. In the calibration half of the starts in
tests/unit/planner/data/engine_logs.json the engine took up to 1.24 times what is predicted of them
(Llama-3.1-8B on an RTX 3090, vLLM 0.6.4), and 1.10 times at most since vLLM 0.8. A start that fails costs
more than the cache of a few requests. Where starts of the engine's version were measured on such a GPU, what
was asked for is refused only where it lacks what those took beyond their prediction (``tight``).
"""


def margin_bytes(account: Account, *, tight: bool = False) -> int:
    """What a plan leaves free of its budget. ``tight``: the least that it does."""
    margin = int(OVERHEAD_MARGIN * account.overhead_bytes)
    known = account.known_within_bytes
    return margin if known is None or not tight else min(margin, known)


def needed_bytes(account: Account, concurrency: int, learned: Correction) -> float:
    """What ``concurrency`` requests of the account's length need, corrected by what was learned."""
    cache = concurrency * account.request_bytes / learned.tokens_factor
    return account.fixed_bytes * learned.bytes_factor + max(cache, account.cache_limit_bytes or 0)


def fits(account: Account, concurrency: int, learned: Correction, *, tight: bool = False) -> bool:
    """Whether ``concurrency`` requests of the account's length fit: what is needed, with the margin, is
    within the budget. Of an unknown budget nothing is checked."""
    if not account.holds(concurrency * account.request_bytes / learned.tokens_factor):
        return False
    needed = needed_bytes(account, concurrency, learned) + margin_bytes(account, tight=tight)
    return account.budget_bytes is None or needed <= account.budget_bytes
