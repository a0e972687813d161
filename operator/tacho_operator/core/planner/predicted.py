"""The memory account of an attempt as a plan, or a failure, shows it."""

from __future__ import annotations

from tacho_operator.core.planner.attempt import Attempt
from tacho_operator.core.planner.types import Predicted


def predicted(attempt: Attempt) -> Predicted:
    """Nothing where the memory was not looked at."""
    account = attempt.account
    if account is None:
        return Predicted()
    return Predicted(
        weights_bytes=account.weights_bytes,
        kv_cache_bytes=account.cache_bytes,
        kv_cache_tokens=account.cache_tokens,
        max_concurrency=account.concurrency,
        activation_bytes=account.activation_bytes,
        graph_bytes=account.graph_bytes,
        total_bytes=account.total_bytes,
        budget_bytes=account.budget_bytes,
        decode_tokens_per_second=attempt.speed.decode_tokens_per_second if attempt.speed else None,
    )
