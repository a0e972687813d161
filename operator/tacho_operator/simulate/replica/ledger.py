"""All requests of a run, and when each had its first and its last token."""

from __future__ import annotations

from collections.abc import Sequence

NEVER = -1.0


class Ledger:
    """Requests are known by their place in the trace."""

    def __init__(
        self, arrived: Sequence[float], input_tokens: Sequence[int], output_tokens: Sequence[int]
    ) -> None:
        self.arrived, self.input_tokens, self.output_tokens = arrived, input_tokens, output_tokens
        self.first = [NEVER] * len(arrived)
        self.last = [NEVER] * len(arrived)
        self.ended = 0
        """Requests that were answered to the end."""
        self.lost = 0
        """Requests whose replica went before it had answered them."""
