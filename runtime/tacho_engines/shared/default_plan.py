"""Defaults for an engine's plan half: most engines override only a few of these methods."""

from __future__ import annotations

from dataclasses import dataclass

from tacho_contract.failure import FailureClass
from tacho_engines.base import Context, EngineOptions, EngineRefusal, Placement, Splits, Tuning
from tacho_engines.profile import EngineProfile, Preset
from tacho_engines.shared.compatibility import plain_refusal, refused


@dataclass(frozen=True, slots=True)
class DefaultPlan:
    """The plan half of an engine with one process, which splits no layer over GPUs and needs no planned
    arguments.
    """

    profile: EngineProfile
    cache_bytes: float = 2.0
    """Bytes of one element of the KV cache."""
    presets: tuple[Preset, ...] = ()

    def refusal(self, placement: Placement) -> EngineRefusal | None:
        return plain_refusal(self.profile, placement, self.cache_type(placement))

    def cache_type(self, _placement: Placement) -> str:
        """Type of the KV cache's elements, as in quantization.kvCacheDtype; "": unknown."""
        return ""

    def splits(self, placement: Placement) -> Splits | EngineRefusal:
        if (placement.options.tensor or 1) > 1:
            return refused(
                FailureClass.INVALID_CONFIG,
                f"parallelism.tensor has no effect: {self.profile.name} splits no layer over GPUs",
                "Remove parallelism.tensor; whole layers are spread over gpu.count GPUs",
            )
        return ((1, max(1, placement.count)),)

    def settings_refusal(self, _placement: Placement) -> EngineRefusal | None:
        return None

    def extends_context(self, _options: EngineOptions) -> bool:
        return False

    def cache_element_bytes(self, _placement: Placement) -> float:
        return self.cache_bytes

    def arguments(self, _placement: Placement, _context: Context) -> tuple[str, ...]:
        return ()

    def tuned(self, _placement: Placement, _streamed_tokens_per_second: float | None) -> Tuning:
        return Tuning()

    def fallbacks(self, _placement: Placement) -> tuple[str, ...]:
        return ()
