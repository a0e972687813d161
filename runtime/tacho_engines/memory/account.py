"""The memory account: predicted bytes by part, in one form for all engines, of the most loaded GPU or the
host process."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Predicted memory in bytes, by part.

    ``concurrency``: how many requests of the desired length the KV cache holds at once.
    """

    weights_bytes: int
    cache_bytes: int
    """What the engine gives to the KV cache (llama.cpp, transformers: what the desired context takes)."""
    cache_tokens: int
    concurrency: float
    activation_bytes: int
    graph_bytes: int = 0
    other_bytes: int
    """Context, collectives, the process itself."""
    budget_bytes: int | None
    """Memory that the engine may use, in bytes; None: not known."""
    fixed_bytes: int
    """Memory needed before the first token is cached, in bytes; CUDA graphs only where they count against the
    budget."""
    request_bytes: int
    """Bytes that one request of the desired length takes in the KV cache."""
    sequences: int = 0
    """Requests that the engine runs at once at most; 0: as many as are planned."""
    cache_limit_bytes: int | None = None
    """The cache's size where a switch fixes it."""
    cache_limit_switch: str = ""
    """Name of the switch that fixes the size of the KV cache."""
    start_bytes: int = 0
    """Host memory, in bytes, that a step before serving needs, such as a conversion; 0: no such
    step."""
    offloaded_bytes: int = 0
    """Weights of this GPU that stay in host memory."""
    known_within_bytes: int | None = None
    """Bytes above the prediction that the engine hardly ever exceeded, in measured starts of its version on
    this GPU product. None: no starts were measured."""
    unread_bytes: int = 0
    """Bytes of the weights' memory that the allocator keeps beside tensors: no step reads this part."""
    assumption: str = ""
    """Which part of the budget was not measured on this kind of device, and how to replace the assumption:
    one clause."""

    @property
    def overhead_bytes(self) -> int:
        """Bytes of the budget that are neither weights nor KV cache: activations, graphs, buffers, the
        process.

        They are estimated, as no file shows them.
        """
        return self.fixed_bytes - self.weights_bytes

    def needed_bytes(self, concurrency: int) -> int:
        """The least memory in bytes that serves ``concurrency`` requests of the desired length."""
        return self.fixed_bytes + max(concurrency * self.request_bytes, self.cache_limit_bytes or 0)

    def holds(self, cache_bytes: float) -> bool:
        """Whether a KV cache of ``cache_bytes`` is within the size that a switch fixes; True without such a
        switch."""
        return self.cache_limit_bytes is None or cache_bytes <= self.cache_limit_bytes

    @property
    def total_bytes(self) -> int:
        """Total memory that will be in use, in bytes."""
        parts = (
            self.weights_bytes,
            self.cache_bytes,
            self.activation_bytes,
            self.graph_bytes,
            self.other_bytes,
        )
        return sum(parts)


def requests_held(budget_bytes: int | None, fixed_bytes: int, request_bytes: float, desired: int) -> float:
    """How many requests the rest of the budget holds at once; ``desired`` where the budget is unknown."""
    if budget_bytes is None:
        return float(desired)
    return max(0.0, (budget_bytes - fixed_bytes) / max(1.0, request_bytes))
