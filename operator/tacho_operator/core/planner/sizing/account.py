"""Where the memory goes: the same account for every engine, of the most loaded GPU (or the host process)."""

from __future__ import annotations

from dataclasses import dataclass

MARGIN = 0.03
"""Share of the memory a plan leaves unplanned. Predictions of what is left for the cache were up to a quarter
too high in published logs, and a start that fails costs more than the last three percent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Bytes. ``concurrency`` is how many requests of the asked length the cache holds at once."""

    weights_bytes: int
    cache_bytes: int
    """What the engine gives to the KV cache (llama.cpp, transformers: what the asked context takes)."""
    cache_tokens: int
    concurrency: float
    activation_bytes: int
    graph_bytes: int
    other_bytes: int
    """Context, collectives, the process itself."""
    budget_bytes: int
    """What the engine may use."""
    fixed_bytes: int
    """What is needed before the first token is cached; graphs only where they count against the budget."""
    request_bytes: int
    """What one request of the asked length keeps in the cache."""
    beside_bytes: int = 0
    """What the engine takes outside its budget."""
    cache_limit_bytes: int | None = None
    """The cache's size where a switch fixes it."""
    offloaded_bytes: int = 0
    """Weights of this GPU that stay in host memory."""
    host_bytes: int = 0
    """What switches keep in host memory for this GPU: offloaded weights, swapped or offloaded cache."""
    arguments: tuple[str, ...] = ()
    """Switches this account depends on."""

    def needed_bytes(self, concurrency: int) -> int:
        """The least that serves ``concurrency`` requests of the asked length."""
        return self.fixed_bytes + max(concurrency * self.request_bytes, self.cache_limit_bytes or 0)

    def holds(self, cache_bytes: float) -> bool:
        """Whether the cache may be as large as this."""
        return self.cache_limit_bytes is None or cache_bytes <= self.cache_limit_bytes

    @property
    def total_bytes(self) -> int:
        """What will be in use."""
        parts = (
            self.weights_bytes,
            self.cache_bytes,
            self.activation_bytes,
            self.graph_bytes,
            self.other_bytes,
        )
        return sum(parts)

    def rows(self) -> tuple[tuple[str, int], ...]:
        """The breakdown for a table or bars: what, and how many bytes. Nothing is negative."""
        rows = (
            ("weights", self.weights_bytes),
            ("KV cache", self.cache_bytes),
            ("activations", self.activation_bytes),
            ("CUDA graphs", self.graph_bytes),
            ("other", self.other_bytes),
        )
        return tuple((name, size) for name, size in rows if size > 0)
