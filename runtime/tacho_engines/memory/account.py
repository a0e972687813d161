"""Where the memory goes: the same account for every engine, of the most loaded GPU (or the host process)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Bytes. ``concurrency`` is how many requests of the asked length the cache holds at once."""

    weights_bytes: int
    cache_bytes: int
    """What the engine gives to the KV cache (llama.cpp, transformers: what the asked context takes)."""
    cache_tokens: int
    concurrency: float
    activation_bytes: int
    graph_bytes: int = 0
    other_bytes: int
    """Context, collectives, the process itself."""
    budget_bytes: int | None
    """What the engine may use; None: nobody knows."""
    fixed_bytes: int
    """What is needed before the first token is cached; graphs only where they count against the budget."""
    request_bytes: int
    """What one request of the asked length keeps in the cache."""
    cache_limit_bytes: int | None = None
    """The cache's size where a switch fixes it."""
    cache_limit_switch: str = ""
    """That switch."""
    start_bytes: int = 0
    """What the container's memory must hold before anything is served, such as a conversion; 0: nothing that
    is gone later."""
    offloaded_bytes: int = 0
    """Weights of this GPU that stay in host memory."""
    known_within_bytes: int | None = None
    """By how much more than is predicted the engine hardly ever took, in starts of its version on such a GPU.
    None: none were measured."""
    unread_bytes: int = 0
    """Of the weights' memory, what the allocator keeps beside tensors: no step reads it."""
    assumption: str = ""
    """What of the budget nobody has seen on such a device, and how to do without it: a clause."""

    @property
    def overhead_bytes(self) -> int:
        """What counts against the budget and is neither weights nor cache: activations, graphs, buffers, the
        process. It follows from no file; it is estimated."""
        return self.fixed_bytes - self.weights_bytes

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


def requests_held(budget_bytes: int | None, fixed_bytes: int, request_bytes: float, asked: int) -> float:
    """Requests whose cache the rest of the budget holds at once; of an unknown budget, the asked ones."""
    if budget_bytes is None:
        return float(asked)
    return max(0.0, (budget_bytes - fixed_bytes) / max(1.0, request_bytes))
