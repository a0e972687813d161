"""Correction of predicted bytes and KV-cache tokens for new plans, from earlier measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from statistics import median

from tacho_operator.core.types import PastMeasurement

LOWEST, HIGHEST = 0.5, 2.0
"""A ratio outside is a broken measurement (another process on the GPU, a quantization not applied), not a
correction."""
NOISE = 0.01
"""Corrections below one percent are not worth a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionCorrection:
    """Factors on predictions: 1.0 means nothing correction."""

    bytes_factor: float = 1.0
    tokens_factor: float = 1.0
    samples: int = 0
    scope: str = ""
    """What the past measurements have in common with the plan, for example engine, method and product."""

    def message(self) -> str:
        """For the plan's message; "" when nothing was correction."""
        parts = []
        if abs(self.bytes_factor - 1) >= NOISE:
            parts.append(f"memory x{self.bytes_factor:.2f}")
        if abs(self.tokens_factor - 1) >= NOISE:
            parts.append(f"KV-cache tokens x{self.tokens_factor:.2f}")
        if not parts:
            return ""
        runs = "measurement" if self.samples == 1 else "measurements"
        return f" Corrected by {self.samples} earlier {runs} ({self.scope}): {', '.join(parts)}."


def _ratio(actual: int | None, predicted: int | None) -> float | None:
    if not actual or not predicted or actual < 0 or predicted < 0:
        return None
    ratio = actual / predicted
    return ratio if LOWEST <= ratio <= HIGHEST else None


def _bytes_ratio(history: PastMeasurement, *, grows: bool) -> float | None:
    found = _ratio(history.actual_bytes, history.predicted_bytes)
    return max(1.0, found) if found is not None and grows else found


def _factor(
    history: Iterable[PastMeasurement], ratio: Callable[[PastMeasurement], float | None]
) -> tuple[float, int]:
    """Median ratio, drawn towards 1 by one imaginary measurement that agreed with the prediction."""
    ratios = [r for r in map(ratio, history) if r is not None]
    if not ratios:
        return 1.0, 0
    middle = median(ratios)
    return 1.0 + (middle - 1.0) * len(ratios) / (len(ratios) + 1), len(ratios)


def correction_for(
    history: tuple[PastMeasurement, ...],
    *,
    engine: str,
    version: str,
    method: str,
    product: str,
    grows: bool = False,
) -> PredictionCorrection:
    """Correction factors for a plan, from earlier measurements of ``engine``.

    ``grows``: the engine takes memory as requests need it. A plan counts full contexts and a measurement
    sends the workload's lengths, so only memory use above the plan corrects it.

    The closest group with any measurement is used: the same method, product and version; the same method and
    product; the same product. Measurements of other engines are not used. The order of ``history`` does not
    matter.
    """
    same_product = [h for h in history if h.engine == engine and h.gpu_product == product]
    same_method = [h for h in same_product if h.quantization_method == method]
    same_version = [h for h in same_method if h.engine_version == version]
    for group, scope in (
        (same_version, f"{engine} {version}, {method}, {product}"),
        (same_method, f"{engine}, {method}, {product}"),
        (same_product, f"{engine}, {product}"),
    ):
        bytes_factor, sized = _factor(group, partial(_bytes_ratio, grows=grows))
        tokens_factor, counted = _factor(
            group, lambda h: _ratio(h.actual_kv_cache_tokens, h.predicted_kv_cache_tokens)
        )
        if sized or counted:
            return PredictionCorrection(
                bytes_factor=bytes_factor,
                tokens_factor=tokens_factor,
                samples=max(sized, counted),
                scope=scope,
            )
    return PredictionCorrection()
