"""The memory account: predicted bytes by part, in one form for all engines, of the most loaded GPU or the
host process."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CapturedSteps:
    """The steps that have a CUDA graph, where the user says which."""

    tokens: int
    """Most tokens of such a step."""
    usual: bool
    """Whether those are among them that have one by default. Else steps are launched, or padded to others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Predicted memory in bytes, by part.

    ``concurrency``: how many requests of the desired length the KV cache holds at once, and
    ``logged_concurrency`` as the engine's log says it, where it counts otherwise.
    """

    weights_bytes: int
    cache_bytes: int
    """Bytes that the engine reserves for the KV cache; llama.cpp and Transformers: the desired context."""
    cache_tokens: int
    """Tokens of the KV cache, as the engine's log says."""
    concurrency: float
    activation_bytes: int
    graph_bytes: int = 0
    captured: CapturedSteps | None = None
    """None: the engine's default."""
    other_bytes: int
    """Bytes of CUDA context, communication buffers and the process itself."""
    budget_bytes: int | None
    """Memory that the engine may use, in bytes; None: not known."""
    fixed_bytes: int
    """Bytes needed before the first token is cached, with CUDA graphs if they count against the budget."""
    request_bytes: int
    """Bytes of KV cache that one request of the desired length needs."""
    in_flight_bytes: int = 0
    """Bytes of those that only one of several requests needs at a time."""
    logged_concurrency: float | None = None
    sequences: int = 0
    """Most requests that the engine processes at the same time; 0: as many as planned."""
    cache_limit_bytes: int | None = None
    """Size of the KV cache in bytes, if an argument fixes it; else None."""
    cache_limit_switch: str = ""
    """Name of the switch that fixes the size of the KV cache."""
    start_bytes: int = 0
    """Host memory in bytes for a step before serving, such as a conversion; 0: no such step."""
    offloaded_bytes: int = 0
    """Bytes of this GPU's weights that stay in host memory."""
    known_within_bytes: int | None = None
    """Bytes above the prediction within which nearly all measured starts stayed, for this engine version and
    GPU product. None: no start was measured.
    """
    unread_bytes: int = 0
    """Bytes of the weights that no decoding step reads: an embedding table that is not the head as well, and
    what the allocator keeps in addition to the tensors."""
    assumption: str = ""
    """A clause on the part of the budget that was not measured on such a device, and how to replace the
    assumption; "": none.
    """

    @property
    def read_bytes(self) -> int:
        """Bytes of the weights on this GPU that decoding steps read."""
        return self.weights_bytes - self.unread_bytes

    @property
    def overhead_bytes(self) -> int:
        """Bytes of the budget that are neither weights nor KV cache: activations, graphs, buffers, the
        process.

        They are estimated, as no file shows them.
        """
        return self.fixed_bytes - self.weights_bytes

    def requests_bytes(self, concurrency: int) -> int:
        """Bytes of KV cache that ``concurrency`` requests of the desired length need."""
        return concurrency * self.request_bytes - (concurrency - 1) * self.in_flight_bytes

    def needed_bytes(self, concurrency: int) -> int:
        """The least memory in bytes that serves ``concurrency`` requests of the desired length."""
        return self.fixed_bytes + max(self.requests_bytes(concurrency), self.cache_limit_bytes or 0)

    def holds(self, concurrency: int) -> bool:
        """Whether so many requests are within the KV cache whose size a switch fixes; True without such a
        switch."""
        return self.cache_limit_bytes is None or self.requests_bytes(concurrency) <= self.cache_limit_bytes

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
    """Concurrent requests that the rest of the budget holds; ``desired`` where the budget is unknown."""
    if budget_bytes is None:
        return float(desired)
    return max(0.0, (budget_bytes - fixed_bytes) / max(1.0, request_bytes))
